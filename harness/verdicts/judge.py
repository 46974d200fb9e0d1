"""The judge: rule + observation + kernel facts → verdict. Pure; the same input always gives the same verdict.

The order of questions is the order of honesty: was the probe run at all, did it break, does the rule apply, is the
sealed part intact (the one invariant over every probe), and only then whether the operation answered as it should.
"""

from __future__ import annotations

import errno
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from errno import EPERM
from fnmatch import fnmatchcase

from harness.errors import UsageError
from harness.guests.console import Crash
from harness.model.rule import Expect, KernelFacts, Outcome, ProbeName, Rule
from harness.model.verdict import Follows, Judgement, Kind, RuleResult, Status, Verdict
from harness.observations.model import Half, Observation, errno_name, signal_name
from harness.rules.refusals import excuse
from harness.rules.warnings import is_allowed
from harness.verdicts.crosscheck import disagreement
from harness.verdicts.refused import control_refused, filter_noted, no_mseal, step_failed, without_mseal
from harness.verdicts.rounds import RoundOutcome, read_outcomes
from harness.verdicts.sealing import only_seals, sealing_changes
from harness.verdicts.window import changes, sealed_units, spread_units, window_problems

_SEAL_SHOWN = re.compile(r"( [afsn?]) [s?-](?=;|$)")


@dataclass(frozen=True)
class Evidence:
    """Everything one cell has to say. ``lost`` tells why the stream stopped early ("" when it did not).

    ``kernel`` is None only where nothing was observed (no boot), and then nothing is asked of it. ``second`` is what
    the other payload observed, where one was asked to. ``doubts`` says by probe why its record cannot be believed.
    """

    kernel: KernelFacts | None
    observations: Mapping[str, Observation]
    begun: tuple[str, ...] = ()
    crashes: tuple[Crash, ...] = ()
    lost: str = ""
    second: Mapping[str, Observation] = field(default_factory=dict)
    doubts: Mapping[str, str] = field(default_factory=dict)
    among_others: Mapping[str, Observation] = field(default_factory=dict)
    batched: frozenset[str] = frozenset()


PASS = Judgement("pass", "")


@dataclass(frozen=True)
class Case:
    """One observation under one rule, on one kernel."""

    rule: Rule
    probe: ProbeName
    seen: Observation
    kernel: KernelFacts


Assignment = tuple[tuple[Rule, tuple[ProbeName, ...]], ...]


def assign(rules: Mapping[str, Rule], planned: Sequence[ProbeName]) -> Assignment:
    """Which rule speaks for which planned probes, in the catalogue's order; rules without a probe are left out.

    Raises ``UsageError`` when a probe is claimed by no rule: what it saw would be judged by nobody, and silence
    must not look like a pass.
    """
    by_operation: dict[str, list[int]] = {}
    for place, probe in enumerate(planned):
        by_operation.setdefault(probe.operation, []).append(place)
    taken = [(rule, rule.places(planned, by_operation)) for rule in rules.values()]
    claimed = {place for rule, places in taken if rule.outcome != "unchanged" for place in places}
    if orphans := [probe for place, probe in enumerate(planned) if place not in claimed]:
        raise UsageError(
            f"no rule covers {len(orphans)} probes, the first is {orphans[0].id}; the catalogue is out of date"
        )
    return tuple((rule, tuple(planned[place] for place in places)) for rule, places in taken if places)


def judge(assignment: Assignment, evidence: Evidence) -> tuple[RuleResult, ...]:
    """Judge every planned probe under every rule that speaks for it, in the catalogue's order."""
    fatal: dict[str, Crash] = {}
    for crash in evidence.crashes:
        for probe in crash.suspects if crash.fatal else ():
            fatal.setdefault(probe, crash)
    warned = _warned(evidence)
    return tuple(
        RuleResult(rule, tuple(_verdict(rule, probe, evidence, fatal, warned) for probe in probes))
        for rule, probes in assignment
    )


def _warned(evidence: Evidence) -> Mapping[str, Crash]:
    """The first warning of memory management that each probe may have caused; those on the allow-list are notes."""
    found: dict[str, Crash] = {}
    for crash in evidence.crashes:
        if crash.warns_of_memory and not is_allowed(crash.title, evidence.kernel):
            for probe in crash.suspects:
                found.setdefault(probe, crash)
    return found


def _verdict(
    rule: Rule, probe: ProbeName, evidence: Evidence, fatal: Mapping[str, Crash], warned: Mapping[str, Crash]
) -> Verdict:
    seen = evidence.observations.get(probe.id)
    finding = _unanswered(rule, probe, evidence, fatal, seen)
    follows: Follows | None = None
    if finding is None:
        assert seen is not None and evidence.kernel is not None  # _unanswered said so
        finding = judge_observation(rule, probe, seen, evidence.kernel)
        follows = _follows(rule, probe, seen, evidence.kernel, finding)
        finding = _known(rule, probe, evidence.kernel, finding)
    if probe.id in warned and finding.status != "fail" and rule.outcome != "unchanged":
        # What the operation was answered is no excuse: the kernel itself says that its memory management is not right.
        finding = Judgement("fail", f"the kernel warned while the probe ran: {warned[probe.id].title}", "crash")
    # A run of many cells holds millions of these texts, of which few differ.
    observed = sys.intern(summary(seen, whole=rule.atomic)) if seen else ""
    divided = sys.intern(division(seen)) if seen else ""
    if seen and probe.id in evidence.batched and evidence.lost and finding.status not in _USUAL:
        finding = _disputed(finding, f"seen among others, and not asked again ({evidence.lost})", "that")
    other = evidence.among_others.get(probe.id)
    if seen and other and (differ := disagreement(other, seen, "among others", "alone")):
        finding = _disputed(finding, f"among others and alone it was not the same: {differ}", "the latter")
    other = evidence.second.get(probe.id)
    if seen and other and (differ := disagreement(seen, other)):
        finding = _disputed(finding, f"the two payloads disagree: {differ}", "the C payload")
        observed = f"C: {observed} | Python: {summary(other, whole=rule.atomic)}"
    return Verdict(
        rule.id, sys.intern(probe.id), finding.status, finding.reason, finding.kind, observed, follows, divided
    )


_USUAL: frozenset[Status] = frozenset({"pass", "skip", "observed"})


def unusual(assignment: Assignment, kernel: KernelFacts, observations: Mapping[str, Observation]) -> tuple[str, ...]:
    """Which of these probes were not seen to do what their rules expect, whatever is known of the kernel."""
    found = {
        probe.id: None
        for rule, probes in assignment
        for probe in probes
        if (seen := observations.get(probe.id)) and judge_observation(rule, probe, seen, kernel).status not in _USUAL
    }
    return tuple(found)


def _disputed(finding: Judgement, differ: str, by: str) -> Judgement:
    """One instrument's word against another's is no verdict on the kernel, unless that crashed."""
    if finding.kind == "crash":
        return finding
    alone = f"{finding.status}: {finding.reason}" if finding.reason else finding.status
    return Judgement("error", f"{differ}; {by} alone gives {alone}")


def summary(seen: Observation, *, whole: bool = False) -> str:
    """An observation in one line, made so that equal behaviour gives equal text; what became of sealed units, or of the
    ``whole`` window where that is the question."""
    parts = [f"control {seen.control.said}, sealed {seen.sealed.said}"]
    if seen.sealed.stage == "done":
        asked = [i for i, c in enumerate(seen.layout) if whole or c in "sS"]
        parts += changes(seen.sealed, asked)
    return "; ".join(parts)


def division(seen: Observation) -> str:
    """How each half's window was divided into mappings before and after, as ``|..>|.| |..>|..``; "" when not told.

    A letter a unit: ``|`` a mapping begins there, ``.`` none does, ``-`` nothing is mapped.
    """
    halves = (seen.control.divided, seen.sealed.divided)
    return " ".join(">".join(half) for half in halves) if all(halves) else ""


def _unanswered(
    rule: Rule, probe: ProbeName, evidence: Evidence, fatal: Mapping[str, Crash], seen: Observation | None
) -> Judgement | None:
    """What there is to say of a probe without looking at its halves; None when they must be looked at."""
    if probe.id in fatal and not (seen and rule.outcome == "unchanged"):
        crash = fatal[probe.id]
        beside = ", ".join(other for other in crash.suspects if other != probe.id)
        ran = f"ran, and beside it {beside}" if beside else "ran"
        told = f"the kernel reported while the probe {ran}: {crash.title}"
        # What the kernel crashed over is for the rule of the operation to say.
        return Judgement("error", told) if rule.outcome == "unchanged" else Judgement("fail", told, "crash")
    if probe.id in evidence.doubts:
        return Judgement("error", f"the journal is out of order: {evidence.doubts[probe.id]}")
    if seen is not None and evidence.kernel is None:
        return Judgement(
            "error", f"observed, but the kernel is unknown: {evidence.lost or 'the payload did not report it'}"
        )
    if seen is not None:
        return None
    why = evidence.lost or "the stream ended without it"
    if probe.id in evidence.begun:
        return Judgement("error", f"the probe began but no observation followed: {why}")
    return Judgement("miss", why)


def judge_observation(rule: Rule, probe: ProbeName, seen: Observation, kernel: KernelFacts) -> Judgement:
    """Judge one observation by one rule, leaving out what is known to differ."""
    if seen.layout != probe.layout:
        return Judgement("error", f"the payload ran the layout {seen.layout}, the plan says {probe.layout}")
    if kernel not in rule.where:
        return Judgement("skip", "the rule does not apply to this kernel version")
    if lacking := rule.lacks(kernel):
        return Judgement("skip", f"needs {lacking}")
    return filter_noted(seen, kernel, _judge_case(Case(rule, probe, seen, kernel)))


def _judge_case(case: Case) -> Judgement:
    if no_mseal(case.seen, case.kernel):
        return without_mseal(case.rule, case.kernel)
    if case.rule.outcome == "unchanged":
        return _unchanged(case)
    return _usable(case) or _JUDGES[case.rule.outcome](case)


def _usable(case: Case) -> Judgement | None:
    """Why the observation cannot be held against the rule, or None when it can."""
    control, sealed = case.seen.control, case.seen.sealed
    if control.timeout or sealed.timeout:
        return _hung(case.rule, control, sealed)
    if control.step is not None:
        return step_failed(case.probe, control, case.kernel)
    if control.signal is not None:
        return Judgement("error", f"the control half was {control.said}")
    if control.stage != "done":
        return Judgement("error", f"the control half stopped in {control.stage}")
    if sealed.step is not None:
        return Judgement("error", f"set-up failed in the sealed half only: {sealed.said}")
    refused = [number for number in sealed.seal if number]
    if refused:
        return Judgement("fail", f"mseal refused to seal: {errno_name(refused[0])}", "interface")
    if sealed.signal is not None:
        if sealed.stage in ("operation", "after"):
            name = signal_name(sealed.signal)
            return Judgement("fail", f"killed by {name} in {sealed.stage}; the control half was not", "interface")
        return Judgement("error", f"the sealed half was {sealed.said}")
    if sealed.stage != "done":
        return Judgement("error", f"the sealed half stopped in {sealed.stage}")
    return _misshapen(case.seen)


def _misshapen(seen: Observation) -> Judgement | None:
    """Why halves that say they came to their end cannot have: what they tell does not fit what they were to do."""
    seals = len(re.findall("[sS]+", seen.layout))
    if len(seen.sealed.seal) != seals:
        told = len(seen.sealed.seal)
        return Judgement(
            "error", f"the sealed half reports {told} results of mseal, but its layout has {seals} ranges to seal"
        )
    for i, (c, unit) in enumerate(zip(seen.layout, seen.control.units_before, strict=True)):
        if (unit is None) is not (c in "gG"):
            what = "is not mapped" if unit is None else "is mapped but should be a gap"
            return Judgement("error", f"the control half's window differs from its layout: unit {i} {what}")
    return None


def _unchanged(case: Case) -> Judgement:
    """Only what sealing did counts, so whatever became of the operation is no matter."""
    seen = case.seen
    if any(len(half.before) != len(seen.layout) for half in (seen.control, seen.sealed)):
        return _usable(case) or Judgement("error", "the halves do not report their windows")
    if broken := _misshapen(seen):
        return broken
    if changed := sealing_changes(case.probe, seen):
        return Judgement("fail", f"sealing changed more than the seal: {'; '.join(changed[:3])}", "changed-by-mseal")
    # What the operation of such a probe did was part of the question, and was not seen.
    ended = seen.control.stage == seen.sealed.stage == "done"
    return PASS if ended or not only_seals(case.probe) else _usable(case) or PASS


def _hung(rule: Rule, control: Half, sealed: Half) -> Judgement:
    """A half ran into its deadline. Until the seal both do the same: what hangs there, or without a seal, is not the
    seal's doing. But where a rule asks what the control half is answered, its operation is under test: mseal's own."""
    half, name = (control, "control") if control.timeout else (sealed, "sealed")
    told = f"the {name} half gave no answer in time (in {half.stage})"
    if half.extra.get("unkillable"):
        told += " and could not be killed"
    if control.timeout and rule.expect_control is not None and control.stage in ("operation", "after"):
        return Judgement("fail", f"{told}; the rule demands an answer", "hang")
    if control.timeout or sealed.stage == "setup":
        return Judgement("error", told)
    return Judgement("fail", f"{told}; the control half did not hang", "hang")


def _invariant(rule: Rule, seen: Observation) -> Judgement | None:
    """The sealed part still exists, with the same protection, backing and contents, and is still sealed."""
    contents = _promised_contents(rule)
    if problems := window_problems(seen, contents):
        kind: Kind = "bypass" if any(p.bypass for p in problems) else "seal-lost"
        return Judgement("fail", "; ".join(p.text for p in problems[:3]), kind)
    if rule.outcome != "interface" and (spread := spread_units(seen)):
        return Judgement("fail", f"{_units(spread)} sealed without a request", "over-blocked")
    return None


def _promised_contents(rule: Rule) -> str:
    """What a rule says of what sealed units hold afterwards: what has to be refused leaves it there."""
    if rule.outcome == "interface" and rule.expect_sealed and "0" not in rule.expect_sealed.errnos:
        return "kept"
    return {"blocked": "kept", "undefined": rule.contents, "permitted": rule.contents}.get(rule.outcome, "free")


def _blocked(case: Case) -> Judgement:
    rule, seen = case.rule, case.seen
    sealed = seen.sealed
    if broken := _invariant(rule, seen):
        return replace(broken, reason=f"answered {sealed.said}: {broken.reason}")
    if refused := control_refused(case.probe, seen, case.kernel):
        return refused
    if not sealed.errno:
        return Judgement("fail", f"succeeded over sealed memory (answered {sealed.said})", "bypass")
    if rule.atomic:
        plain = [i for i, c in enumerate(seen.layout) if c in "pP"]
        if changed := changes(sealed, plain):
            return Judgement("fail", f"refused with {sealed.said}, but {changed[0]}", "not-atomic")
    if errno_name(sealed.errno) not in rule.errnos:
        wanted = " or ".join(rule.errnos)
        return Judgement("fail", f"refused with {sealed.said} instead of {wanted}", "wrong-errno")
    return PASS


def _permitted(case: Case) -> Judgement:
    rule, seen = case.rule, case.seen
    control, sealed = seen.control, seen.sealed
    refused = None
    if sealed.errno and not control.errno:
        kind: Kind = "over-blocked" if sealed.errno == EPERM else "wrong-errno"
        refused = Judgement("fail", f"refused with {sealed.said}; the control succeeded", kind)
    if broken := _invariant(rule, seen):
        untouched = not window_problems(seen, "kept")
        if refused and untouched:  # the control's contents changed; nothing got at the sealed ones
            return refused
        if untouched and broken.kind == "bypass":  # it should have changed the contents, and did not
            broken = replace(broken, kind="interface")
        return replace(broken, reason=f"answered {sealed.said}: {broken.reason}")
    if control_failed := control_refused(case.probe, seen, case.kernel):
        if control_failed.status != "skip" or sealed.errno == control.errno:
            return control_failed
        return Judgement("fail", f"control {control.said}, sealed {sealed.said}", "wrong-errno")
    if refused:
        return refused
    if sealed.result != control.result or _extras(sealed) != _extras(control):
        return Judgement("fail", f"answered {_answer(sealed)}; the control {_answer(control)}", "interface")
    plain = [i for i, c in enumerate(seen.layout) if c in "pPgG"]
    if changes(sealed, plain) != changes(control, plain):
        return Judgement("fail", "changed unsealed neighbouring pages differently from the control", "interface")
    return PASS


def _extras(half: Half) -> Mapping[str, int | str]:
    """The further facts of an operation without the seal that smaps shows of units: there the halves must differ."""
    return {
        name: _SEAL_SHOWN.sub(r"\1", value) if isinstance(value, str) else value for name, value in half.extra.items()
    }


def _answer(half: Half) -> str:
    extra = ", ".join(f"{name} {value}" for name, value in _extras(half).items())
    return f"{half.said} ({extra})" if extra else half.said


def _undefined(case: Case) -> Judgement:
    return _invariant(case.rule, case.seen) or control_refused(case.probe, case.seen, case.kernel) or PASS


def _recorded(case: Case) -> Judgement:
    rule, seen = case.rule, case.seen
    if not any(c in "sS" for c in seen.layout):  # what the kernel sealed itself is a fact like any other
        return Judgement("observed", "")
    return _invariant(rule, seen) or Judgement("observed", "")


def _interface(case: Case) -> Judgement:
    rule, seen = case.rule, case.seen
    if lacking := _lacking(case):
        return lacking
    for name, half, expect in (
        ("control", seen.control, rule.expect_control),
        ("sealed", seen.sealed, rule.expect_sealed),
    ):
        if expect is not None and (finding := _expected(name, half, expect, seen.layout)):
            return finding
    return _invariant(rule, seen) or PASS


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
    asked = {i for i, c in enumerate(layout) if c in "SP"} if expect.seals == "range" else set()
    wanted_sealed = before | asked
    found = sealed_units(half)
    if lost := sorted(wanted_sealed - found):
        return Judgement("fail", f"the {name} half: {_units(lost)} not sealed afterwards", "seal-lost")
    if spread := sorted(found - wanted_sealed):
        return Judgement("fail", f"the {name} half: {_units(spread)} sealed without a request", "interface")
    return None


def _shown(name: str, half: Half) -> Judgement | None:
    """Whether smaps and behaviour disagree on what is sealed."""
    units = {i: unit.seal for i, unit in enumerate(half.units_after) if unit}
    if "?" in units.values():
        return Judgement("skip", "smaps was not readable")
    shown = {i for i, seal in units.items() if seal == "s"}
    behaves = sealed_units(half) & units.keys()
    if silent := sorted(behaves - shown):
        return Judgement("fail", f"{name}: smaps does not show the seal of {_units(silent)}", "interface")
    if spurious := sorted(shown - behaves):
        return Judgement("fail", f"{name}: smaps shows a seal of {_units(spurious)} that is not there", "interface")
    return None


def _rounds(name: str, half: Half, expect: Expect) -> Judgement | None:
    """Why the rounds of a race break a rule, or None. What lands in sealed memory is a bypass."""
    try:
        outcomes = read_outcomes(half)
    except ValueError as problem:
        return Judgement("error", f"the {name} half: {problem}")
    if not outcomes:
        return Judgement("error", f"the {name} half ran no round")
    broken = [outcome for outcome in outcomes if outcome.told not in expect.rounds]
    if not broken:
        return _untold(name, half, outcomes) or _one_sided(name, expect, outcomes)
    told = "; ".join(
        f"{o.said} in {o.count} of {half.extra.get('rounds')} rounds (first {o.first})" for o in broken[:3]
    )
    kind: Kind = "bypass" if any(outcome.bypass for outcome in broken) else "interface"
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


def _units(numbers: Sequence[int]) -> str:
    noun = "unit" if len(numbers) == 1 else "units"
    return f"{noun} {', '.join(map(str, numbers))}"


_JUDGES = {
    "blocked": _blocked,
    "permitted": _permitted,
    "undefined": _undefined,
    "open": _recorded,
    "uncovered": _recorded,
    "interface": _interface,
}


def _follows(
    rule: Rule, probe: ProbeName, seen: Observation, kernel: KernelFacts, upstream: Judgement
) -> Follows | None:
    """Which reading the kernel follows, where the mail thread and upstream's documentation differ."""
    if rule.thread is None or upstream.status == "skip":
        return None
    thread = judge_observation(_as_thread_reads(rule, rule.thread), probe, seen, kernel)
    kept = {"pass", "observed"}
    readings: Mapping[tuple[bool, bool], Follows] = {
        (True, True): "both",
        (True, False): "upstream",
        (False, True): "thread",
        (False, False): "neither",
    }
    return readings[upstream.status in kept, thread.status in kept]


def _as_thread_reads(rule: Rule, outcome: Outcome) -> Rule:
    return replace(rule, outcome=outcome, contents="kept" if outcome == "blocked" else rule.contents)


def _known(rule: Rule, probe: ProbeName, kernel: KernelFacts, finding: Judgement) -> Judgement:
    """Turn a failure the catalogue knows into ``known``, and a promise kept against its word into ``fixed``.

    No entry knows of a hang: each tells of an answer.
    """
    for entry in rule.known:
        if kernel in entry.where and any(fnmatchcase(probe.id, glob) for glob in entry.probes):
            cited = f"{entry.reason} [{entry.source}]"
            if finding.status == "fail" and finding.kind != "hang":
                return Judgement("known", f"{finding.reason}; known: {cited}", finding.kind)
            if finding.status == "pass":
                return Judgement("fixed", f"holds, although the catalogue says: {cited}")
    return finding
