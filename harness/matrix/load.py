"""From the bytes of ``kernels.yaml`` to a ``Matrix``; every fault is one line with file, line and key."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import pydantic

import harness
from harness.config.yaml_lines import Key, Tree, dotted, parse_tree
from harness.errors import ConfigError, UsageError, nearest
from harness.matrix.messages import first_fault
from harness.matrix.model import (
    STANDARD_PROFILE,
    DebianSource,
    FileSource,
    GuestKind,
    InQemu,
    InVirtme,
    KernelSpec,
    MachineSource,
    Matrix,
    OverSsh,
    PackageSource,
    Profile,
    Selection,
    Source,
    TreeSource,
    UrlSource,
)
from harness.matrix.schema import (
    DebianKernel,
    FileKernel,
    KernelEntry,
    Machine,
    MachineKernel,
    MatrixFile,
    PackageKernel,
    SelectionEntry,
    SshProfile,
    TreeKernel,
    UrlKernel,
    VirtmeProfile,
)
from harness.model.architectures import ARCHES

STANDARD = "standard"
DEFAULT = "default"


def load_matrix(path: Path) -> Matrix:
    """Read a matrix and, unless it extends none, put it beside the shipped one.

    Raises ``ConfigError`` naming file, line and key; ``UsageError`` when it cannot be read.
    """
    shipped = shipped_path()
    if path.resolve() == shipped.resolve():
        return parse_matrix(_read(path), path)
    return parse_matrix(_read(path), path, parse_matrix(_read(shipped), shipped))


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot read the matrix: {error.strerror or error}") from None


def parse_matrix(data: bytes, path: Path, base: Matrix | None = None) -> Matrix:
    """Turn the bytes of a matrix, read from ``path``, into nouns, beside those of ``base`` if it extends that.

    Raises ``ConfigError`` and nothing else.
    """
    tree = parse_tree(data, path)
    if not isinstance(tree.root, dict) or not tree.root:
        raise ConfigError(path, tree.line(()), "a matrix has the keys version, kernels, profiles, selections")
    try:
        file = MatrixFile.model_validate(tree.root)
    except pydantic.ValidationError as error:
        raise first_fault(error, tree, path) from None
    digest = hashlib.sha256(data)
    if base is None or file.extends == "none":
        return _nouns(file, tree, path, digest.hexdigest(), Matrix(path, "", {}, {}, {}))
    digest.update(base.sha256.encode())
    return _nouns(file, tree, path, digest.hexdigest(), base)


def find_matrix(path: Path | None = None) -> Path:
    """Return the matrix a user means: the one named, else ``default_path``."""
    return path or default_path()


def default_path(folder: Path | None = None) -> Path:
    """Return ``kernels.yaml`` in ``folder`` (the working directory) if there is one, else the shipped matrix."""
    own = (folder or Path()) / "kernels.yaml"
    return own if own.is_file() else shipped_path()


def shipped_path() -> Path:
    """Return the matrix that comes with this package: inside an installed one, beside it in a checkout."""
    package = Path(harness.__file__).resolve().parent
    installed = package / "_shipped" / "kernels.yaml"
    return installed if installed.is_file() else package.parent / "kernels.yaml"


def lock_path(matrix: Matrix) -> Path:
    """Return where the matrix's lock file belongs: beside it, but never inside the installed package."""
    if "_shipped" in matrix.path.parts:
        return Path.cwd() / "kernels.lock"
    return matrix.path.with_name(f"{matrix.path.stem}.lock")


def _nouns(file: MatrixFile, tree: Tree, path: Path, digest: str, base: Matrix) -> Matrix:
    """The file's own entries win over those of ``base`` that have their names, and stand before the others."""
    own = {name: _kernel(name, entry, path.parent) for name, entry in file.kernels.items()}
    kernels = {**own, **{name: kernel for name, kernel in base.kernels.items() if name not in own}}
    profiles = {STANDARD: STANDARD_PROFILE, **base.profiles}
    for name, entry in file.profiles.items():
        if name in ARCHES:
            raise _fault(tree, path, ("profiles", name), "a profile cannot have the name of an architecture")
        profiles[name] = _profile(name, entry, path.absolute().parent)
    selections = dict(base.selections)
    if DEFAULT in selections and not file.selections:
        selections[DEFAULT] = _beside_default(own, selections[DEFAULT])
    for name, wish in file.selections.items():
        place: Key = ("selections", name)
        _known(tree, path, (*place, "kernels"), wish.kernels, kernels)
        _known(tree, path, (*place, "profiles"), wish.profiles, profiles)
        named = {name: entry.also for name, entry in file.selections.items()}
        plain = [name for name, also in {**_also(base), **named}.items() if not also]
        for position, other in enumerate(wish.also):
            if other not in plain:
                message = f"no selection {other!r} without an 'also' of its own{nearest(other, plain)}"
                raise _fault(tree, path, (*place, "also", position), message)
        selections[name] = _selection(name, wish)
        for position, kernel in enumerate(wish.kernels):
            if not set(kernels[kernel].arches) & set(wish.architectures):
                message = f"{kernel} exists for none of these architectures: {', '.join(wish.architectures)}"
                raise _fault(tree, path, (*place, "kernels", position), message)
    freeze = MappingProxyType
    return Matrix(path, digest, freeze(kernels), freeze(profiles), freeze(selections))


def _also(matrix: Matrix) -> Mapping[str, tuple[str, ...]]:
    return {name: selection.also for name, selection in matrix.selections.items()}


def _beside_default(own: Mapping[str, KernelSpec], default: Selection) -> Selection:
    """What a person's file without selections means: his kernels, on every architecture they have, and the default."""
    kernels = (*own, *(name for name in default.kernels if name not in own))
    arches = tuple(a for a in ARCHES if a in default.arches or any(a in spec.arches for spec in own.values()))
    return replace(default, kernels=kernels, arches=arches)


def _kernel(name: str, entry: KernelEntry, folder: Path) -> KernelSpec:
    return KernelSpec(name, _source(entry, folder), entry.architectures, entry.labels)


def _source(entry: KernelEntry, folder: Path) -> Source:
    match entry:
        case DebianKernel():
            return DebianSource(entry.suites, entry.flavour_meant, entry.release, entry.version, entry.package)
        case TreeKernel():
            fragments = tuple(_place(folder, fragment) for fragment in entry.fragments)
            return TreeSource(_place(folder, entry.tree), entry.commit or "", fragments)
        case PackageKernel():
            return PackageSource(tuple(_place(folder, package) for package in entry.packages))
        case UrlKernel():
            return UrlSource(entry.urls, entry.sha256 or "")
        case MachineKernel():
            return MachineSource()
        case FileKernel():
            return _file(entry, folder)


def _file(entry: FileKernel, folder: Path) -> FileSource:
    config, modules = (_place(folder, value) if value is not None else None for value in (entry.config, entry.modules))
    return FileSource(_place(folder, entry.image), config, modules)


def _place(folder: Path, value: str) -> Path:
    """A path as a matrix has it: relative to its folder; ``~`` is the user's home, as far as there is such a user."""
    path = Path(value)
    with suppress(RuntimeError):
        path = path.expanduser()
    return folder / path


def _profile(name: str, entry: Machine, folder: Path) -> Profile:
    if isinstance(entry, SshProfile):
        return Profile(name, 0, 0, guest=_over_ssh(entry, folder))
    cpu = MappingProxyType(entry.cpu)
    guest: GuestKind = InQemu()
    if isinstance(entry, VirtmeProfile):
        guest = InVirtme(MappingProxyType({arch: _place(folder, root) for arch, root in entry.root.items()}))
    return Profile(name, entry.smp, entry.memory, cpu, entry.boot, entry.numa, entry.swap, entry.hugepages, guest)


def _over_ssh(entry: SshProfile, folder: Path) -> OverSsh:
    key, known_hosts = (
        _place(folder, value) if value is not None else None for value in (entry.key, entry.known_hosts)
    )
    return OverSsh(
        host=entry.host,
        port=entry.port,
        user=entry.user or "",
        key=key,
        secret=entry.secret or "",
        jump=entry.jump or "",
        known_hosts=known_hosts,
        directories=entry.directories,
        install=entry.install,
        patience=entry.patience,
    )


def _selection(name: str, entry: SelectionEntry) -> Selection:
    return Selection(
        name, entry.kernels, entry.architectures, entry.profiles, entry.also, entry.probes, entry.crosscheck
    )


def _known(tree: Tree, path: Path, place: Key, words: Iterable[str], valid: Iterable[str]) -> None:
    names = tuple(valid)
    for position, word in enumerate(words):
        if word not in names:
            message = f"unknown {str(place[-1]).removesuffix('s')} {word!r}{nearest(word, names)}"
            raise _fault(tree, path, (*place, position), message)


def _fault(tree: Tree, path: Path, place: Key, message: str) -> ConfigError:
    return ConfigError(path, tree.line(place), f"{dotted(place)}: {message}" if place else message)
