"""From the words of a command line to cells: kernels by name, by path, by URL; selections; architectures; profiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.errors import UsageError
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.resolve import Progress
from harness.kernels.store import Store
from harness.matrix.model import CellSpec, Matrix
from harness.matrix.plan import DEFAULT, plan_cells, selected_crosscheck, selected_probes
from harness.model.architectures import ARCHES, this_arch


@dataclass(frozen=True, kw_only=True)
class Words:
    """What was written: ``given`` are the kernels of the command line itself, ``globs`` those of ``-k``.

    ``build`` is None where folders hold built kernels, "" where they are to be built, else a commit of theirs.
    """

    given: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    selection: str | None = None
    arches: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    build: str | None = None
    offline: bool = False


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What was meant: a matrix with the kernels named on the command line in it, the cells, and their probes."""

    matrix: Matrix
    specs: tuple[CellSpec, ...]
    probes: tuple[str, ...]
    crosscheck: tuple[str, ...]


def meant_cells(matrix: Matrix, words: Words, say: Progress) -> Meant:
    """Read the words. A kernel that was given is asked the default probes, and stands beside a selection.

    Raises ``UsageError`` for a word that names nothing.
    """
    _refuse_odd_build(words)
    arches = tuple(arch for arch in ARCHES if arch in words.arches)
    reading = Reading(
        store=Store(),
        say=lambda text: say("", "", text),
        arches=arches or ((this_arch(),) if words.build is not None else ()),
        build=words.build,
        offline=words.offline,
    )
    matrix, given = read_arguments(matrix, words.given, reading)
    matrix, globs = read_arguments(matrix, words.globs, reading)
    specs: Sequence[CellSpec] = ()
    if given:
        specs = plan_cells(matrix, kernels=given, arches=words.arches, profiles=words.profiles)
    if not given or globs or words.selection:
        named = plan_cells(
            matrix, selection=words.selection, kernels=globs, arches=words.arches, profiles=words.profiles
        )
        specs = (*specs, *named)
    selection = words.selection or (DEFAULT if given and DEFAULT in matrix.selections else None)
    if given and selection is None:
        return Meant(matrix=matrix, specs=_once(specs), probes=(), crosscheck=())
    return Meant(
        matrix=matrix,
        specs=_once(specs),
        probes=selected_probes(matrix, selection=selection, kernels=() if given else globs),
        crosscheck=selected_crosscheck(matrix, selection=selection, kernels=() if given else globs),
    )


def _once(specs: Sequence[CellSpec]) -> tuple[CellSpec, ...]:
    return tuple({spec.id: spec for spec in specs}.values())


def _refuse_odd_build(words: Words) -> None:
    if words.build is None:
        return
    if not words.given:
        tree = words.build if words.build and Path(words.build).expanduser().is_dir() else "TREE"
        raise UsageError(f"--build needs a kernel tree: sealmatrix run {tree} --build [REV]")
    for word in words.given:
        if not Path(word).expanduser().is_dir():
            raise UsageError(f"--build builds kernel trees, and {word} is no folder")
