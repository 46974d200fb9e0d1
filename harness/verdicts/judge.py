"""The judge: rule + observation + kernel facts → verdict. Pure; the same input always gives the same verdict.

The order of questions is the order of honesty: was the probe run at all, did it break, does the rule apply, is the
sealed part intact (the one invariant over every probe), and only then whether the operation answered as it should.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase

from harness.errors import UsageError
from harness.guests.console import Crash
from harness.model.rule import KernelFacts, ProbeName, Rule
from harness.model.verdict import Follows, Judgement, RuleResult, Status, Verdict, cut_short
from harness.observations.model import Observation
from harness.rules.warnings import is_allowed
from harness.verdicts.crash_reason import crash_reason
from harness.verdicts.crosscheck import disagreement
from harness.verdicts.observation import judge_observation
from harness.verdicts.window import changes


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
    findings: Findings | None = None


class Findings:
    """What rules say of the observations of one kernel, whatever is known to differ. Each observation is looked at once
    by each rule: first to find what is unusual in a cell that still runs, and then for its verdicts."""

    def __init__(self, kernel: KernelFacts) -> None:
        self._kernel = kernel
        self._found: dict[tuple[str, str], tuple[Observation, Judgement]] = {}

    def of(self, rule: Rule, probe: ProbeName, seen: Observation) -> Judgement:
        """What a rule says of an observation of a probe."""
        found = self._found.get((rule.id, probe.id))
        if found is None or found[0] is not seen:
            found = self._found[rule.id, probe.id] = seen, judge_observation(rule, probe, seen, self._kernel)
        return found[1]

    def are_of(self, kernel: KernelFacts) -> bool:
        """Whether a rule would say the same of this kernel: nothing that rules may know of it is different."""
        mine = self._kernel
        return (mine, mine.features, mine.config) == (kernel, kernel.features, kernel.config)


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
    if evidence.kernel and not (evidence.findings and evidence.findings.are_of(evidence.kernel)):
        evidence = replace(evidence, findings=Findings(evidence.kernel))
    return tuple(
        RuleResult(rule, tuple(_verdict(rule, thread, probe, evidence, fatal, warned) for probe in probes))
        for rule, thread, probes in ((rule, _as_thread_reads(rule), probes) for rule, probes in assignment)
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
    rule: Rule,
    thread: Rule | None,
    probe: ProbeName,
    evidence: Evidence,
    fatal: Mapping[str, Crash],
    warned: Mapping[str, Crash],
) -> Verdict:
    seen = evidence.observations.get(probe.id)
    finding = _unanswered(rule, probe, evidence, fatal, seen)
    follows: Follows | None = None
    if finding is None:
        assert seen is not None and evidence.kernel is not None and evidence.findings is not None  # _unanswered said so
        finding = evidence.findings.of(rule, probe, seen)
        follows = _follows(thread, probe, seen, evidence.kernel, finding)
        finding = _known(rule, probe, evidence.kernel, finding)
    if probe.id in warned and finding.status != "fail" and rule.outcome != "unchanged":
        # What the operation was answered is no excuse: the kernel itself says that its memory management is not right.
        finding = Judgement("fail", f"the kernel warned while the probe ran: {warned[probe.id].title}", "crash")
    # A run of many cells holds millions of these texts, of which few differ.
    observed = sys.intern(summary(seen, whole=rule.atomic)) if seen else ""
    divided = sys.intern(division(seen)) if seen else ""
    if seen and probe.id in evidence.batched and evidence.lost and finding.status not in _USUAL:
        told = f"seen among others, and not asked again ({evidence.lost})"
        finding = _disputed(finding, told, "that", cut_short(evidence.lost))
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


def unusual(assignment: Assignment, findings: Findings, observations: Mapping[str, Observation]) -> tuple[str, ...]:
    """Which of these probes were not seen to do what their rules expect, whatever is known of the kernel."""
    found = {
        probe.id: None
        for rule, probes in assignment
        for probe in probes
        if (seen := observations.get(probe.id)) and findings.of(rule, probe, seen).status not in _USUAL
    }
    return tuple(found)


def _disputed(finding: Judgement, differ: str, by: str, status: Status = "error") -> Judgement:
    """One instrument's word against another's is no verdict on the kernel, unless that crashed."""
    if finding.kind == "crash":
        return finding
    alone = f"{finding.status}: {finding.reason}" if finding.reason else finding.status
    return Judgement(status, f"{differ}; {by} alone gives {alone}")


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
    control, sealed = seen.control.divided, seen.sealed.divided
    return f"{'>'.join(control)} {'>'.join(sealed)}" if control and sealed else ""


def _unanswered(
    rule: Rule, probe: ProbeName, evidence: Evidence, fatal: Mapping[str, Crash], seen: Observation | None
) -> Judgement | None:
    """What there is to say of a probe without looking at its halves; None when they must be looked at."""
    if probe.id in fatal and not (seen and rule.outcome == "unchanged"):
        told = crash_reason(fatal[probe.id], probe.id)
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
        return Judgement(cut_short(evidence.lost), f"the probe began but no observation followed: {why}")
    return Judgement("miss", why)


def _follows(
    reading: Rule | None, probe: ProbeName, seen: Observation, kernel: KernelFacts, upstream: Judgement
) -> Follows | None:
    """Which reading the kernel follows, where the mail thread and upstream's documentation differ: ``reading`` is the
    rule as the thread has it."""
    if reading is None or upstream.status == "skip":
        return None
    thread = judge_observation(reading, probe, seen, kernel)
    kept = {"pass", "observed"}
    readings: Mapping[tuple[bool, bool], Follows] = {
        (True, True): "both",
        (True, False): "upstream",
        (False, True): "thread",
        (False, False): "neither",
    }
    return readings[upstream.status in kept, thread.status in kept]


def _as_thread_reads(rule: Rule) -> Rule | None:
    if rule.thread is None:
        return None
    return replace(rule, outcome=rule.thread, contents="kept" if rule.thread == "blocked" else rule.contents)


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
