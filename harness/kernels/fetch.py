"""From a candidate or a file to a build in the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from itertools import chain
from pathlib import Path

from harness.errors import ImageError, KernelUnavailable
from harness.kernels.archive import Archive, Package, Saying
from harness.kernels.builds import Build, describe_file, is_complete, make_build, stored_builds
from harness.kernels.config import parse_config
from harness.kernels.debian import Candidate
from harness.kernels.model import ModuleLoader
from harness.kernels.modules import Loaded, ModuleSet, folder_files, folder_key, kept, pack
from harness.kernels.packages import package_files
from harness.kernels.store import Store, file_sha256
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.package import PackageSource
from harness.model.architectures import DEBIAN_ARCH, Arch

_IMAGE = re.compile(r"(boot/(vmlinuz|vmlinux|Image)-.+|(usr/)?lib/modules/[^/]+/(vmlinuz|Image))\Z")
_CONFIG = re.compile(r"(boot/config-.+|(usr/)?lib/modules/[^/]+/config)\Z")
_RELEASE = re.compile(
    r"(boot/(?:vmlinuz|vmlinux|Image|config|System\.map)-(?P<boot>.+)|(?:usr/)?lib/modules/(?P<modules>[^/]+)/.+)\Z"
)
MAX_IMAGE = 512 * 1024 * 1024


def fetch_candidate(store: Store, archive: Archive, candidate: Candidate, say: Saying) -> Build:
    """Return the build a candidate is, fetched unless stored. Raises ``InfrastructureError``."""
    triples = _triples(candidate.needed)
    with store.lock(f"build {triples}", say):
        for build in stored_builds(store):
            if build.packages == triples and is_complete(store, build):
                return build
        _fetch_packages(store, archive, DEBIAN_ARCH[candidate.arch], candidate.needed, say)
        say("unpacking")
        paths = [_stored_package(store, package) for package in candidate.needed]
        found = read_packages(paths, f"{candidate.image.name} {candidate.package_version}")
        return make_build(
            store,
            found.image,
            found.config,
            candidate.arch,
            kind="debian",
            where=f"Debian {candidate.suite} ({DEBIAN_ARCH[candidate.arch]})",
            suite=candidate.suite,
            flavour=candidate.flavour,
            release=candidate.release,
            version=candidate.version,
            package_version=candidate.package_version,
            packages=triples,
            modules_package=_triples((candidate.modules,))[0] if candidate.modules else None,
        )


def stored_file(store: Store, source: FileSource, arch: Arch, where: str = "") -> Build:
    """Return the build a file is, stored. Raises ``KernelUnavailable`` or ``ImageError`` naming the file."""
    image = _read(source.image, "image")
    config = _read(source.config, "config") if source.config else b""
    if source.modules is not None and not source.modules.is_dir():
        raise KernelUnavailable(f"{source.modules}: no folder of modules")
    where = where or describe_file(source.image)
    wanted = (sha256(image).hexdigest(), "file", where, arch)
    for build in stored_builds(store):
        same_config = not config or build.config == sha256(config).hexdigest()
        if (build.image, build.kind, build.where, build.arch) == wanted and same_config and is_complete(store, build):
            return build
    try:
        return make_build(
            store,
            image,
            config,
            arch,
            kind="file",
            where=where,
            suite="",
            flavour="",
            package_version="",
        )
    except ImageError as error:
        raise ImageError(f"{source.image}: {error}") from None


@dataclass(frozen=True)
class PackageContents:
    """What packages hold of one kernel: its ``release``, image and configuration."""

    release: str
    image: bytes
    config: bytes


def stored_packages(store: Store, source: PackageSource, arch: Arch, where: str = "") -> Build:
    """Return the build that packages on disk hold, stored. Raises ``KernelUnavailable`` or ``ImageError``."""
    triples = tuple((path.name, "", file_sha256(path)) for path in source.packages)
    for build in stored_builds(store):
        if (build.packages, build.arch) == (triples, arch) and is_complete(store, build):
            return build
    found = read_packages(source.packages)
    try:
        return make_build(
            store,
            found.image,
            found.config,
            arch,
            kind="package",
            where=where or f"package {source.packages[0].name}",
            suite="",
            flavour="",
            package_version="",
            packages=triples,
        )
    except ImageError as error:
        raise ImageError(f"{source.packages[0]}: {error}") from None


def read_packages(paths: Sequence[Path], called: str = "") -> PackageContents:
    """Return the kernel in packages, its image from the first that has one. Raises ``KernelUnavailable``.

    ``called`` is what the packages are called where their files' names say nothing.
    """
    found: dict[str, bytes] = {}
    release = ""
    for path in paths:
        for name, data in package_files(path):
            release = release or release_in(name)
            kind = "image" if is_image(name) else "config" if _CONFIG.match(name) else ""
            if kind:
                found.setdefault(kind, data)
            if len(found) == 2:
                return PackageContents(release, found["image"], found["config"])
    if "image" not in found:
        called = called or ", ".join(path.name for path in paths)
        raise KernelUnavailable(f"{called}: no kernel image in it (no boot/vmlinuz-…, no lib/modules/…/vmlinuz)")
    return PackageContents(release, found["image"], b"")


def is_image(name: str) -> bool:
    """Say whether a file of a package is a kernel's image by its path."""
    return bool(_IMAGE.match(name))


def release_in(name: str) -> str:
    """Return the kernel release a file of a package belongs to by its path, "" when it says none."""
    match = _RELEASE.match(name)
    return match.group("boot") or match.group("modules") if match else ""


def package_modules(store: Store, source: PackageSource, build: Build) -> ModuleLoader:
    """Return the loader of the modules in packages on disk."""
    key = " ".join(("packages", *(digest for _, _, digest in build.packages)))
    return _loader(store, build, key, lambda: chain.from_iterable(map(package_files, source.packages)))


def debian_modules(store: Store, archive: Archive | None, build: Build) -> ModuleLoader:
    """Return the loader of a Debian build's modules; the package they lie in is fetched when first needed."""
    if build.modules_package is None:
        return partial(_departed, build)
    name, version, digest = build.modules_package

    def every_file() -> Iterator[tuple[str, bytes]]:
        if store.find(digest) is None:
            if archive is None:
                raise KernelUnavailable(
                    f"{name} {version} has the modules, is not stored, and --offline forbids fetching it"
                )
            package = Package(name, version, digest, 0, build.suite)
            _fetch_packages(store, archive, DEBIAN_ARCH[build.arch], (package,), lambda text: None)
        digests = dict.fromkeys((digest, *(sha256 for _, _, sha256 in build.packages)))
        paths = filter(None, map(store.find, digests))
        return chain.from_iterable(map(package_files, paths))

    return _loader(store, build, f"package {digest}", every_file)


def file_modules(store: Store, build: Build, folder: Path) -> ModuleLoader:
    """Return the loader of the modules in a folder."""
    return _loader(store, build, folder_key(folder), lambda: folder_files(folder))


def _departed(build: Build, names: tuple[str, ...]) -> Loaded:
    if names:
        raise KernelUnavailable(f"{build.release}: the package that had its modules has left the archive")
    return ()


def _loader(
    store: Store, build: Build, key: str, every_file: Callable[[], Iterator[tuple[str, bytes]]]
) -> ModuleLoader:
    config = store.find(build.config) if build.config else None
    options = parse_config(config.read_bytes() if config else b"")
    return kept(store, key, ModuleSet(build.release, options, lambda: pack(store, key, every_file)))


def _triples(packages: tuple[Package, ...]) -> tuple[tuple[str, str, str], ...]:
    return tuple((package.name, package.version, package.sha256) for package in packages)


def _fetch_packages(store: Store, archive: Archive, arch: str, packages: tuple[Package, ...], say: Saying) -> None:
    absent = [package for package in packages if store.find(package.sha256) is None]
    if not absent:
        return
    with store.scratch() as folder:
        for package, file in zip(absent, archive.download(arch, absent, folder, say), strict=True):
            store.take(file, package.sha256)


def _stored_package(store: Store, package: Package) -> Path:
    path = store.find(package.sha256)
    if path is None:
        raise KernelUnavailable(f"{package.name}: vanished from the store while it was being read; run again")
    return path


def _read(path: Path, what: str) -> bytes:
    try:
        if path.stat().st_size > MAX_IMAGE:
            raise ImageError(f"{path}: the {what} is larger than {MAX_IMAGE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise KernelUnavailable(f"{path}: cannot read the {what}: {error.strerror or error}") from None
