"""What system calls cost tonight beside the night before: growth is something that broke, like any other. Pure, but for
reading earlier nights."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.cost.model import CostChange, CostTable, changes, uncompared, without_number
from harness.errors import UsageError
from harness.history.regressions import Regression
from harness.kernels.model import Kernel
from harness.model.run_record import CellRecord, KernelRecord, RunRecord, read_run
from harness.nightly.broken import COST, Broken
from harness.nightly.marks import GrownCost, ended_nights, read_mark
from harness.runs.cells import plural, together
from harness.runs.model import Cell
from harness.runs.repeats import repeat_of

CountedKernels = Mapping[tuple[str, str], CostTable]
"""By the sha256 of a kernel's image and the architecture."""


def unmeasured(
    cells: tuple[Cell, ...], known: CountedKernels, rows: Collection[str]
) -> dict[tuple[str, str], tuple[str, Kernel]]:
    """The kernels of a night that have no number for one of ``rows``, each once: the first of its cells, and it."""
    found: dict[tuple[str, str], tuple[str, Kernel]] = {}
    for cell in cells:
        if isinstance(cell.kernel, Kernel) and not cell.before_mseal:
            key = cell.kernel.sha256, cell.arch
            if key not in known or without_number(known[key], rows):
                found.setdefault(key, (cell.id, cell.kernel))
    return found


@dataclass(frozen=True)
class EarlierKernel:
    """The kernel that a cell had in an earlier night."""

    run: str
    kernel: KernelRecord


def earlier_nights(results: Path, selection: str, but: str) -> Iterator[RunRecord]:
    """The nights of a selection before ``but`` that came to their end, newest first; none that cannot be read."""
    for folder in ended_nights(results, selection, but):
        try:
            record = read_run(folder)
        except UsageError:
            continue
        yield record


def earlier_kernels(
    nights: Iterable[RunRecord], kernels: Mapping[str, tuple[str, str]], costs: CountedKernels
) -> dict[str, EarlierKernel]:
    """For each cell, given with the digest and the architecture of its kernel: the newest one that it had before, is
    another, and was counted. ``nights`` are newest first; no more of them are read than are needed."""
    left = dict(kernels)
    found: dict[str, EarlierKernel] = {}
    nights = iter(nights)
    while left and (record := next(nights, None)) is not None:
        for name, cell in _firsts(record).items():
            kernel = cell.kernel
            if name in left and kernel and kernel.sha256 != left[name][0] and (kernel.sha256, cell.arch) in costs:
                found[name] = EarlierKernel(record.id, kernel)
                del left[name]
    return found


@dataclass(frozen=True)
class CostsSince:
    """What became of the costs: what grew and was not told yet, all growth that was told of tonight's kernels, and
    where a number is missing, so that nothing is known."""

    broken: tuple[Broken, ...] = ()
    grown: tuple[GrownCost, ...] = ()
    missing: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class CostQuestion:
    """What costs are asked: those that were counted, and the per cent by which one has to grow.

    ``told`` is the growth that earlier nights told of. ``counted_since`` says that something was counted since the
    last night; else only kernels that became others are looked at.
    """

    costs: CountedKernels
    by: float
    told: Sequence[GrownCost] = ()
    counted_since: bool = False


def costs_since(
    record: RunRecord, before: RunRecord | None, earlier: Iterable[RunRecord], asked: CostQuestion
) -> CostsSince:
    """What grew by so many per cent or more from the kernels of ``earlier`` nights to tonight's: one finding for each
    kernel that became another. A count repeats to a tenth of a per cent, so one guest is enough to confirm it. A kernel
    that is counted a night late is compared then: each growth is told once, as soon as both its numbers are there."""
    cells = {name: cell for name, cell in _firsts(record).items() if cell.kernel}
    here = {name: (cell.kernel.sha256, cell.arch) for name, cell in cells.items() if cell.kernel}
    told = [one for one in asked.told if (one.here, one.arch) in set(here.values())]
    looked_at = {name: key for name, key in here.items() if key in asked.costs and _is_due(name, key, before, asked)}
    groups: dict[tuple[str, str, str], list[str]] = {}
    olds = earlier_kernels(earlier, looked_at, asked.costs)
    for name, old in olds.items():
        groups.setdefault((old.kernel.sha256, *here[name]), []).append(name)
    known = {(one.here, one.arch, one.rule) for one in told}
    broken, missing = [], []
    for (there, sha256, arch), names in groups.items():
        tables = asked.costs[sha256, arch], asked.costs[there, arch]
        grown = [one for one in _grown(*tables, asked.by) if (sha256, arch, _rule(one)) not in known]
        if grown:
            broken.append(_broken(record, [cells[name] for name in names], grown, olds[names[0]].kernel))
            told += [
                GrownCost(rule=rule, arch=arch, here=sha256, there=there, run=olds[names[0]].run, cells=tuple(names))
                for rule in broken[-1].rules
            ]
        if lacking := uncompared(*tables):
            row, why = next(iter(lacking.items()))
            whose = together(record, tuple(names))
            version = olds[names[0]].kernel.version or olds[names[0]].kernel.release
            missing.append(
                f"{whose} and {version}: {plural(len(lacking), 'cost')} cannot be compared, the first is {row}: {why}"
            )
    return CostsSince(tuple(broken), tuple(told), tuple(missing))


def _is_due(name: str, key: tuple[str, str], before: RunRecord | None, asked: CostQuestion) -> bool:
    """Whether a cell's costs may show something that the last night did not."""
    old = _firsts(before).get(name) if before else None
    same = old is not None and old.kernel is not None and old.kernel.sha256 == key[0]
    return before is not None and (asked.counted_since or not same)


def _firsts(record: RunRecord) -> dict[str, CellRecord]:
    return {cell.id: cell for cell in record.cells if repeat_of(cell.id) == 1}


def _grown(here: CostTable, there: CostTable, by: float) -> list[CostChange]:
    return [change for change in changes(here, there) if change.percent >= by]


def _rule(change: CostChange) -> str:
    return f"cost.{change.here.operation}"


def _broken(record: RunRecord, cells: list[CellRecord], grown: list[CostChange], old: KernelRecord) -> Broken:
    first = grown[0]
    names = tuple(cell.id for cell in cells)
    more = f", and {len(grown) - 1} other costs grew" if len(grown) > 1 else ""
    now, was = (f"{cost.settled:,.0f}" for cost in (first.here, first.there))
    rules = tuple(dict.fromkeys(map(_rule, grown)))
    assert cells[0].kernel is not None
    return Broken(
        kind=COST,
        headline=f"{first.here.operation} costs more",
        sentence=f"{first.row} takes {first.percent:.1f} % more instructions ({was} → {now}){more}",
        where=together(record, names),
        cells=names,
        rules=rules,
        rule=rules[0],
        probe=first.row,
        good=old.version or old.release,
        bad=cells[0].kernel.version or cells[0].kernel.release,
        confirmed=True,
        unsteady=False,
    )


@dataclass(frozen=True)
class StillCosts:
    """Whether a cell's kernel still costs more than the one before a regression; None where that is not known, and
    why."""

    shows: bool | None
    why: str = ""


def still_costs(results: Path, one: Regression, cell: CellRecord, costs: CountedKernels, by: float) -> StillCosts:
    """Whether a regression of costs lasts. It has ended where every cost that it is about has a number, and none is
    above what it was by ``by`` per cent or more: a cost without a number may be as high as before."""
    there = _before_it(results, one, cell)
    if there is None:
        return StillCosts(None, f"the night before {one.opened_run} cannot be read, or had no such cell")
    if cell.kernel is None:
        return StillCosts(None, f"no kernel could be had for {cell.id}")
    tables = costs.get((cell.kernel.sha256, cell.arch)), costs.get((there, cell.arch))
    if tables[0] is None:
        return StillCosts(None, f"nothing was counted on {cell.kernel.version or cell.kernel.release}")
    if tables[1] is None:
        return StillCosts(None, f"what was counted on {one.good} is gone")
    if any(_rule(change) in one.rules for change in _grown(tables[0], tables[1], by)):
        return StillCosts(True)
    about = {row for row, cost in tables[1].costs.items() if f"cost.{cost.operation}" in one.rules and not cost.without}
    lacking = without_number(tables[0], sorted(about)) | without_number(tables[1], [one.probe])
    if lacking:
        row, why = next(iter(lacking.items()))
        return StillCosts(None, f"{row} has no number: {why}")
    return StillCosts(False)


def _before_it(results: Path, one: Regression, cell: CellRecord) -> str | None:
    """The digest of the kernel that a cell had before a regression: the one it was compared with when that was opened,
    else the one of the night before."""
    try:
        mark = read_mark(results / one.opened_run)
        if (grown := grown_in(mark.grown, one, cell.id)) is not None:
            return grown.there
        old = _firsts(read_run(results / mark.before)).get(cell.id) if mark.before else None
    except UsageError:
        return None
    return old.kernel.sha256 if old and old.kernel else None


def grown_in(told: Iterable[GrownCost], one: Regression, cell: str) -> GrownCost | None:
    """What a night told of a cell's costs that a regression is about."""
    return next((grown for grown in told if cell in grown.cells and grown.rule in one.rules), None)
