"""From the bytes of ``kernels.yaml`` to a ``Matrix``; every fault is one line with file, line and key."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import harness
from harness.config.loader import Document, load_yaml, parse_yaml
from harness.config.yaml_lines import KeyPath
from harness.errors import nearest
from harness.matrix.model import (
    STANDARD_PROFILE,
    GuestKind,
    InQemu,
    InVirtme,
    KernelSpec,
    Matrix,
    OverSsh,
    Profile,
    Selection,
)
from harness.matrix.schema import (
    AnyProfile,
    KernelEntry,
    MatrixFile,
    SelectionEntry,
    SshProfile,
    VirtmeProfile,
)
from harness.matrix.sources.base import optional_place, place
from harness.model.architectures import ARCHES

STANDARD = "standard"
DEFAULT = "default"


def load_matrix(path: Path) -> Matrix:
    """Read a matrix and, unless it extends none, put it beside the shipped one.

    Raises ``ConfigError`` naming file, line and key; ``UsageError`` when it cannot be read.
    """
    shipped = shipped_path()
    document = load_yaml(path, MatrixFile, "matrix")
    if path.resolve() == shipped.resolve():
        return _matrix(document)
    return _matrix(document, _matrix(load_yaml(shipped, MatrixFile, "matrix")))


def parse_matrix(data: bytes, path: Path, base: Matrix | None = None) -> Matrix:
    """Turn the bytes of a matrix, read from ``path``, into nouns, beside those of ``base`` if it extends that.

    Raises ``ConfigError`` and nothing else.
    """
    return _matrix(parse_yaml(data, path, MatrixFile, "matrix"), base)


def _matrix(document: Document[MatrixFile], base: Matrix | None = None) -> Matrix:
    digest = hashlib.sha256(document.data)
    if base is None or document.value.extends == "none":
        return _nouns(document, digest.hexdigest(), Matrix(document.path, "", {}, {}, {}))
    digest.update(base.sha256.encode())
    return _nouns(document, digest.hexdigest(), base)


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


def _nouns(document: Document[MatrixFile], digest: str, base: Matrix) -> Matrix:
    """The file's own entries win over those of ``base`` that have their names, and stand before the others."""
    file, path = document.value, document.path
    own = {name: _kernel(name, entry, path.parent) for name, entry in file.kernels.items()}
    kernels = {**own, **{name: kernel for name, kernel in base.kernels.items() if name not in own}}
    profiles = {STANDARD: STANDARD_PROFILE, **base.profiles}
    for name, entry in file.profiles.items():
        if name in ARCHES:
            raise document.fault(("profiles", name), "a profile cannot have the name of an architecture")
        profiles[name] = _profile(name, entry, path.absolute().parent)
    selections = dict(base.selections)
    if DEFAULT in selections and not file.selections:
        selections[DEFAULT] = _beside_default(own, selections[DEFAULT])
    for name, wish in file.selections.items():
        where: KeyPath = ("selections", name)
        for position, kernel in enumerate(wish.kernels):
            document.require_known((*where, "kernels", position), kernel, kernels, "kernel")
        for position, profile in enumerate(wish.profiles):
            document.require_known((*where, "profiles", position), profile, profiles, "profile")
        named = {name: entry.also for name, entry in file.selections.items()}
        plain = [name for name, also in {**_also(base), **named}.items() if not also]
        for position, other in enumerate(wish.also):
            if other not in plain:
                message = f"no selection {other!r} without an 'also' of its own{nearest(other, plain)}"
                raise document.fault((*where, "also", position), message)
        selections[name] = _selection(name, wish)
        for position, kernel in enumerate(wish.kernels):
            if not set(kernels[kernel].arches) & set(wish.architectures):
                message = f"{kernel} exists for none of these architectures: {', '.join(wish.architectures)}"
                raise document.fault((*where, "kernels", position), message)
    freeze = MappingProxyType
    return Matrix(path, digest, freeze(kernels), freeze(profiles), freeze(selections))


def _also(matrix: Matrix) -> Mapping[str, tuple[str, ...]]:
    return {name: selection.also for name, selection in matrix.selections.items()}


def _beside_default(own: Mapping[str, KernelSpec], default: Selection) -> Selection:
    """What a person's file without selections means: his kernels, on every architecture they have, and the default's.

    They are asked everything, like every kernel that somebody names.
    """
    kernels = (*own, *(name for name in default.kernels if name not in own))
    arches = tuple(a for a in ARCHES if a in default.arches or any(a in spec.arches for spec in own.values()))
    return replace(default, kernels=kernels, arches=arches, probes=())


def _kernel(name: str, entry: KernelEntry, folder: Path) -> KernelSpec:
    return KernelSpec(name, entry.noun(folder), entry.architectures, entry.labels)


def _profile(name: str, entry: AnyProfile, folder: Path) -> Profile:
    if isinstance(entry, SshProfile):
        return Profile(name, 0, 0, guest=_over_ssh(entry, folder))
    cpu = MappingProxyType(entry.cpu)
    guest: GuestKind = InQemu()
    if isinstance(entry, VirtmeProfile):
        guest = InVirtme(MappingProxyType({arch: place(folder, root) for arch, root in entry.root.items()}))
    return Profile(
        name,
        smp=entry.smp,
        memory=entry.memory,
        cpu=cpu,
        board=MappingProxyType(entry.board),
        boot=entry.boot,
        numa=entry.numa,
        swap=entry.swap,
        hugepages=entry.hugepages,
        guest=guest,
        counted=entry.counted,
    )


def _over_ssh(entry: SshProfile, folder: Path) -> OverSsh:
    key, known_hosts = optional_place(folder, entry.key), optional_place(folder, entry.known_hosts)
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
        name,
        entry.kernels,
        entry.architectures,
        entry.profiles,
        entry.also,
        entry.probes,
        entry.crosscheck,
        entry.explore,
    )
