"""What a person may write where a command asks for a kernel.

A name or glob of kernels.yaml; an image; a folder in which a kernel was built; packages (.deb, .rpm, .pkg.tar.*); a URL
of an image or a package. Which architecture it is for, its bytes say. Nothing of this is written to kernels.lock.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from harness.errors import ImageError, KernelUnavailable, UsageError, nearest
from harness.kernels.archive import Saying
from harness.kernels.download import download, is_url
from harness.kernels.fetch import is_image, read_packages, release_in, stored_file, stored_packages
from harness.kernels.images import image_arch
from harness.kernels.packages import kind_of, package_files
from harness.kernels.store import Store
from harness.matrix.model import KernelSpec, Matrix
from harness.matrix.sources.base import Source
from harness.matrix.sources.file import FileSource
from harness.matrix.sources.package import PackageSource
from harness.matrix.sources.tree import TreeSource
from harness.matrix.sources.url import UrlSource
from harness.model.architectures import ARCHITECTURES, Arch
from harness.secret_urls import bare_url

_BUILT_IMAGE = re.compile(r"(.*/)?arch/[^/]+/boot/[^/]+\Z")
_INSTALLED = re.compile(r"(?:vmlinuz|vmlinux|Image)-(.+)\Z")
_GENERIC = frozenset({"bzImage", "vmlinux", "vmlinuz", "Image", "Image.gz", "vmlinuz.efi"})
_UNSAFE = re.compile(r"[^A-Za-z0-9._+-]+")
_NAME_LENGTH = 64


@dataclass(frozen=True, kw_only=True)
class Reading:
    """How arguments are read. ``arches`` are those asked for, none for any. ``build`` says that folders are sources to
    be built: "" as they lie there, else that commit of them; None that they hold a kernel that was built already."""

    store: Store
    say: Saying
    arches: tuple[Arch, ...] = ()
    build: str | None = None
    offline: bool = False


def read_arguments(matrix: Matrix, words: Sequence[str], reading: Reading) -> tuple[Matrix, tuple[str, ...]]:
    """Return the matrix with the kernels that ``words`` name beside it, and the names of those meant, in order.

    The bytes of each are in the store then, but for a tree that is to be built.

    Raises ``UsageError``, one line, for a word that names no kernel; ``ToolMissing``; ``StoreError``.
    """
    kernels = dict(matrix.kernels)
    names: list[str] = []
    packages: list[_Place] = []
    for word in words:
        if not word.strip():  # a variable of a script that is not set; as a path it would be this folder
            raise UsageError(
                "a KERNEL is empty; name one (to list them: sealmatrix kernels list), or '.' for this folder"
            )
        if _is_name(word, matrix):
            names.append(word)
            continue
        place = _place(word, matrix, reading)
        if place.path.is_file() and kind_of(place.path):
            packages.append(place)
            continue
        spec = _tree(place.path, reading) if place.path.is_dir() else _image(place, reading)
        names.append(_add(kernels, spec))
    names += [_add(kernels, spec) for spec in _of_packages(packages, reading)]
    return replace(matrix, kernels=MappingProxyType(kernels)), tuple(names)


@dataclass(frozen=True)
class _Place:
    """A file or folder, and the URL it came from if it did."""

    word: str
    path: Path
    url: str = ""


def _is_name(word: str, matrix: Matrix) -> bool:
    """A file in the way does not hide a name: names have no slash, and ``./name`` is the file."""
    return word in matrix.kernels or bool(not Path(word).exists() and fnmatch.filter(matrix.kernels, word))


def _place(word: str, matrix: Matrix, reading: Reading) -> _Place:
    if is_url(word):
        try:
            return _Place(bare_url(word), download(reading.store, word, reading.say, offline=reading.offline), word)
        except KernelUnavailable as error:
            raise UsageError(str(error)) from None
    try:
        path = Path(word).expanduser().absolute()
    except RuntimeError:  # ~nobody
        path = Path(word).absolute()
    if not path.exists():
        if "/" in word:  # names have none
            raise UsageError(f"{word}: no such file or folder")
        if "." in word[-8:]:
            close = nearest(word, matrix.kernels, listed_by="sealmatrix kernels list")
            raise UsageError(f"{word}: no such file, and no kernel in {matrix.path} is called so{close}")
        near = nearest(word, matrix.kernels, listed_by="sealmatrix kernels list")
        raise UsageError(f"no kernel {word!r} in {matrix.path}, and no such file{near}")
    return _Place(word, path)


# --- images -----------------------------------------------------------------------------------------------------------


def _image(place: _Place, reading: Reading) -> KernelSpec:
    """A single file: its configuration and modules are looked for where builds and distributions leave them."""
    try:
        with place.path.open("rb") as file:
            arch = image_arch(file.read())
        _refuse_other(place.word, arch, reading)
        source = FileSource(place.path, *_beside(place.path)) if not place.url else FileSource(place.path)
        build = stored_file(reading.store, source, arch, bare_url(place.url) if place.url else "")
    except OSError as error:
        raise UsageError(f"{place.word}: cannot be read: {error.strerror or error}") from None
    except (ImageError, KernelUnavailable) as error:
        _forget([place])
        raise UsageError(f"{place.word}: {str(error).removeprefix(f'{place.path}: ')}") from None
    meant: Source = UrlSource((place.url,)) if place.url else source
    return _spec(_image_name(place.path), meant, arch, version=build.version)


def _beside(image: Path) -> tuple[Path | None, Path | None]:
    """Return (configuration, folder of modules) of an image by where it lies, None for what is not there."""
    if _BUILT_IMAGE.match(str(image)):
        return _in_build(image.parents[3])
    config = [image.with_name(".config"), image.with_name("config")]
    modules: list[Path] = [image.parent] if (image.parent / "modules.dep").is_file() else []
    if installed := _INSTALLED.match(image.name):
        release = installed.group(1)
        config.insert(0, image.with_name(f"config-{release}"))
        modules.append(image.parent.parent / "lib/modules" / release)
    return next(filter(Path.is_file, config), None), next(filter(Path.is_dir, modules), None)


def _in_build(folder: Path) -> tuple[Path | None, Path | None]:
    config, order = folder / ".config", folder / "modules.order"
    has_modules = order.is_file() and order.stat().st_size > 0
    return config if config.is_file() else None, folder if has_modules else None


def _image_name(path: Path) -> str:
    if path.name not in _GENERIC:
        return path.name
    return path.parents[3].name if _BUILT_IMAGE.match(str(path)) else path.name


# --- trees ------------------------------------------------------------------------------------------------------------


def _tree(folder: Path, reading: Reading) -> KernelSpec:
    if reading.build is not None:
        return _spec(folder.name, TreeSource(folder, reading.build), *reading.arches)
    built = [
        (arch, folder / path)
        for arch, facts in ARCHITECTURES.items()
        for path in facts.built
        if (folder / path).is_file()
    ]
    if not built:
        what = "a kernel tree that is not built" if (folder / "Kbuild").is_file() else "a folder without a built kernel"
        looked_for = ", ".join(f"no {facts.built[0]}" for facts in ARCHITECTURES.values())
        raise UsageError(f"{folder}: {what} ({looked_for}); build it there, or add --build")
    wanted = [(arch, image) for arch, image in built if not reading.arches or arch in reading.arches]
    if not wanted:
        _refuse_other(str(folder), built[0][0], reading)
    # Of several builds in one folder the newest is meant.
    _, image = max(wanted, key=lambda pair: pair[1].stat().st_mtime_ns)
    return replace(_image(_Place(str(folder), image), reading), name=_name(folder.name))


# --- packages ---------------------------------------------------------------------------------------------------------


def _of_packages(places: Sequence[_Place], reading: Reading) -> Iterator[KernelSpec]:
    """One kernel for each release and kind of package: an image may lie in one package, its modules in others."""
    groups: dict[tuple[str, str], list[_Place]] = {}
    try:
        for place in places:
            groups.setdefault((_release_of(place), kind_of(place.path)), []).append(place)
        for (release, _), group in groups.items():
            for parts in _kernels_of(release, group):
                yield _of_release(release, parts, reading)
    except (ImageError, KernelUnavailable) as error:
        _forget(places)
        raise UsageError(str(error)) from None


def _kernels_of(release: str, group: Sequence[_Place]) -> Sequence[Sequence[_Place]]:
    """Two builds may call themselves alike: then each package must be whole, for nobody knows whose the modules are."""
    if len(group) == 1:
        return [group]
    with_image = [place for place in group if any(is_image(name) for name, _ in package_files(place.path))]
    if len(with_image) <= 1:
        return [group]
    if len(with_image) == len(group):
        return [[place] for place in group]
    named = " and ".join(place.word for place in with_image)
    raise UsageError(f"{named}: each has an image of {release}; name one of them, and the packages of its modules")


def _forget(places: Sequence[_Place]) -> None:
    """What was fetched and is no kernel is not kept; a file of the user's stays."""
    for place in places:
        if place.url:
            place.path.unlink(missing_ok=True)


def _release_of(place: _Place) -> str:
    for name, _ in package_files(place.path):
        if release := release_in(name):
            return release
    raise KernelUnavailable(f"{place.word}: no kernel and no modules in it")


def _of_release(release: str, parts: Sequence[_Place], reading: Reading) -> KernelSpec:
    source = PackageSource(tuple(part.path for part in parts))
    arch = image_arch(read_packages(source.packages).image)
    _refuse_other(parts[0].word, arch, reading)
    where = ", ".join(bare_url(part.url) if part.url else f"package {part.path.name}" for part in parts)
    build = stored_packages(reading.store, source, arch, where)
    urls = tuple(part.url for part in parts)
    return _spec(release, UrlSource(urls) if all(urls) else source, arch, version=build.version)


# --- names ------------------------------------------------------------------------------------------------------------


def _spec(name: str, source: Source, *arches: Arch, version: str = "") -> KernelSpec:
    return KernelSpec(_name(name), source, arches, listed=False, version=version)


def _name(text: str) -> str:
    """A name of ours: what a cell and its folder can be called."""
    return _UNSAFE.sub("-", text).lstrip("._+-")[:_NAME_LENGTH] or "kernel"


def _add(kernels: dict[str, KernelSpec], spec: KernelSpec) -> str:
    """Put a kernel beside the others under its name, or with a number behind it where that is taken."""
    name = spec.name
    for number in range(2, len(kernels) + 3):
        if name not in kernels:
            break
        name = f"{spec.name[: _NAME_LENGTH - 4]}-{number}"
    kernels[name] = replace(spec, name=name)
    return name


def _refuse_other(word: str, arch: Arch, reading: Reading) -> None:
    if reading.arches and arch not in reading.arches:
        raise UsageError(f"{word}: a kernel for {arch}, but the request was for {', '.join(reading.arches)}")
