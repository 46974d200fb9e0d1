"""A rule along kernels in version order: where it changed, and the stretches in which it did not. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness.compare.diff import (
    Change,
    Pair,
    RuleChange,
    Side,
    by_probe,
    compare_rules,
    standing,
)
from harness.model.rule import Check
from harness.model.verdict import RuleResult, Verdict
from harness.model.version import version_order


@dataclass(frozen=True)
class Stretch:
    """Neighbouring kernels that behave the same for a rule. ``step`` is how it began; None for the first stretch."""

    first: Side
    last: Side
    kernels: int
    result: RuleResult | None
    step: RuleChange | None = None

    @property
    def change(self) -> Change | None:
        """How the stretch began."""
        return self.step.change if self.step else None


@dataclass(frozen=True)
class VersionSeries:
    """Kernels of one architecture, flavour and profile in version order, each compared with the one before it."""

    sides: tuple[Side, ...]
    steps: tuple[Pair, ...]

    @property
    def rules(self) -> Mapping[str, tuple[Check, tuple[Stretch, ...]]]:
        """Every rule with its stretches, oldest first."""
        names = dict.fromkeys(name for side in reversed(self.sides) for name in side.results)
        return {name: self._stretches(name) for name in names}

    def _stretches(self, name: str) -> tuple[Check, tuple[Stretch, ...]]:
        changes = [{change.rule.id: change for change in step.rules}.get(name) for step in self.steps]
        found = [Stretch(self.sides[0], self.sides[0], 1, self.sides[0].results.get(name))]
        for side, step in zip(self.sides[1:], changes, strict=True):
            last = found[-1]
            if step is None or step.change == "unchanged":
                found[-1] = Stretch(last.first, side, last.kernels + 1, last.result, last.step)
            else:
                found.append(Stretch(side, side, 1, side.results.get(name), step))
        rule = next(side.results[name].rule for side in self.sides if name in side.results)
        return rule, tuple(found)


def compare_series(sides: Sequence[Side]) -> VersionSeries:
    """Compare kernels of one kind with their predecessors. A gap without an answer is looked over, not past.

    Sides without a version cannot be placed: leave them out.
    """
    ordered = sorted(sides, key=lambda side: version_order(side.version))
    steps = []
    memory: dict[tuple[str, str], tuple[Verdict, Side]] = {}
    for before, after in pairwise(ordered):
        for name, result in before.best.items():
            for probe, verdict in by_probe(result).items():
                if standing(verdict) not in ("none", "skip"):
                    memory[name, probe] = verdict, before
        steps.append(Pair(before, after, compare_rules(before, after, memory)))
    return VersionSeries(tuple(ordered), tuple(steps))
