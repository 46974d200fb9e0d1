"""One observation under one rule, and what holds for every one: the invariant over the sealed part."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from harness.model.rule import KernelFacts, ProbeName, Rule
from harness.model.verdict import Judgement, Kind
from harness.observations.model import Observation
from harness.verdicts.window import spread_units, window_problems

PASS = Judgement("pass", "")


@dataclass(frozen=True)
class Case:
    """One observation under one rule, on one kernel."""

    rule: Rule
    probe: ProbeName
    seen: Observation
    kernel: KernelFacts


def invariant(rule: Rule, seen: Observation) -> Judgement | None:
    """The sealed part still exists, with the same protection, backing and contents, and is still sealed."""
    contents = _promised_contents(rule)
    if problems := window_problems(seen, contents):
        kind: Kind = "bypass" if any(p.bypass for p in problems) else "seal-lost"
        return Judgement("fail", "; ".join(p.text for p in problems[:3]), kind)
    if rule.outcome != "interface" and (spread := spread_units(seen)):
        return Judgement("fail", f"{units_told(spread)} sealed without a request", "over-blocked")
    return None


def _promised_contents(rule: Rule) -> str:
    """What a rule says of what sealed units hold afterwards: what has to be refused leaves it there."""
    if rule.outcome == "interface" and rule.expect_sealed and "0" not in rule.expect_sealed.errnos:
        return "kept"
    return {"blocked": "kept", "undefined": rule.contents, "permitted": rule.contents}.get(rule.outcome, "free")


def units_told(numbers: Sequence[int]) -> str:
    """``unit 2`` or ``units 0, 3``."""
    noun = "unit" if len(numbers) == 1 else "units"
    return f"{noun} {', '.join(map(str, numbers))}"
