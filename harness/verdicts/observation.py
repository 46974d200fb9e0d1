"""One observation, judged by one rule: can it be used, is the sealed part intact, was it answered as it should be."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from errno import EPERM
from functools import lru_cache

from harness.model.rule import KernelFacts, ProbeName, Rule
from harness.model.verdict import Judgement, Kind
from harness.observations.model import Half, Observation, errno_name, signal_name
from harness.rules.refusals import excuse
from harness.verdicts.case import PASS, Case, invariant
from harness.verdicts.interface import judge_interface
from harness.verdicts.refused import control_refused, filter_noted, no_mseal, step_failed, without_mseal
from harness.verdicts.sealing import only_seals, sealing_changes
from harness.verdicts.window import changes, window_problems

_SEAL_SHOWN = re.compile(r"( [afsn?]) [s?-](?=;|$)")


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


@lru_cache(maxsize=1024)
def _shape(layout: str) -> tuple[int, tuple[bool, ...]]:
    """How many ranges of a layout are sealed, and which of its units are gaps."""
    return len(re.findall("[sS]+", layout)), tuple(c in "gG" for c in layout)


def _misshapen(seen: Observation) -> Judgement | None:
    """Why halves that say they came to their end cannot have: what they tell does not fit what they were to do."""
    seals, gaps = _shape(seen.layout)
    if len(seen.sealed.seal) != seals:
        told = len(seen.sealed.seal)
        return Judgement(
            "error", f"the sealed half reports {told} results of mseal, but its layout has {seals} ranges to seal"
        )
    for i, (gap, unit) in enumerate(zip(gaps, seen.control.units_before, strict=True)):
        if (unit is None) is not gap:
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


def _blocked(case: Case) -> Judgement:
    rule, seen = case.rule, case.seen
    sealed = seen.sealed
    if broken := invariant(rule, seen):
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
    if broken := invariant(rule, seen):
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
    return invariant(case.rule, case.seen) or control_refused(case.probe, case.seen, case.kernel) or PASS


def _recorded(case: Case) -> Judgement:
    rule, seen = case.rule, case.seen
    if not any(c in "sS" for c in seen.layout):  # what the kernel sealed itself is a fact like any other
        return Judgement("observed", "")
    if broken := invariant(rule, seen):
        return broken
    # Of an open rule the error itself is compared between kernels. An uncovered one asks whether the seal outlives what
    # was done: where the machine does not offer it, or was too busy for it, nothing was done.
    error = seen.control.errno
    if rule.outcome == "uncovered" and error and error == seen.sealed.errno and excuse(case.probe, case.kernel, error):
        return control_refused(case.probe, seen, case.kernel) or Judgement("observed", "")
    return Judgement("observed", "")


_JUDGES = {
    "blocked": _blocked,
    "permitted": _permitted,
    "undefined": _undefined,
    "open": _recorded,
    "uncovered": _recorded,
    "interface": judge_interface,
}
