"""What a scenario found on each kernel, side by side: first what differs, then what is the same everywhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.model.verdict import RuleResult, Verdict
from harness.observations.collector import Journalled
from harness.observations.journal import stored_journal
from harness.observations.model import Fact, Value, named
from harness.reports.style import MARKS, Ink, Page, print_table
from harness.reports.terminal import last_line
from harness.runs.cells import cell_folder, kernel_name, plural, release, status_counts, together
from harness.runs.model import JOURNAL, RunDone
from harness.verdicts.scenario import Scenario, said

SCHEMA = 1
_ABSENT = "…"
_PRINTED = 20  # lines of each group of cells


@dataclass(frozen=True)
class _Group:
    """Cells that said the same of everything: one column."""

    cells: tuple[str, ...]
    results: tuple[RuleResult, ...]
    journalled: Journalled | None

    @property
    def facts(self) -> Mapping[str, Fact]:
        return named(self.journalled.facts) if self.journalled else {}

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """By what the rule states: the name of the expectation."""
        return {result.rule.statement: result.worst for result in self.results}


def print_scenario(console: Console, done: RunDone, scenario: Scenario) -> None:
    """Print a scenario's run."""
    page = Page(console)
    groups = _groups(done)
    page.line(f"run {done.record.id}: scenario {scenario.name}, {plural(len(done.record.cells), 'cell')}", style="bold")
    names = list(dict.fromkeys(name for group in groups for name in _names(group)))
    differing = [name for name in names if len({_shown(page.ink, group, name).plain for group in groups}) > 1]
    alike = [name for name in names if name not in differing and name != _whole(groups[0])]
    if differing:
        page.head("Differs")
        print_table(console, _table(page.ink, done, groups, differing))
    if alike:
        page.head("The same on every kernel" if len(done.record.cells) > 1 else "Found")
        print_table(console, _table(page.ink, done, groups[:1], alike, heads=False))
    _print_problems(page, done, groups)
    _print_lines(page, done, groups)
    page.blank()
    page.line(last_line(page.ink, done))
    console.print(Text(page.ink.safe(str(done.folder))), soft_wrap=True)


def _whole(group: _Group) -> str:
    """What the rule says that the scenario itself is: no news where it holds everywhere."""
    return group.results[0].rule.statement


def _groups(done: RunDone) -> list[_Group]:
    """The cells of a run by what they said, in the run's order."""
    found: dict[object, list[str]] = {}
    for cell in done.record.cells:
        journalled = journal_of(done, cell.id)
        facts = journalled.facts if journalled else ()
        verdicts = tuple((r.rule.id, r.status, r.worst.reason) for r in done.results[cell.id])
        found.setdefault((facts, verdicts), []).append(cell.id)
    return [_Group(tuple(cells), done.results[cells[0]], journal_of(done, cells[0])) for cells in found.values()]


def journal_of(done: RunDone, cell: str) -> Journalled | None:
    """What a cell's guest said; None when it never came to that."""
    return stored_journal(cell_folder(done, cell) / JOURNAL)


def _names(group: _Group) -> list[str]:
    """Facts in the order they were said; behind them the expectations that were not."""
    whole = _whole(group)
    return [whole, *group.facts, *(name for name in group.verdicts if name not in (*group.facts, whole))]


def _shown(ink: Ink, group: _Group, name: str) -> Text:
    fact, verdict = group.facts.get(name), group.verdicts.get(name)
    if verdict is None:
        return Text(ink.safe(said(fact.value) if fact else _ABSENT), style="" if fact else "dim")
    words = said(fact.value) if fact else verdict.reason
    return Text(ink.safe(f"{ink.glyph(verdict.status)} {words}".rstrip()), style=MARKS[verdict.status].style)


def _table(ink: Ink, done: RunDone, groups: Sequence[_Group], names: Sequence[str], *, heads: bool = True) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="bold", show_header=heads)
    table.add_column("fact", overflow="fold")
    for group in groups:
        table.add_column(Text(ink.safe(together(done.record, group.cells))), overflow="fold")
    for name in names:
        table.add_row(Text(ink.safe(name)), *(_shown(ink, group, name) for group in groups))
    return table


def _print_problems(page: Page, done: RunDone, groups: Sequence[_Group]) -> None:
    """Everything that is neither kept nor merely found, with its reason and its cells."""
    told: dict[tuple[str, str, str], list[str]] = {}
    for group in groups:
        for name, verdict in group.verdicts.items():
            if verdict.status not in ("pass", "observed"):
                told.setdefault((verdict.status, name, verdict.reason), []).extend(group.cells)
    if told:
        page.head("Not as expected, or not asked")
    for (status, name, reason), cells in told.items():
        glyph = page.ink.glyph(status)  # type: ignore[arg-type]
        page.line(f"{glyph} {status}: {name}: {reason} [{together(done.record, cells)}]", 2)


def _print_lines(page: Page, done: RunDone, groups: Sequence[_Group]) -> None:
    talking = [group for group in groups if group.journalled and group.journalled.printed]
    if talking:
        page.head("Printed")
    for group in talking:
        page.line(together(done.record, group.cells), 2, "dim")
        lines = group.journalled.printed if group.journalled else ()
        for line in lines[:_PRINTED]:
            page.line(line, 4)
        if len(lines) > _PRINTED:
            page.line(f"{len(lines) - _PRINTED} more lines in the cell's {JOURNAL}", 4, "dim")


def scenario_json(done: RunDone, scenario: Scenario) -> dict[str, Any]:
    """A scenario's run as plain data."""
    return {
        "schema_version": SCHEMA,
        "run": done.record.id,
        "state": done.record.state,
        "scenario": scenario.name,
        "payload_id": done.record.payload_id,
        "exit_code": done.exit_code,
        "counts": dict(status_counts(done)),
        "cells": [_cell_json(done, cell.id) for cell in done.record.cells],
    }


def _cell_json(done: RunDone, name: str) -> dict[str, Any]:
    cell = next(cell for cell in done.record.cells if cell.id == name)
    journalled = journal_of(done, name)
    facts = journalled.facts if journalled else ()
    outcome = journalled.outcome if journalled else None
    return {
        "cell": name,
        "kernel": kernel_name(cell),
        "release": release(cell),
        "arch": cell.arch,
        "state": cell.state,
        "reason": cell.reason,
        "ended": {"how": outcome.ended, "text": outcome.text, "line": outcome.line} if outcome else None,
        "facts": {name: _value(fact.value) for name, fact in named(facts).items()},
        "expectations": [
            {"name": r.rule.statement, "rule": r.rule.id, "status": r.status, "reason": r.worst.reason}
            for r in done.results[name]
        ],
        "printed": list(journalled.printed) if journalled else [],
    }


def _value(value: Value) -> object:
    return list(value) if isinstance(value, tuple) else value
