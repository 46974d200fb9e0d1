"""Which cells stand against which: from words of a command line to the sides of a comparison."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path

from harness.compare.diff import Side
from harness.errors import UsageError, nearest, some_of
from harness.model.architectures import ARCHES
from harness.model.rule import KernelFacts, Rule
from harness.model.run_record import CellRecord, read_run
from harness.model.verdict import RuleResult
from harness.runs.cells import kernel_name, release, upstream_version
from harness.runs.model import RunDone
from harness.runs.repeats import first_id
from harness.runs.run_store import find_run, is_last, load_run, run_folders

Load = Callable[[Path], RunDone]


@dataclass(frozen=True)
class Picked:
    """Cells of one run that were asked for by ``word``; ``wanted`` is its part after the run."""

    word: str
    done: RunDone
    sides: tuple[Side, ...]
    wanted: str = "*"


def loader(catalogue: Mapping[str, Rule]) -> Load:
    """A function that loads each run once, however often it is named."""
    loaded: dict[Path, RunDone] = {}

    def load(folder: Path) -> RunDone:
        key = folder.resolve()
        if key not in loaded:
            loaded[key] = load_run(folder, catalogue)
        return loaded[key]

    return load


def sides_of(done: RunDone) -> tuple[Side, ...]:
    """A run's cells as sides, in the run's order; repeats of a cell are one side."""
    groups: dict[str, list[CellRecord]] = {}
    for cell in done.record.cells:
        groups.setdefault(first_id(cell.id), []).append(cell)
    return tuple(_side(done, cells) for cells in groups.values())


def _side(done: RunDone, cells: Sequence[CellRecord]) -> Side:
    first = cells[0]
    results, *repeats = (_by_rule(done.results.get(cell.id, ())) for cell in cells)
    page_size = first.machine.page_size if first.machine else 0
    version = upstream_version(first)
    return Side(
        run=done.record.id,
        cell=first_id(first.id),
        kernel=kernel_name(first),
        version=version,
        arch=first.arch,
        profile=first.profile,
        flavour=first.kernel.flavour if first.kernel else "",
        page_size=page_size,
        results=results,
        repeats=tuple(repeats),
        started=first.started or done.record.started,
        release=release(first),
        trouble=next((cell.trouble for cell in cells if not cell.clean), ""),
        facts=KernelFacts(version, first.arch, page_size) if version and page_size else None,
    )


def _by_rule(results: Iterable[RuleResult]) -> Mapping[str, RuleResult]:
    return {result.rule.id: result for result in results}


def pick(results: Path, word: str, load: Load, run: str | None = None) -> Picked:
    """Find the cells a word means: ``RUN``, ``RUN:CELL``, ``RUN:KERNEL``; without a run, in ``run`` or the newest.

    RUN is a run's id or folder, CELL a cell's id, KERNEL a kernel's name in the matrix or ``KERNEL:ARCH``; all but the
    run may be globs. Raises ``UsageError`` when the word names nothing.
    """
    named, _, rest = word.partition(":")
    for name, cell in ((word, ""), (named, rest)):
        if name and (folder := _run(results, name)) is not None:
            return _narrow(word, load(folder), cell or "*")
    return _narrow(word, load(find_run(results, run)), word)


def pick_kernel(results: Path, word: str, sha256: str, load: Load) -> Picked:
    """Find the cells of the newest run that asked the kernel with these bytes. Raises ``UsageError`` when none did."""
    for folder in reversed(run_folders(results)):
        names = {cell.kernel.name for cell in read_run(folder).cells if cell.kernel and cell.kernel.sha256 == sha256}
        if names:
            return _narrow(word, load(folder), names.pop())
    raise UsageError(f"no run in {results} has asked this kernel; first: sealmatrix run {word}")


def _run(results: Path, name: str) -> Path | None:
    for folder in (Path(name), results / name):
        if (folder / "run.json").is_file():
            return folder
    return find_run(results, name) if is_last(name) else None


def _narrow(word: str, done: RunDone, wanted: str) -> Picked:
    sides = sides_of(done)
    kernel, _, arch = wanted.partition(":")
    found = tuple(
        side
        for side in sides
        if fnmatchcase(side.cell, wanted) or (fnmatchcase(side.kernel, kernel) and fnmatchcase(side.arch, arch or "*"))
    )
    if not found:
        names = [*(side.cell for side in sides), *(side.kernel for side in sides)]
        also = f"there is no run {word!r}, and " if word == wanted and not arch else ""
        raise UsageError(f"{also}no cell or kernel of run {done.record.id} is {wanted!r}{nearest(wanted, names)}")
    return Picked(word, done, found, wanted)


@dataclass(frozen=True)
class Match:
    """Sides that stand against each other, and those that have nothing to stand against."""

    pairs: tuple[tuple[Side, Side], ...]
    only_before: tuple[Side, ...] = ()
    only_after: tuple[Side, ...] = ()


def match(before: Picked, after: Picked) -> Match:
    """Put the cells of two picks together: one against one, by cell, or else by architecture and profile.

    Raises ``UsageError`` when no cell has a counterpart, or more than one.
    """
    if len(before.sides) == len(after.sides) == 1:
        return Match(((before.sides[0], after.sides[0]),))
    if found := _match(before.sides, after.sides, lambda side: side.cell):
        return found
    for picked in (before, after):
        machines = [_machine(side) for side in picked.sides]
        if twice := {name for name in machines if machines.count(name) > 1}:
            cells = some_of(side.cell for side in picked.sides if _machine(side) in twice)
            raise UsageError(f"{picked.word} matches several cells: {cells}; name one as RUN:CELL")
    if found := _match(before.sides, after.sides, _machine):
        return found
    raise UsageError(
        f"{before.word} and {after.word} have no architecture and profile in common; name cells as RUN:CELL"
    )


def _machine(side: Side) -> str:
    return f"{side.arch}.{side.profile}"


def _match(before: Sequence[Side], after: Sequence[Side], key: Callable[[Side], str]) -> Match | None:
    olds, news = {key(side): side for side in before}, {key(side): side for side in after}
    pairs = tuple((olds[name], news[name]) for name in news if name in olds)
    if not pairs:
        return None
    only = tuple(side for name, side in olds.items() if name not in news)
    return Match(pairs, only, tuple(side for name, side in news.items() if name not in olds))


def series_of(sides: Sequence[Side]) -> tuple[tuple[Side, ...], ...]:
    """Group sides that belong on one line of versions: the same architecture, flavour and profile."""
    groups: dict[tuple[str, str, str], list[Side]] = {}
    for side in sides:
        groups.setdefault((side.arch, side.flavour, side.profile), []).append(side)
    return tuple(tuple(group) for _, group in sorted(groups.items(), key=lambda item: _arch_order(item[0][0])))


def across_of(sides: Sequence[Side]) -> tuple[tuple[Side, Side], ...]:
    """Put the same version on different machines together: arm64 against x86_64, larger pages against smaller ones.

    Flavours of one architecture and page size are other configurations, not other machines; they are not paired.
    """
    groups: dict[tuple[str, str], list[Side]] = {}
    for side in sides:
        if side.version and side.page_size:
            groups.setdefault((side.version, side.profile), []).append(side)
    pairs = []
    for group in groups.values():
        machines: dict[tuple[int, int], Side] = {}
        for side in group:
            machines.setdefault((_arch_order(side.arch), side.page_size), side)
        ordered = [machines[key] for key in sorted(machines)]
        pairs += [(_nearest_machine(ordered[:i], side), side) for i, side in enumerate(ordered) if i]
    return tuple(pairs)


def _nearest_machine(earlier: Sequence[Side], side: Side) -> Side:
    """The same architecture with smaller pages if there is one, else the first of all."""
    return next((other for other in reversed(earlier) if other.arch == side.arch), earlier[0])


def _arch_order(arch: str) -> int:
    return ARCHES.index(arch) if arch in ARCHES else len(ARCHES)


def narrowed(before: Side, after: Side) -> tuple[Side, Side]:
    """Both sides with only the probes that both of them planned."""
    common = _probes(before) & _probes(after)
    return _only(before, common), _only(after, common)


def _probes(side: Side) -> set[str]:
    return {verdict.probe for result in side.results.values() for verdict in result.verdicts}


def _only(side: Side, probes: set[str]) -> Side:
    def kept(results: Mapping[str, RuleResult]) -> Mapping[str, RuleResult]:
        pairs = ((name, [v for v in r.verdicts if v.probe in probes], r.rule) for name, r in results.items())
        return {name: RuleResult(rule, tuple(verdicts)) for name, verdicts, rule in pairs if verdicts}

    return replace(side, results=kept(side.results), repeats=tuple(map(kept, side.repeats)))


def narrowing(done: RunDone) -> tuple[str, ...]:
    """The globs a run's user narrowed the probes with; empty for a whole run."""
    probes = done.record.options.get("probes", ())
    return tuple(map(str, probes)) if isinstance(probes, list | tuple) else ()


_PAGES = {4096: "4 KiB pages", 16384: "16 KiB pages", 65536: "64 KiB pages"}


def apart(before: Side, after: Side) -> tuple[str, str]:
    """The shortest names that tell two sides apart: versions, machines, kernels: ``("6.12.117", "7.3.4")``.

    Runs are named only where one and the same kernel was asked twice.
    """
    aspects: tuple[Callable[[Side], str], ...] = (
        lambda side: side.version or side.kernel,
        lambda side: side.arch,
        lambda side: _PAGES.get(side.page_size, "") if before.page_size and after.page_size else "",
        lambda side: side.profile,
    )
    told = [(old, new) for aspect in aspects if (old := aspect(before)) != (new := aspect(after))]
    builds: tuple[Callable[[Side], str], ...] = (
        lambda side: side.kernel,
        lambda side: side.release,
        lambda side: f"{side.kernel} of run {side.run}",
    )
    if not told:
        told = [(old, new) for build in builds if (old := build(before)) != (new := build(after))][:1]
    return " ".join(filter(None, (old for old, _ in told))), " ".join(filter(None, (new for _, new in told)))
