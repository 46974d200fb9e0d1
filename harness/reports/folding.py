"""A grid too wide for its page, folded: what is no news stands in a few lines, columns that look alike once. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.run_record import CellRecord
from harness.model.verdict import STATUSES, Status
from harness.reports.grid import QUIET, Grid, GridRow
from harness.runs.cells import label, plural


@dataclass(frozen=True)
class Agreeing:
    """Cells of the same state that look like ``first`` in every row."""

    first: CellRecord
    others: tuple[CellRecord, ...]

    @property
    def like(self) -> str:
        """The first, with its state unless that is clean."""
        return label(self.first) if self.first.clean else f"{label(self.first)}, {self.first.state}"


@dataclass(frozen=True)
class Everywhere:
    """Rules that have one status on each of ``cells``: those of the grid, not those that are told whole below it.
    ``families`` are the rules', in the catalogue's order."""

    status: Status
    rules: int
    families: tuple[str, ...]
    cells: int

    @property
    def says(self) -> str:
        """As a line of a report."""
        return (
            f"{self.status} on each of {self.cells} cells: {plural(self.rules, 'rule')} of {', '.join(self.families)}"
        )


@dataclass(frozen=True)
class Varying:
    """Rules that have several statuses, none of which is news: passed, observed or skipped, by the cell."""

    statuses: tuple[Status, ...]
    rules: int

    @property
    def status(self) -> Status:
        """The first of them."""
        return self.statuses[0]

    @property
    def says(self) -> str:
        """As a line of a report."""
        return f"{' or '.join(self.statuses)}, by the cell: {plural(self.rules, 'rule')}"


@dataclass(frozen=True)
class Folded:
    """What is left of a grid, and what was put together: both in the order of the grid."""

    grid: Grid
    agreeing: tuple[Agreeing, ...]
    everywhere: tuple[Everywhere, ...]
    varying: tuple[Varying, ...]

    @property
    def counted(self) -> tuple[Everywhere | Varying, ...]:
        """All that has no row."""
        return *self.everywhere, *self.varying


def folded(whole: Grid) -> Folded:
    """Fold a grid. Nothing is lost: a cell stands in a column or agrees with one, and a rule has a row or is counted.

    A rule has a row where some cell has news of it, or was not asked.
    """
    rows = [row for row in whole.rows if not _no_news(row)]
    groups: dict[tuple[object, ...], list[int]] = {}
    for column in range(len(whole.cells)):
        look = (whole.cells[column].state, *(_look(row, column) for row in rows))
        groups.setdefault(look, []).append(column)
    kept = [columns[0] for columns in groups.values()]
    told: dict[tuple[Status, ...], list[GridRow]] = {}
    for row in filter(_no_news, whole.rows):
        seen = {status for status in row.statuses if status}
        told.setdefault(tuple(status for status in STATUSES if status in seen), []).append(row)
    grid = Grid(tuple(whole.cells[i] for i in kept), tuple(_only(row, kept) for row in rows), whole.flats)
    cells = whole.cells
    agreeing = tuple(
        Agreeing(cells[first], tuple(cells[i] for i in others)) for first, *others in groups.values() if others
    )
    return Folded(
        grid,
        agreeing,
        everywhere=tuple(
            _everywhere(statuses[0], found, len(cells)) for statuses, found in told.items() if len(statuses) == 1
        ),
        varying=tuple(Varying(statuses, _rules(found)) for statuses, found in told.items() if len(statuses) > 1),
    )


def _look(row: GridRow, column: int) -> tuple[object, ...]:
    result = row.results[column]
    return (result.status, result.kind, row.variants[column] if row.variants else "") if result else ()


def _no_news(row: GridRow) -> bool:
    return all(status in QUIET for status in row.statuses)


def _only(row: GridRow, columns: Sequence[int]) -> GridRow:
    variants = tuple(row.variants[i] for i in columns) if row.variants else ()
    return GridRow(row.rules, tuple(row.results[i] for i in columns), variants)


def _everywhere(status: Status, rows: Sequence[GridRow], cells: int) -> Everywhere:
    families = tuple(dict.fromkeys(rule.family for row in rows for rule in row.rules))
    return Everywhere(status, _rules(rows), families, cells)


def _rules(rows: Sequence[GridRow]) -> int:
    return sum(len(row.rules) for row in rows)
