"""Judging a scenario: each thing it expects is a rule of its own, and that it runs to its end is one more.

The guest said what it found and what would be right; whether the one is among the other is found out here. What the
script's text declares and no guest said is no pass: the reason is how the scenario ended.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.guests.console import Crash
from harness.model.rule import ProbeName, Rule
from harness.model.verdict import Judgement, RuleResult, Verdict, cut_short
from harness.observations.collector import Journalled
from harness.observations.model import Fact, ScenarioEnd, Value, named

_NO_ID = re.compile(r"[^a-z0-9]+")
OPERATION = "scenario"


@dataclass(frozen=True)
class Scenario:
    """A script of a user's: its name, its text, and the names of the expectations that stand in its text."""

    name: str
    text: str
    expectations: tuple[str, ...] = ()

    @property
    def probe(self) -> ProbeName:
        """The one thing its payload plans: the script, from beginning to end."""
        return ProbeName(OPERATION, slug(self.name), "whole", "p")


def slug(text: str) -> str:
    """A name that can be a rule's id: ``munmap-is-refused``."""
    return _NO_ID.sub("-", text.lower()).strip("-") or "scenario"


def said(value: Value) -> str:
    """A fact's value in words: ``EPERM``, ``yes``, ``[r--p, r--p]``."""
    match value:
        case None:
            return "nothing"
        case bool():
            return "yes" if value else "no"
        case tuple():
            return f"[{', '.join(map(said, value))}]"
        case _:
            return str(value)


def judge_scenario(
    scenario: Scenario, journalled: Journalled | None, lost: str, crashes: Sequence[Crash]
) -> tuple[RuleResult, ...]:
    """Judge one cell: first how the scenario ended, then its expectations in the order of the text and the stream."""
    facts = journalled.facts if journalled else ()
    expected = {name: fact for name, fact in named(facts).items() if fact.wanted is not None}
    names = list(dict.fromkeys((*scenario.expectations, *expected)))
    unasked = [name for name in names if name not in expected]
    ending = _ending(scenario, journalled, lost, crashes, unasked)
    results = [_result(scenario, slug(scenario.name), "the scenario runs to its end", ending, "")]
    ids = {slug(scenario.name)}
    doubted = journalled is not None and scenario.probe.id in journalled.doubts
    for name in names:
        found = _judge_fact(expected[name]) if name in expected and not doubted else _unasked(ending)
        ident = _unused(f"{slug(scenario.name)}-{slug(name)}", ids)
        results.append(_result(scenario, ident, name, found, said(expected[name].value) if name in expected else ""))
    return tuple(results)


def _judge_fact(fact: Fact) -> Judgement:
    if any(type(fact.value) is type(right) and fact.value == right for right in fact.wanted or ()):
        return Judgement("pass", "")
    return Judgement(
        "fail", f"found {said(fact.value)}, expected {' or '.join(map(said, fact.wanted or ()))}", "interface"
    )


def _ending(
    scenario: Scenario, journalled: Journalled | None, lost: str, crashes: Sequence[Crash], unasked: Sequence[str]
) -> Judgement:
    fatal = [crash for crash in crashes if crash.fatal and crash.during == scenario.probe.id]
    if fatal:
        return Judgement("fail", f"the kernel reported while the scenario ran: {fatal[0].title}", "crash")
    if journalled is not None and scenario.probe.id in journalled.doubts:
        return Judgement("error", f"the journal is out of order: {journalled.doubts[scenario.probe.id]}")
    if journalled is None or journalled.outcome is None:
        begun = journalled is not None and scenario.probe.id in journalled.begun
        why = lost or "the stream ended without the scenario's outcome"
        return Judgement(cut_short(lost) if begun else "miss", why)
    return _ended(journalled.outcome, unasked)


def _ended(outcome: ScenarioEnd, unasked: Sequence[str]) -> Judgement:
    where = f" (line {outcome.line})" if outcome.line else ""
    match outcome.ended:
        case "done":
            return Judgement("pass", "")
        case "skipped":
            return Judgement("skip", f"{outcome.text or 'the scenario gave no reason'}{where}")
        case "exited" if outcome.text == "sys.exit(0)" and not unasked:
            return Judgement("pass", "")
        case "exited":
            return Judgement("error", f"the scenario ended early: {outcome.text}{where}")
        case _:
            return Judgement("error", f"{outcome.text}{where}")


def _unasked(ending: Judgement) -> Judgement:
    """An expectation of the text that was never said: as the scenario's end has it."""
    if ending.status == "pass":
        # A child that died before it came to this, or a call that failed in an `if`, is no reason to call all well.
        return Judgement("miss", "not asked: the scenario ended before it")
    if ending.status == "fail":
        return Judgement("error", f"never reached: {ending.reason}")
    return Judgement(ending.status, ending.reason if ending.status != "error" else f"never reached: {ending.reason}")


def expectation(scenario: Scenario, ident: str, statement: str) -> Rule:
    """What a scenario expects, as a rule: reports need no other words for it."""
    return Rule(ident, scenario.name, "scenario", "required", "interface", statement, (f"{scenario.name}.py",), ())


def _result(scenario: Scenario, ident: str, statement: str, found: Judgement, observed: str) -> RuleResult:
    rule = expectation(scenario, ident, statement)
    verdict = Verdict(ident, scenario.probe.id, found.status, found.reason, found.kind, observed)
    return RuleResult(rule, (verdict,))


def _unused(ident: str, ids: set[str]) -> str:
    number = 1
    while (unique := ident if number == 1 else f"{ident}-{number}") in ids:
        number += 1
    ids.add(unique)
    return unique
