"""What went wrong, grouped so that one cause is told once, with the cells it was seen on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from harness.model.rule import Check
from harness.model.verdict import Follows, RuleResult, Status, Verdict
from harness.reports.grid import behaviour
from harness.runs.model import RunDone

_TOLD: frozenset[Status] = frozenset({"fail", "error", "known", "fixed"})


@dataclass(frozen=True)
class Finding:
    """One rule going wrong in one way. ``first`` is the first cell's worst verdict, ``counts`` that cell's verdicts."""

    rule: Check
    first: Verdict
    counts: Mapping[Status, int]
    cells: tuple[str, ...]


@dataclass(frozen=True)
class RuleDifference:
    """An open or uncovered rule that cells were observed to answer differently, by its first differing probe."""

    rule: Check
    probe: str
    probes: int
    observed: tuple[tuple[str, tuple[str, ...]], ...]


def findings(done: RunDone) -> list[Finding]:
    """All that is neither as it should be nor merely missing, worst first, the catalogue's order among equals."""
    groups: dict[tuple[object, ...], list[tuple[str, RuleResult]]] = {}
    order = {r.rule.id: i for results in done.results.values() for i, r in enumerate(results)}
    for cell, result in _all(done):
        if result.status in _TOLD:
            worst = result.worst
            key = (result.rule.id, worst.status, worst.kind, worst.probe, worst.reason)
            groups.setdefault(key, []).append((cell, result))
    found = [
        Finding(group[0][1].rule, group[0][1].worst, group[0][1].counts, tuple(cell for cell, _ in group))
        for group in groups.values()
    ]
    return sorted(found, key=lambda f: (f.first.badness, order[f.rule.id]))


def missing(done: RunDone) -> Mapping[str, Mapping[str, int]]:
    """Where answers are missing: number of rules by cell and reason, in the run's order."""
    found: dict[str, dict[str, int]] = {}
    for cell, result in _all(done):
        if result.status == "miss":
            reasons = found.setdefault(cell, {})
            reasons[result.worst.reason] = reasons.get(result.worst.reason, 0) + 1
    return found


def readings(done: RunDone) -> Mapping[str, Mapping[Follows, tuple[str, ...]]]:
    """For the rules that are read in two ways: which reading is followed by which cells. By rule id."""
    found: dict[str, dict[Follows, tuple[str, ...]]] = {}
    for cell, result in _all(done):
        if result.follows is not None:
            cells = found.setdefault(result.rule.id, {})
            cells[result.follows] = (*cells.get(result.follows, ()), cell)
    return found


def differences(done: RunDone) -> list[RuleDifference]:
    """Open and uncovered rules whose observations differ between cells, in the catalogue's order."""
    rules: dict[str, tuple[Check, dict[str, dict[str, list[str]]]]] = {}
    for cell, result in _all(done):
        _, probes = rules.setdefault(result.rule.id, (result.rule, {}))
        for probe, observed in behaviour(result):
            probes.setdefault(probe, {}).setdefault(observed, []).append(cell)
    found = []
    for rule, probes in rules.values():
        differing = {probe: seen for probe, seen in probes.items() if len(seen) > 1}
        for probe, seen in list(differing.items())[:1]:
            answers = tuple((observed, tuple(cells)) for observed, cells in seen.items())
            found.append(RuleDifference(rule, probe, len(differing), answers))
    return found


def _all(done: RunDone) -> Iterator[tuple[str, RuleResult]]:
    """Every result with its cell, in the run's order of cells."""
    for cell in done.record.cells:
        for result in done.results.get(cell.id, ()):
            yield cell.id, result
