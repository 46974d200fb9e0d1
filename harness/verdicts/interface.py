"""Rules that say what each half is answered: errors, seals, what smaps shows, and the rounds of a race."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from harness.model.rule import Expect
from harness.model.verdict import Judgement, Kind
from harness.observations.model import Half, errno_name
from harness.rules.refusals import excuse
from harness.verdicts.case import PASS, Case, invariant, units_told
from harness.verdicts.rounds import RoundOutcome, read_outcomes
from harness.verdicts.window import sealed_units

_TWO_LOOKS = 2  # at how the window is divided: before the operation and after it; some payloads do not tell


def judge_interface(case: Case) -> Judgement:
    """Judge a case whose rule names the answers."""
    rule, seen = case.rule, case.seen
    if lacking := _lacking(case):
        return lacking
    halves = (("control", seen.control, rule.expect_control), ("sealed", seen.sealed, rule.expect_sealed))
    found = [_expected(name, half, expect, seen.layout) for name, half, expect in halves if expect is not None]
    findings = [finding for finding in found if finding is not None]
    failures = [finding for finding in findings if finding.status == "fail"]
    if findings:  # what a race leaves open in one half excuses nothing in the other
        return failures[0] if failures and findings[0].status == "skip" else findings[0]
    for name, half, expect in halves:
        if expect is not None and (missing := [key for key, _ in expect.facts if key not in half.extra]):
            return Judgement("miss", f"the {name} half does not tell {', '.join(missing)}, as payloads once did not")
    return _divided(case) or invariant(rule, seen) or PASS


def _divided(case: Case) -> Judgement | None:
    """Sealing what is sealed already is a no-op: it does not even divide a mapping, or join two."""
    expect, half = case.rule.expect_sealed, case.seen.sealed
    if expect is None or expect.seals != "range" or {c for c in case.seen.layout if c.isupper()} != {"S"}:
        return None
    if half.errno or len(half.divided) != _TWO_LOOKS:
        return None
    before, after = half.divided
    if before == after:
        return None
    told = f"sealing what is sealed already changed how mappings are divided: {before} before, {after} afterwards "
    told += "(a sign for each unit: | a mapping begins there, . it continues, - nothing is mapped)"
    return Judgement("fail", f"the sealed half: {told}", "interface")


def _lacking(case: Case) -> Judgement | None:
    """What neither half could do because this kernel does not have it: the operation, or that of a race's rounds."""
    expects = (case.rule.expect_control, case.rule.expect_sealed)
    answers = {name for half in (case.seen.control, case.seen.sealed) for name in _answers(half)}
    if len(answers) != 1 or any(expect and answers <= set(expect.errnos) and not expect.rounds for expect in expects):
        return None
    (name,) = answers
    entry = excuse(case.probe, case.kernel, getattr(errno, name, 0))
    return (
        Judgement(entry.verdict, f"does not apply: both halves failed with {name} ({entry.reason})") if entry else None
    )


def _answers(half: Half) -> set[str]:
    """How the operation was answered, in each of a race's rounds where there were some."""
    try:
        return {outcome.operation for outcome in read_outcomes(half)} or {errno_name(half.errno)}
    except ValueError:
        return {"no list of rounds"}


def _expected(name: str, half: Half, expect: Expect, layout: str) -> Judgement | None:
    if finding := _contradicted(name, half, expect):
        return finding
    if errno_name(half.errno) not in expect.errnos:
        wanted = " or ".join("success" if e == "0" else e for e in expect.errnos)
        kind: Kind = "wrong-errno" if half.errno and expect.errnos != ("0",) else "interface"
        return Judgement("fail", f"the {name} half answered {half.said} instead of {wanted}", kind)
    if expect.rounds and (finding := _rounds(name, half, expect)):
        return finding
    if expect.shown and (finding := _shown(name, half)):
        return finding
    if expect.seals == "any":
        return None
    before = {i for i, c in enumerate(layout) if c in "sS"} if name == "sealed" else set()
    covered = {i for i, c in enumerate(layout) if c in "SP"}
    asked = covered if expect.seals == "range" or (expect.seals == "by-answer" and not half.errno) else set()
    may = covered if expect.seals == "by-answer" else asked
    found = sealed_units(half)
    if lost := sorted((before | asked) - found):
        return Judgement("fail", f"the {name} half: {units_told(lost)} not sealed afterwards", "seal-lost")
    if spread := sorted(found - before - may):
        return Judgement("fail", f"the {name} half: {units_told(spread)} sealed without a request", "interface")
    return None


def _contradicted(name: str, half: Half, expect: Expect) -> Judgement | None:
    """A fact the half tells that is not the one the rule names, or None."""
    for key, wanted in expect.facts:
        told = half.extra.get(key, wanted)
        found = errno_name(told) if isinstance(told, int) else told
        if found != wanted:
            return Judgement("fail", f"the {name} half tells {key} {found!r} instead of {wanted!r}", "interface")
    return None


def _shown(name: str, half: Half) -> Judgement | None:
    """Whether smaps and behaviour disagree on what is sealed."""
    units = {i: unit.seal for i, unit in enumerate(half.units_after) if unit}
    if "?" in units.values():
        return Judgement("skip", "smaps was not readable")
    shown = {i for i, seal in units.items() if seal == "s"}
    behaves = sealed_units(half) & units.keys()
    if silent := sorted(behaves - shown):
        return Judgement("fail", f"{name}: smaps does not show the seal of {units_told(silent)}", "interface")
    if spurious := sorted(shown - behaves):
        return Judgement("fail", f"{name}: smaps shows a seal of {units_told(spurious)} that is not there", "interface")
    return None


def _rounds(name: str, half: Half, expect: Expect) -> Judgement | None:
    """Why the rounds of a race break a rule, or None. What lands in sealed memory is a bypass."""
    try:
        outcomes = read_outcomes(half)
    except ValueError as problem:
        return Judgement("error", f"the {name} half: {problem}")
    if not outcomes:
        return Judgement("error", f"the {name} half ran no round")
    broken = [outcome for outcome in outcomes if outcome.breaks(expect.rounds)]
    if not broken:
        return _untold(name, half, outcomes) or _one_sided(name, expect, outcomes)
    told = "; ".join(
        f"{o.said} in {o.count} of {half.extra.get('rounds')} rounds (first {o.first})" for o in broken[:3]
    )
    changing = any(wanted.endswith(" changed") for wanted in expect.rounds)
    kind: Kind = "bypass" if any(outcome.bypasses(changing=changing) for outcome in broken) else "interface"
    return Judgement("fail", f"the {name} half: {told}", kind)


def _untold(name: str, half: Half, outcomes: Sequence[RoundOutcome]) -> Judgement | None:
    """Rounds that are in no outcome may have gone any way."""
    told, rounds = sum(outcome.count for outcome in outcomes), half.extra.get("rounds")
    if told != rounds or half.extra.get("outcomes_left_out"):
        return Judgement("error", f"the {name} half reports the outcome of {told} of its {rounds} rounds")
    return None


def _one_sided(name: str, expect: Expect, outcomes: Sequence[RoundOutcome]) -> Judgement | None:
    """A race in which nearly always the same side came first proves nothing, however many rounds it had."""
    for wanted in expect.rounds:
        seen = sum(outcome.count for outcome in outcomes if outcome.told == wanted)
        if seen < expect.wins:
            rounds = sum(outcome.count for outcome in outcomes)
            reason = f"inconclusive race: outcome {wanted!r} in {seen} of {rounds} {name} rounds"
            return Judgement("skip", f"{reason}, at least {expect.wins} needed")
    return None
