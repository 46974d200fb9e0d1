"""What system calls cost tonight beside the night before: growth is something that broke, like any other. Pure, but for
reading earlier nights."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.cost.model import CostChange, CostTable, changes
from harness.errors import UsageError
from harness.history.regressions import Regression
from harness.kernels.model import Kernel
from harness.model.run_record import CellRecord, RunRecord, read_run
from harness.nightly.broken import COST, Broken
from harness.nightly.marks import read_mark
from harness.runs.cells import together
from harness.runs.model import Cell
from harness.runs.repeats import repeat_of
from harness.runs.run_store import nightly_folders

CountedKernels = Mapping[tuple[str, str], CostTable]
"""By the sha256 of a kernel's image and the architecture."""


def unmeasured(cells: tuple[Cell, ...], known: CountedKernels) -> dict[tuple[str, str], Kernel]:
    """The kernels of a night whose costs nobody has counted, each once."""
    found: dict[tuple[str, str], Kernel] = {}
    for cell in cells:
        if isinstance(cell.kernel, Kernel) and not cell.before_mseal and (cell.kernel.sha256, cell.arch) not in known:
            found.setdefault((cell.kernel.sha256, cell.arch), cell.kernel)
    return found


def costs_before(results: Path, but: str, known: CountedKernels) -> dict[tuple[str, str], CostTable]:
    """What the kernels of the last night cost that is not ``but``, by (name in the matrix, architecture)."""
    last = next((folder for folder in reversed(nightly_folders(results)) if folder.name < but), None)
    found = {}
    for cell in read_run(last).cells if last else ():
        if cell.kernel and (table := known.get((cell.kernel.sha256, cell.arch))):
            found[cell.kernel.name, cell.arch] = table
    return found


def costs_since(record: RunRecord, before: RunRecord | None, costs: CountedKernels, by: float) -> tuple[Broken, ...]:
    """What grew by ``by`` per cent or more from the last night's kernels to tonight's: one finding for each kernel that
    became another. A count repeats to a tenth of a per cent, so one guest is enough to confirm it."""
    olds = _firsts(before) if before else {}
    groups: dict[tuple[str, str, str], list[CellRecord]] = {}
    for name, cell in _firsts(record).items():
        old = olds.get(name)
        if old and old.kernel and cell.kernel and old.kernel.sha256 != cell.kernel.sha256:
            groups.setdefault((old.kernel.sha256, cell.kernel.sha256, cell.arch), []).append(cell)
    found = []
    for (there, here, arch), cells in groups.items():
        if grown := _grown(costs.get((here, arch)), costs.get((there, arch)), by):
            found.append(_broken(record, cells, grown, olds[cells[0].id]))
    return tuple(found)


def _firsts(record: RunRecord) -> dict[str, CellRecord]:
    return {cell.id: cell for cell in record.cells if repeat_of(cell.id) == 1}


def _grown(here: CostTable | None, there: CostTable | None, by: float) -> list[CostChange]:
    if here is None or there is None:
        return []
    return [change for change in changes(here, there) if change.percent >= by]


def _broken(record: RunRecord, cells: list[CellRecord], grown: list[CostChange], old: CellRecord) -> Broken:
    first = grown[0]
    names = tuple(cell.id for cell in cells)
    more = f", and {len(grown) - 1} other costs grew" if len(grown) > 1 else ""
    now, was = (f"{cost.settled:,.0f}" for cost in (first.here, first.there))
    rules = tuple(dict.fromkeys(f"cost.{change.here.operation}" for change in grown))
    assert cells[0].kernel is not None
    assert old.kernel is not None
    return Broken(
        kind=COST,
        headline=f"{first.here.operation} costs more",
        sentence=f"{first.row} takes {first.percent:.1f} % more instructions ({was} → {now}){more}",
        where=together(record, names),
        cells=names,
        rules=rules,
        rule=rules[0],
        probe=first.row,
        good=old.kernel.version or old.kernel.release,
        bad=cells[0].kernel.version or cells[0].kernel.release,
        confirmed=True,
        unsteady=False,
    )


def still_costs(results: Path, one: Regression, cell: CellRecord, costs: CountedKernels, by: float) -> bool | None:
    """Whether a cell's kernel still costs more than the one before the regression; None where that is not known."""
    try:
        before = read_run(results / read_mark(results / one.opened_run).before)
    except UsageError:
        return None
    old = _firsts(before).get(cell.id)
    if old is None or old.kernel is None or cell.kernel is None:
        return None
    here, there = (costs.get((kernel.sha256, cell.arch)) for kernel in (cell.kernel, old.kernel))
    if here is None or there is None:
        return None
    return any(f"cost.{change.here.operation}" in one.rules for change in _grown(here, there, by))
