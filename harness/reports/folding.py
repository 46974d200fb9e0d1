"""A grid too wide for its page, folded: columns that look alike stand once, rows alike everywhere in one line. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.run_record import CellRecord
from harness.model.verdict import Status
from harness.reports.grid import Grid, GridRow


@dataclass(frozen=True)
class Agreeing:
    """Cells that look like ``first`` in every row."""

    first: CellRecord
    others: tuple[CellRecord, ...]


@dataclass(frozen=True)
class Everywhere:
    """Rules that have one status in every column. ``families`` are theirs, in the catalogue's order."""

    status: Status
    rules: int
    families: tuple[str, ...]


@dataclass(frozen=True)
class Folded:
    """What is left of a grid, and what was put together: both in the order of the grid."""

    grid: Grid
    agreeing: tuple[Agreeing, ...]
    everywhere: tuple[Everywhere, ...]


def folded(whole: Grid) -> Folded:
    """Fold a grid. Nothing is lost: a cell stands in a column or agrees with one, a rule in a row or everywhere."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for column in range(len(whole.cells)):
        look = (whole.cells[column].clean, *(_look(row, column) for row in whole.rows))
        groups.setdefault(look, []).append(column)
    kept = [columns[0] for columns in groups.values()]
    rows = [row for row in whole.rows if not _uniform(row)]
    told: dict[Status, list[GridRow]] = {}
    for row in whole.rows:
        if _uniform(row):
            told.setdefault(next(r.status for r in row.results if r), []).append(row)
    grid = Grid(tuple(whole.cells[i] for i in kept), tuple(_only(row, kept) for row in rows), whole.flats)
    cells = whole.cells
    agreeing = tuple(
        Agreeing(cells[first], tuple(cells[i] for i in others)) for first, *others in groups.values() if others
    )
    return Folded(grid, agreeing, tuple(_everywhere(status, found) for status, found in told.items()))


def _look(row: GridRow, column: int) -> tuple[object, ...]:
    result = row.results[column]
    return (result.status, result.kind, row.variants[column] if row.variants else "") if result else ()


def _uniform(row: GridRow) -> bool:
    return row.quiet and None not in row.statuses and len(set(row.statuses)) == 1


def _only(row: GridRow, columns: Sequence[int]) -> GridRow:
    variants = tuple(row.variants[i] for i in columns) if row.variants else ()
    return GridRow(row.rules, tuple(row.results[i] for i in columns), variants)


def _everywhere(status: Status, rows: Sequence[GridRow]) -> Everywhere:
    families = tuple(dict.fromkeys(rule.family for row in rows for rule in row.rules))
    return Everywhere(status, sum(len(row.rules) for row in rows), families)
