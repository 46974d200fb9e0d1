"""The matrix as data: which cells become columns, which rules become rows, and what is said in one line instead."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from harness.model.architectures import ARCHES
from harness.model.rule import Check
from harness.model.run_record import CellRecord
from harness.model.verdict import RuleResult, Status
from harness.runs.model import RunDone

# A row of these only is no news, and is shown together with its family's other rows that look the same.
QUIET: frozenset[Status] = frozenset({"pass", "observed", "skip"})


@dataclass(frozen=True)
class GridRow:
    """One line of the grid: a rule, or several of one family that look the same. ``results`` is one a column.

    ``variants`` has a letter a column where cells were observed to behave differently, and is empty otherwise.
    """

    rules: tuple[Check, ...]
    results: tuple[RuleResult | None, ...]
    variants: tuple[str, ...] = ()

    @property
    def badness(self) -> tuple[int, int]:
        """Sorts rows worst first."""
        return min(r.worst.badness for r in self.results if r is not None)

    @property
    def statuses(self) -> tuple[Status | None, ...]:
        """What the row looks like."""
        return tuple(r.status if r else None for r in self.results)


@dataclass(frozen=True)
class Flat:
    """A cell with one thing to say: ``rules`` of ``total`` rules have this status for this reason.

    ``others`` are the rest, as (status, reason, rules).
    """

    cell: CellRecord
    status: Status
    reason: str
    rules: int
    total: int
    others: tuple[tuple[Status, str, tuple[str, ...]], ...] = ()


@dataclass(frozen=True)
class Grid:
    """What the terminal's matrix shows. ``cells`` are its columns."""

    cells: tuple[CellRecord, ...]
    rows: tuple[GridRow, ...]
    flats: tuple[Flat, ...]


def grid(done: RunDone, every: bool = False) -> Grid:
    """Lay a run out. ``every``: give each rule a line of its own."""
    cells = sorted(done.record.cells, key=lambda cell: _arch_order(cell.arch))
    flats = {cell.id: flat for cell in cells if (flat := flatten(cell, done.results.get(cell.id, ())))}
    columns = tuple(cell for cell in cells if cell.id not in flats and done.results.get(cell.id))
    rows = _rows([done.results[cell.id] for cell in columns])
    return Grid(columns, tuple(rows if every else _folded(rows, columns)), tuple(flats.values()))


def _arch_order(arch: str) -> int:
    return ARCHES.index(arch) if arch in ARCHES else len(ARCHES)


def flatten(cell: CellRecord, results: Sequence[RuleResult]) -> Flat | None:
    """Tell a whole cell in one line, when most of it is one skip or one miss and the rest is no news either."""
    if not results or any(r.status not in ("pass", "skip", "miss") for r in results):
        return None
    groups: dict[tuple[Status, str], list[str]] = {}
    for result in results:
        reason = "" if result.status == "pass" else result.worst.reason
        groups.setdefault((result.status, reason), []).append(result.rule.id)
    (main, rules), *others = sorted(groups.items(), key=lambda group: -len(group[1]))
    if main[0] == "pass" or 2 * len(rules) <= len(results):
        return None
    return Flat(cell, *main, len(rules), len(results), tuple((*key, tuple(ids)) for key, ids in others))


def grouped_flats(flats: Sequence[Flat]) -> list[list[Flat]]:
    """Flat cells that say the same, put together."""
    groups: dict[tuple[object, ...], list[Flat]] = {}
    for flat in flats:
        groups.setdefault((flat.status, flat.reason, flat.rules, flat.total, flat.others), []).append(flat)
    return list(groups.values())


def _rows(columns: Sequence[Sequence[RuleResult]]) -> list[GridRow]:
    """One row a rule, worst first, the catalogue's order among equals."""
    rules: dict[str, Check] = {r.rule.id: r.rule for column in columns for r in column}
    found: list[Mapping[str, RuleResult]] = [{r.rule.id: r for r in column} for column in columns]
    rows = [_row(rule, tuple(column.get(name) for column in found)) for name, rule in rules.items()]
    return sorted(rows, key=lambda row: row.badness)


def _row(rule: Check, results: tuple[RuleResult | None, ...]) -> GridRow:
    return GridRow((rule,), results, variants(results))


def behaviour(result: RuleResult) -> tuple[tuple[str, str], ...]:
    """What a cell was observed to do for a rule: equal behaviour compares equal."""
    return tuple((v.probe, v.observed) for v in result.verdicts if v.status == "observed")


def differing(results: Sequence[RuleResult | None]) -> Mapping[str, Sequence[str]]:
    """Probes that some of the cells were observed to answer differently, with the distinct answers.

    A probe that a cell did not observe (a region its machine lacks) is no difference.
    """
    answers: dict[str, dict[str, None]] = {}
    for result in results:
        for probe, observed in behaviour(result) if result else ():
            answers.setdefault(probe, {})[observed] = None
    return {probe: tuple(distinct) for probe, distinct in answers.items() if len(distinct) > 1}


def variants(results: Sequence[RuleResult | None]) -> tuple[str, ...]:
    """A letter for each distinct observed behaviour; empty when no probe was answered differently."""
    probes = differing(results)
    if not probes:
        return ()
    letters: dict[tuple[str, ...], str] = {}
    row = []
    for result in results:
        seen = dict(behaviour(result)) if result else {}
        key = tuple(seen.get(probe, "") for probe in probes)
        row.append(letters.setdefault(key, _letter(len(letters))) if seen else "")
    return tuple(row)


def _letter(number: int) -> str:
    return chr(ord("A") + number) if number < 26 else f"Z{number}"


def _folded(rows: Sequence[GridRow], cells: Sequence[CellRecord]) -> list[GridRow]:
    """Put rows of one family that look the same into one, where none is news."""
    groups: dict[object, list[GridRow]] = {}
    for row in rows:
        key = (row.rules[0].family, row.statuses) if _is_no_news(row, cells) else row.rules[0].id
        groups.setdefault(key, []).append(row)
    return [GridRow(tuple(r.rules[0] for r in group), group[0].results, group[0].variants) for group in groups.values()]


def _is_no_news(row: GridRow, cells: Sequence[CellRecord]) -> bool:
    """What never ran because its cell was lost or interrupted is no news of the rule: it is told of the cell."""
    told = (not cell.whole and status == "miss" for cell, status in zip(cells, row.statuses, strict=True))
    return not row.variants and all(s is None or s in QUIET or lost for s, lost in zip(row.statuses, told, strict=True))


def skipped_rules(grid: Grid, done: RunDone) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Why rules of the grid were skipped: reason → rule → the cells."""
    found: dict[str, dict[str, list[str]]] = {}
    for cell in grid.cells:
        for result in done.results[cell.id]:
            if result.status == "skip":
                found.setdefault(result.worst.reason, {}).setdefault(result.rule.id, []).append(cell.id)
    return {reason: {rule: tuple(cells) for rule, cells in rules.items()} for reason, rules in found.items()}
