"""From a stored exploration to verdicts: each oracle is a rule, each operation it was asked of one of its probes.

So reports, history, comparisons and qualification need no other words for what exploration found than for the rest.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from errno import ENOSYS

from harness.explore.corpus import load_corpus
from harness.explore.known import known_as, load_known
from harness.explore.operations import OPERATIONS
from harness.explore.oracles import ORACLES, Oracle
from harness.explore.record import ExplorationRecord, FindingRecord, UnconfirmedRecord
from harness.model.rule import KernelFacts, Rule
from harness.model.verdict import Judgement, Kind, RuleResult, Status, Verdict
from harness.observations.model import errno_name
from harness.verdicts.refused import without_mseal

FAMILY = "exploration"
_CONTRACT: dict[Oracle, str] = {
    "sealed-unchanged": "U1 U2 P1 R1 M1 O1 O3 O8",
    "refused": "U1 U2 U5 P1 R1 R2 R3 M1 M3",
    "same-as-twin": "U7 M2 M4 M8 O1",
    "exactly-sealed": "A7 U7 O8",
    "answer": "A1 A2 A3 A4 A5 A6 A7 A9",
    "console": "O8",
}
GENERATED = "generated"
"""What stands where a probe has its region."""
_NAMES = frozenset(operation.name for operation in OPERATIONS.values())
_OF_PROGRAMS = ("end", "program")  # asked of every program that was judged, and of no one step
_REFUSED = ("replaces", "changes", "moves", "discards")


def rule_of(oracle: Oracle) -> Rule:
    """An oracle as a rule."""
    statement, source = f"Generated programs: {ORACLES[oracle]}", "docs/use/exploration.md: the model, in words"
    return Rule(f"explore-{oracle}", _CONTRACT[oracle], FAMILY, "required", "interface", statement, (source,), ())


EXPLORE_RULES: dict[str, Rule] = {f"explore-{oracle}": rule_of(oracle) for oracle in ORACLES}
_ASKS_FOR_MSEAL = replace(rule_of("answer"), present=True)


def probe_of(oracle: str, operation: str) -> str:
    """What stands where a probe's id does."""
    return f"{operation}/{GENERATED}/{oracle}"


def is_generated(probe: str) -> bool:
    """Whether a probe's id stands for generated programs."""
    return probe.split("/")[1:2] == [GENERATED]


def _asked_of(oracle: Oracle) -> Iterator[str]:
    """The operations an oracle has something to say of."""
    if oracle == "exactly-sealed":
        yield "end"
    elif oracle == "answer":
        yield "mseal"
    elif oracle == "console":
        yield "program"
    else:
        yield from (o.name for o in OPERATIONS.values() if oracle != "refused" or o.nature in _REFUSED)


def unexplored(reason: str, status: Status = "miss") -> tuple[RuleResult, ...]:
    """What to say where nothing was explored."""
    return tuple(
        RuleResult(
            EXPLORE_RULES[f"explore-{oracle}"],
            tuple(Verdict(f"explore-{oracle}", probe_of(oracle, name), status, reason) for name in _asked_of(oracle)),
        )
        for oracle in ORACLES
    )


def unsealable(error: int, kernel: KernelFacts | None) -> Judgement | None:
    """What it means that ``mseal(0, 0, 0)`` failed with this error, so that nothing can be explored; None where it
    succeeded. A kernel from before mseal answers ENOSYS; any other answer breaks a rule, as it does for the probes."""
    if not error:
        return None
    if error != ENOSYS:
        reason = (
            f"mseal(0, 0, 0) answers {errno_name(error)} instead of 0, so nothing can be sealed: the kernel is broken, "
            "or something in front of it, such as a seccomp filter, answers for it"
        )
        return Judgement("fail", reason, "interface")
    if kernel is None:
        return Judgement("miss", "no mseal (ENOSYS), and the kernel did not tell its version")
    return without_mseal(_ASKS_FOR_MSEAL, kernel)


def judge_exploration(record: ExplorationRecord, kernel: KernelFacts | None) -> tuple[RuleResult, ...]:
    """Judge what is stored, by the list of known bugs at hand."""
    unsealed = unsealable(record.mseal, kernel)
    if unsealed is not None and unsealed.status == "skip":
        return unexplored(unsealed.reason, "skip")
    return tuple(
        RuleResult(EXPLORE_RULES[f"explore-{oracle}"], tuple(_verdicts(oracle, record, kernel))) for oracle in ORACLES
    )


def _verdicts(oracle: Oracle, record: ExplorationRecord, kernel: KernelFacts | None) -> Iterator[Verdict]:
    rule, names = f"explore-{oracle}", list(_asked_of(oracle))
    found: dict[str, list[FindingRecord]] = {}
    for finding in record.findings:
        if finding.oracle == oracle:
            name = names[0] if len(names) == 1 else finding.operation
            found.setdefault(f"{name}-{finding.cause}" if finding.cause else name, []).append(finding)
    for name, alike in found.items():
        yield _told(rule, probe_of(oracle, name), alike, kernel)
    for name in names:
        if name not in found:
            yield _without_finding(rule, oracle, name, record, kernel)


def _without_finding(
    rule: str, oracle: Oracle, name: str, record: ExplorationRecord, kernel: KernelFacts | None
) -> Verdict:
    probe = probe_of(oracle, name)
    if (unsealed := unsealable(record.mseal, kernel)) is not None:
        answer = unsealed if oracle == "answer" else Judgement("miss", unsealed.reason)
        return Verdict(rule, probe, answer.status, answer.reason, answer.kind)
    times = record.judged if name in _OF_PROGRAMS else record.asked.get(name, 0)
    if doubts := [one for one in record.unconfirmed if one.oracle == oracle and _is_of(one, name)]:
        return Verdict(
            rule, probe, "miss", f"seen {_times(len(doubts))}, and not again when repeated: {doubts[0].text}"
        )
    if record.lost and (not times or name == "program"):
        return Verdict(rule, probe, "miss", record.lost)
    if oracle == "console" and not record.console:
        return Verdict(rule, probe, "skip", "this machine has no console that could be read")
    if not record.judged:
        return Verdict(rule, probe, "miss", "no program was judged")
    if not times:
        return Verdict(rule, probe, "skip", "no program had such a step")
    stale = stale_bug(record, kernel) if name == "end" else ""
    return Verdict(rule, probe, "fixed" if stale else "pass", stale)


def _is_of(one: UnconfirmedRecord, name: str) -> bool:
    """Whether an alarm that did not come again was of this operation, or may have been: old records do not say, and
    some alarms are of whole programs."""
    return name in _OF_PROGRAMS or one.operation == name or one.operation not in _NAMES


def _times(number: int) -> str:
    return "once" if number == 1 else f"{number} times"


def _told(rule: str, probe: str, alike: Sequence[FindingRecord], kernel: KernelFacts | None) -> Verdict:
    finding = alike[0]
    reason = f"{finding.text}; program: {'; '.join(finding.program.splitlines())}"
    if finding.company:
        reason += f"; after {len(finding.company)} other programs in the same process"
    if len(alike) > 1:
        reason += f"; and {len(alike) - 1} more of this sort"
    known = known_as(finding.cause, kernel)
    if known is not None:
        return Verdict(rule, probe, "known", f"{reason}; known: {known.cited}", _kind(finding), finding.text)
    return Verdict(rule, probe, "fail", reason, _kind(finding), finding.text)


def _kind(finding: FindingRecord) -> Kind:
    match finding.oracle:
        case "console":
            return "hang" if "out of time" in finding.text else "crash"
        case "sealed-unchanged":
            return "changed-by-mseal" if finding.step < 0 else "bypass"
        case "refused" if " is refused and has changed plain memory" in finding.text:
            return "not-atomic"
        case "refused":
            return "bypass" if " answers 0 " in finding.text else "wrong-errno"
        case "exactly-sealed":
            return "seal-lost" if "was sealed" in finding.text else "over-blocked"
        case "same-as-twin" if "refused with EPERM" in finding.text:
            return "over-blocked"
        case _:
            return "interface"


def stale_bug(record: ExplorationRecord, kernel: KernelFacts | None) -> str:
    """Which entry of the list this kernel should show, and did not when it ran the entry's program."""
    corpus = {kept.name: str(kept.program) for kept in load_corpus()}
    shown = {finding.cause for finding in record.findings}
    for bug in load_known():
        if kernel is not None and kernel in bug and bug.id not in shown and corpus[bug.corpus] in record.well:
            return f"nothing is wrong, although the list of known bugs says: {bug.cited}"
    return ""


__all__ = [
    "EXPLORE_RULES",
    "FAMILY",
    "is_generated",
    "judge_exploration",
    "probe_of",
    "rule_of",
    "stale_bug",
    "unexplored",
    "unsealable",
]
