"""Which cells a request means: selection or kernel globs, narrowed by architecture and profile."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from harness.errors import UsageError, nearest
from harness.matrix.model import CellSpec, KernelSpec, Matrix, OverSsh, Profile, Selection
from harness.matrix.sources.machine import MachineSource
from harness.model.architectures import ARCHES, SYNONYMS, Arch

DEFAULT = "default"
STANDARD = "standard"


@dataclass(frozen=True)
class Asked:
    """Globs of probes, none for all of them; globs of those that the second payload observes too, none for none; for
    how many seconds each cell is explored, 0 for not at all; and on which profiles."""

    probes: tuple[str, ...] = ()
    crosscheck: tuple[str, ...] = ()
    explore: float = 0.0
    profiles: tuple[str, ...] = ()


def plan_cells(
    matrix: Matrix,
    *,
    selection: str | None = None,
    kernels: Sequence[str] = (),
    arches: Sequence[str] = (),
    profiles: Sequence[str] = (),
) -> tuple[CellSpec, ...]:
    """Return the cells meant, in the matrix's order, each once.

    ``kernels`` are names or globs over the whole matrix, or over ``selection`` when that is given too; with
    neither, the selection ``default`` is meant. ``arches`` narrows; ``profiles`` replaces the selection's own.
    Raises ``UsageError`` for a word that names nothing and for a request that leaves no cell.
    """
    for arch in arches:
        if arch not in ARCHES:
            called = f" (here it is called {SYNONYMS[arch]!r})" if arch in SYNONYMS else nearest(arch, ARCHES)
            raise UsageError(f"unknown architecture {arch!r}{called}")
    machines = _profiles(matrix, profiles)
    chosen = _chosen(matrix, selection, kernels)
    meant = [
        CellSpec(kernel, arch, profile)
        for kernel, wished, own in chosen
        for arch in wished
        if not arches or arch in arches
        for profile in (machines or own)
    ]
    cells = tuple({cell.id: cell for cell in meant}.values())
    if not cells:
        raise UsageError(f"nothing to run: no selected kernel exists for {', '.join(arches)}")
    return cells


def asked_of(matrix: Matrix, selection: str | None = None, *, kernels: Sequence[str] = ()) -> Asked:
    """Return what the cells that ``plan_cells`` means with the same words are asked: kernels that are named without a
    selection, everything. Raises ``UsageError`` for a selection that there is not.
    """
    if kernels and selection is None:
        return Asked()
    meant = _named(matrix, DEFAULT if selection is None else selection)
    return Asked(meant.probes, meant.crosscheck, meant.explore, meant.profiles)


def refuse_impossible(cells: Iterable[CellSpec]) -> None:
    """Raise ``UsageError`` for a kernel that cannot come to the machine it is to run on."""
    for cell in cells:
        remote = isinstance(cell.profile.guest, OverSsh)
        runs_there = isinstance(cell.kernel.source, MachineSource)
        if runs_there and not remote:
            raise UsageError(
                f"kernel {cell.kernel.name} (`source: machine`) needs a profile with `guest: ssh` (-p NAME); "
                f"{cell.profile.name} is none"
            )
        if isinstance(cell.profile.guest, OverSsh) and not runs_there and not cell.profile.guest.install:
            raise UsageError(
                f"the profile {cell.profile.name} has no `install`, so {cell.kernel.name} cannot be booted "
                "on its machine; choose a kernel with `source: machine`, or give the profile an `install`"
            )


_Choice = tuple[KernelSpec, tuple[Arch, ...], tuple[Profile, ...]]


def _chosen(matrix: Matrix, selection: str | None, patterns: Sequence[str]) -> tuple[_Choice, ...]:
    pool: tuple[_Choice, ...]
    if patterns and selection is None:
        standard = (matrix.profiles[STANDARD],)
        pool = tuple((kernel, kernel.arches, standard) for kernel in matrix.kernels.values())
        where = f"in {matrix.path}"
    else:
        name = DEFAULT if selection is None else selection
        pool = _selected(matrix, name)
        where = f"in the selection {name} of {matrix.path}"
    return pool if not patterns else _matching(pool, patterns, where)


def _named(matrix: Matrix, name: str) -> Selection:
    if name not in matrix.selections:
        raise UsageError(f"{matrix.path}: unknown selection {name!r}{nearest(name, matrix.selections)}")
    return matrix.selections[name]


def _selected(matrix: Matrix, name: str) -> tuple[_Choice, ...]:
    wish = _named(matrix, name)
    own = _wished(matrix, wish)
    return own + tuple(choice for other in wish.also for choice in _wished(matrix, matrix.selections[other]))


def _wished(matrix: Matrix, wish: Selection) -> tuple[_Choice, ...]:
    machines = tuple(matrix.profiles[profile] for profile in wish.profiles)
    specs = (matrix.kernels[kernel] for kernel in wish.kernels)
    return tuple((spec, tuple(a for a in spec.arches if a in wish.arches), machines) for spec in specs)


def _matching(pool: Iterable[_Choice], patterns: Sequence[str], where: str) -> tuple[_Choice, ...]:
    choices = tuple(pool)
    names = [kernel.name for kernel, _, _ in choices]
    wanted: set[str] = set()
    for pattern in patterns:
        found = fnmatch.filter(names, pattern)
        if not found:
            near = nearest(pattern, names, listed_by="sealmatrix kernels list")
            raise UsageError(f"no kernel {pattern!r} {where}{near}")
        wanted.update(found)
    return tuple(choice for choice in choices if choice[0].name in wanted)


def _profiles(matrix: Matrix, names: Sequence[str]) -> tuple[Profile, ...]:
    for name in names:
        if name not in matrix.profiles:
            raise UsageError(f"{matrix.path}: unknown profile {name!r}{nearest(name, matrix.profiles)}")
    return tuple(matrix.profiles[name] for name in dict.fromkeys(names))
