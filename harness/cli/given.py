"""From the words of a command line to cells: kernels by name, by path, by URL; selections; architectures; profiles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.compare.sides import Load, Picked, pick, pick_kernel
from harness.errors import UsageError
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.baseline import baseline_for
from harness.kernels.download import is_url
from harness.kernels.lock import read_lock
from harness.kernels.model import Kernel
from harness.kernels.providers.request import Progress
from harness.kernels.resolve import provide
from harness.kernels.store import Store
from harness.matrix.load import default_path, load_matrix, lock_path
from harness.matrix.model import CellSpec, Matrix
from harness.matrix.plan import asked_of, plan_cells
from harness.model.architectures import ARCHES, this_arch

NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Words:
    """What was written: ``given`` are the kernels of the command line itself, ``globs`` those of ``-k``.

    ``selection`` is one whose kernels are meant; ``asks`` one whose probes, crosscheck, exploration and machines are,
    whatever the kernels. ``against`` is the kernel to compare with, "none" for no comparison, None for the nearest
    stock kernel of each kernel that stands in no matrix. ``build`` is None where folders hold built kernels, "" where
    they are to be built, else a commit of theirs.
    """

    given: tuple[str, ...] = ()
    globs: tuple[str, ...] = ()
    selection: str | None = None
    asks: str | None = None
    arches: tuple[str, ...] = ()
    profiles: tuple[str, ...] = ()
    build: str | None = None
    offline: bool = False
    against: str | None = None


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What was meant: a matrix with the kernels named on the command line in it, the cells, and their probes.

    ``against`` says which cell each cell is to be compared with.
    """

    matrix: Matrix
    specs: tuple[CellSpec, ...]
    probes: tuple[str, ...]
    crosscheck: tuple[str, ...]
    explore: float = 0.0
    against: Mapping[str, str] = field(default_factory=dict)


def meant_cells(matrix: Matrix, words: Words, say: Progress) -> Meant:
    """Read the words. A kernel that was given is asked every probe, or those of the selection that is named with it.

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
    asks = asked_of(matrix, words.selection if words.asks is None else words.asks, kernels=(*given, *globs))
    if given:
        profiles = words.profiles or (() if words.asks is None else asks.profiles)
        specs = plan_cells(matrix, kernels=given, arches=words.arches, profiles=profiles)
    if not given or globs or words.selection is not None:
        named = plan_cells(
            matrix, selection=words.selection, kernels=globs, arches=words.arches, profiles=words.profiles
        )
        specs = (*specs, *named)
    specs = _once(specs)
    matrix, baselines, against = _baselines(matrix, specs, words, reading)
    specs = _once((*specs, *baselines))
    return Meant(
        matrix=matrix,
        specs=specs,
        against=against,
        probes=asks.probes,
        crosscheck=asks.crosscheck,
        explore=asks.explore,
    )


def pick_side(results: Path, word: str, load: Load, run: str | None = None) -> Picked:
    """Find the cells a word means: as ``pick`` does or, for a kernel's path or URL, those of the run that asked it.

    Raises ``UsageError`` for a word that names nothing, and for a kernel that no run has asked.
    """
    place = Path(word).expanduser()
    if not is_url(word) and (not place.exists() or (place / "run.json").is_file() or (results / word).exists()):
        return pick(results, word, load, run)
    reading = Reading(store=Store(), say=lambda text: None, offline=True)
    matrix, names = read_arguments(load_matrix(default_path()), [word], reading)
    cells = plan_cells(matrix, kernels=names)
    (kernel, *_) = provide(matrix, cells, offline=True).kernels.values()
    if not isinstance(kernel, Kernel):
        raise UsageError(str(kernel))
    return pick_kernel(results, word, kernel.sha256, load)


def _baselines(
    matrix: Matrix, specs: Sequence[CellSpec], words: Words, reading: Reading
) -> tuple[Matrix, tuple[CellSpec, ...], Mapping[str, str]]:
    """Return the matrix with what ``--against`` names, the cells to compare with, and which is compared with which."""
    if words.against == NONE:
        return matrix, (), {}
    named: tuple[str, ...] = ()
    if words.against is not None:
        matrix, named = read_arguments(matrix, (words.against,), replace(reading, arches=(), build=None))
    against: dict[str, str] = {}
    found: list[CellSpec] = []
    lock = read_lock(lock_path(matrix))
    for spec in specs:
        if named:
            names = [kernel for kernel in plan_cells(matrix, kernels=named) if kernel.arch == spec.arch]
            name = names[0].kernel.name if names else ""
        elif spec.kernel.listed:
            continue
        else:
            name = baseline_for(matrix, lock, spec.arch, spec.kernel.version, flavours=("cloud", "full"))
        if not name or name == spec.kernel.name:
            continue
        baseline = CellSpec(matrix.kernels[name], spec.arch, spec.profile)
        found.append(baseline)
        against[spec.id] = baseline.id
    return matrix, tuple(found), against


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
            raise UsageError(f"--build needs a kernel tree, and {word} is not a folder")
