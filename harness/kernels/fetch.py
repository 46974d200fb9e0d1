"""From a candidate or a file to a build in the store."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import partial
from itertools import chain
from pathlib import Path

from harness.errors import ImageError, KernelUnavailable
from harness.kernels import deb
from harness.kernels.archive import Archive, Package, Saying
from harness.kernels.builds import Build, describe_file, is_complete, make_build, stored_builds
from harness.kernels.config import parse_config
from harness.kernels.debian import Candidate
from harness.kernels.model import ModuleLoader
from harness.kernels.modules import Loaded, ModuleSet, folder_files, folder_key, kept, pack
from harness.kernels.store import Store
from harness.matrix.model import Arch, FileSource
from harness.matrix.schema import DEBIAN_ARCH

_IMAGE = re.compile(r"(boot/vmlinuz-.+|(usr/)?lib/modules/[^/]+/vmlinuz)\Z")
_CONFIG = re.compile(r"(boot/config-.+|(usr/)?lib/modules/[^/]+/config)\Z")
MAX_IMAGE = 512 * 1024 * 1024


def fetch_candidate(store: Store, archive: Archive, candidate: Candidate, say: Saying) -> Build:
    """Return the build a candidate is, fetched unless stored. Raises ``InfrastructureError``."""
    triples = _triples(candidate.needed)
    with store.lock(f"build {triples}"):
        for build in stored_builds(store):
            if build.packages == triples and is_complete(store, build):
                return build
        _fetch_packages(store, archive, DEBIAN_ARCH[candidate.arch], candidate.needed, say)
        say("unpacking")
        image, config = _image_and_config(store, candidate)
        return make_build(
            store,
            image,
            config,
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


def stored_file(store: Store, source: FileSource, arch: Arch) -> Build:
    """Return the build a file is, stored. Raises ``KernelUnavailable`` or ``ImageError`` naming the file."""
    image = _read(source.image, "image")
    config = _read(source.config, "config") if source.config else b""
    if source.modules is not None and not source.modules.is_dir():
        raise KernelUnavailable(f"{source.modules}: no folder of modules")
    try:
        return make_build(
            store,
            image,
            config,
            arch,
            kind="file",
            where=describe_file(source.image),
            suite="",
            flavour="",
            package_version="",
        )
    except ImageError as error:
        raise ImageError(f"{source.image}: {error}") from None


def debian_modules(store: Store, archive: Archive | None, build: Build) -> ModuleLoader:
    """Return the loader of a Debian build's modules; the package they lie in is fetched when first needed."""
    if build.modules_package is None:
        return partial(_departed, build)
    name, version, digest = build.modules_package

    def every_file() -> Iterator[tuple[str, bytes]]:
        if store.find(digest) is None:
            if archive is None:
                raise KernelUnavailable(f"{name} {version} has the modules, is not stored, and fetching is off")
            package = Package(name, version, digest, 0, build.suite)
            _fetch_packages(store, archive, DEBIAN_ARCH[build.arch], (package,), lambda text: None)
        digests = dict.fromkeys((digest, *(sha256 for _, _, sha256 in build.packages)))
        paths = filter(None, map(store.find, digests))
        return chain.from_iterable(map(deb.files, paths))

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


def _image_and_config(store: Store, candidate: Candidate) -> tuple[bytes, bytes]:
    found: dict[str, bytes] = {}
    for package in candidate.needed:
        path = store.find(package.sha256)
        if path is None:
            raise KernelUnavailable(f"{package.name}: vanished from the store while it was being read; run again")
        for name, data in deb.files(path):
            kind = "image" if _IMAGE.match(name) else "config" if _CONFIG.match(name) else ""
            if kind:
                found.setdefault(kind, data)
            if len(found) == 2:
                return found["image"], found["config"]
    if "image" not in found:
        raise KernelUnavailable(f"{candidate.image.name} {candidate.package_version}: no vmlinuz in it")
    return found["image"], b""


def _read(path: Path, what: str) -> bytes:
    try:
        if path.stat().st_size > MAX_IMAGE:
            raise ImageError(f"{path}: the {what} is larger than {MAX_IMAGE >> 20} MiB")
        return path.read_bytes()
    except OSError as error:
        raise KernelUnavailable(f"{path}: cannot read the {what}: {error.strerror or error}") from None
