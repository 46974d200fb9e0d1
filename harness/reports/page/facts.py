"""What the page's drawer shows, as plain data in which everything that repeats is said once.

docs/reference/page.md describes the two objects. Numbers are indices into the lists beside them; -1 stands for nothing.
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from harness.model.codec import RULE, rule_json
from harness.model.json_text import parse_json
from harness.model.rule import Check, Known
from harness.model.verdict import RuleResult, Status, Verdict
from harness.reports.grid import flatten
from harness.reports.page.columns import Column
from harness.reports.page.console import excerpts
from harness.reports.page.seen import Sightings
from harness.runs.model import RunDone

FORMAT = 1
Thing = TypeVar("Thing", bound=Hashable)


class Table(Generic[Thing]):
    """Distinct things, numbered as they come."""

    def __init__(self) -> None:
        self._numbers: dict[Thing, int] = {}

    def number(self, thing: Thing) -> int:
        """The thing's number, a new one when it is new."""
        return self._numbers.setdefault(thing, len(self._numbers))

    def numbers(self, things: Iterable[Thing]) -> tuple[int, ...]:
        """The numbers of several things."""
        numbers = self._numbers
        return tuple([numbers.setdefault(thing, len(numbers)) for thing in things])

    def things(self) -> list[Thing]:
        """All of them, in order."""
        return list(self._numbers)


@dataclass(frozen=True)
class PageGrid:
    """The page's rows and columns. ``results`` has one entry a rule and column; ``flat`` says of each column whether
    its cell has one thing to say throughout, as a kernel without mseal has."""

    columns: tuple[Column, ...]
    rules: tuple[Check, ...]
    results: tuple[tuple[RuleResult | None, ...], ...]
    flat: tuple[bool, ...]


def lay_out(done: RunDone, columns: Sequence[Column]) -> PageGrid:
    """Rules by family, in the catalogue's order; what failed or broke stands first, family and rule."""
    found = [{r.rule.id: r for r in done.results.get(column.cell.id, ())} for column in columns]
    rules: dict[str, Check] = {name: r.rule for results in found for name, r in results.items()}
    trouble = {name: min(_trouble(cell.get(name)) for cell in found) for name in rules}
    families: dict[str, int] = {}
    for rule in rules.values():
        families[rule.family] = min(families.get(rule.family, _WELL), trouble[rule.id])
    places = {family: place for place, family in enumerate(sorted(families, key=lambda name: families[name]))}
    ordered = sorted(rules.values(), key=lambda rule: (places[rule.family], trouble[rule.id]))
    results = tuple(tuple(cell.get(rule.id) for cell in found) for rule in ordered)
    flat = tuple(flatten(column.cell, done.results.get(column.cell.id, ())) is not None for column in columns)
    return PageGrid(tuple(columns), tuple(ordered), results, flat)


_TROUBLE: tuple[Status, ...] = ("fail", "error")
_WELL = len(_TROUBLE)


def _trouble(result: RuleResult | None) -> int:
    return _TROUBLE.index(result.status) if result and result.status in _TROUBLE else _WELL


def outline(grid: PageGrid, done: RunDone) -> dict[str, Any]:
    """The small object: rules, kernels, and each cell's worst verdict. Every browser can read it."""
    worst: Table[tuple[str, str, str, str, str]] = Table()
    counts: Table[str] = Table()
    return {
        "format": FORMAT,
        "run": done.record.id,
        "rules": [rule_facts(rule) for rule in grid.rules],
        "kernels": [kernel_facts(column) for column in grid.columns],
        "worst": [[_worst(worst, counts, result) for result in row] for row in grid.results],
        "verdicts": worst.things(),
        "counts": counts.things(),
    }


def _worst(
    worst: Table[tuple[str, str, str, str, str]], counts: Table[str], result: RuleResult | None
) -> list[int] | None:
    if result is None:
        return None
    first = result.worst
    told = ", ".join(f"{number} {status}" for status, number in result.counts.items())
    return [
        worst.number((first.status, first.kind or "", first.reason, first.probe, result.follows or "")),
        counts.number(told),
    ]


def rule_facts(rule: Check) -> dict[str, Any]:
    """A rule as its drawer tells it."""
    return {
        **rule_json(rule, ("id", *RULE)),
        "thread": rule.thread or "",
        "sources": list(rule.sources),
        "known": [_known(known) for known in rule.known],
    }


def _known(known: Known) -> str:
    where = known.where
    text = [".".join(map(str, version)) if version else "…" for version in (where.since, where.until)]
    on = [*where.arches, *(f"{size // 1024}k pages" for size in where.page_sizes)]
    return f"{text[0]} to before {text[1]}{' on ' if on else ''}{', '.join(on)}: {known.reason} [{known.source}]"


def kernel_facts(column: Column) -> dict[str, Any]:
    """A cell as its drawer and the table of kernels tell it."""
    cell = column.cell
    machine = cell.machine
    return {
        "cell": cell.id,
        "name": column.name,
        "version": column.version,
        "release": column.release,
        "arch": cell.arch,
        "variety": " ".join(filter(None, (column.variety, column.which))),
        "page": machine.page_size if machine else 0,
        "state": cell.state,
        "reason": cell.reason,
        "repeat": column.repeat,
    }


def evidence(grid: PageGrid, done: RunDone, sightings: Sightings) -> dict[str, Any]:
    """The large object: every verdict and observation. The page carries it compressed."""
    spoken: Table[tuple[str, ...]] = Table()
    answers: Table[tuple[int, ...]] = Table()
    verdicts: Table[tuple[str, str, str, str, str]] = Table()
    judged = [
        [
            r and [spoken.number(tuple([v.probe for v in r.verdicts])),
                   answers.number(verdicts.numbers([_verdict(v) for v in r.verdicts]))]
            for r in row
        ]
        for row in grid.results
    ]  # fmt: skip
    probes: Table[str] = Table()
    lists = [probes.numbers(names) for names in spoken.things()]
    halves: Table[str] = Table()
    observations = [
        [o["layout"], o["unit"], *(halves.number(json.dumps(o[half])) for half in ("control", "sealed"))]
        for o in sightings.distinct
    ]
    names = probes.things()
    return {
        "probes": names,
        "lists": lists,
        "answers": answers.things(),
        "verdicts": verdicts.things(),
        "judged": judged,
        "halves": [parse_json(half) for half in halves.things()],
        "observations": observations,
        "seen": sightings.of([column.cell.id for column in grid.columns], names),
        "console": [excerpts(done, column.cell, done.results.get(column.cell.id, ())) for column in grid.columns],
    }


def _verdict(verdict: Verdict) -> tuple[str, str, str, str, str]:
    return verdict.status, verdict.kind or "", verdict.reason, verdict.observed, verdict.follows or ""
