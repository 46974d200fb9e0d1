"""Policy + candidate + comparison with the baseline → verdict. Pure; the same input always gives the same verdict."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

from harness.compare.comparison import phrase
from harness.compare.diff import Change, Pair, RuleChange, Side, told
from harness.model.rule import Check
from harness.model.verdict import RuleResult
from harness.qualify.costs import costs_kept
from harness.qualify.model import (
    AllowedUse,
    Deviation,
    PolicyCheck,
    Qualification,
    QualificationInput,
    QualifiedAs,
    Use,
    WaiverUse,
)
from harness.qualify.policy import KINDS_EXCUSED, Excuse, Policy, Waiver


def qualify(policy: Policy, case: QualificationInput, today: date) -> Qualification:
    """Judge a candidate. Every check starts as not met, so what was not measured does not qualify."""
    allowed, refused = _differences(policy, case)
    found = (
        _cells(policy, case),
        _checked("Required rules hold", _failures(policy, case), policy, case, today),
        _answers(policy, case, today),
        _applied(policy, case, today),
        _baseline(case),
        _checked("Nothing has changed since the baseline that the policy refuses", refused, policy, case, today),
    )
    uses = _uses(policy, case, found, today)
    checks = (*found, *_costs(policy, case), _expired(uses))
    return Qualification(
        _verdict(checks),
        policy,
        today,
        checks,
        uses,
        tuple(allowed),
        tuple(_known(case)),
        tuple(_outside(policy, case)),
    )


def _costs(policy: Policy, case: QualificationInput) -> Iterator[PolicyCheck]:
    if policy.cost is not None:
        kept, says = costs_kept(policy.cost, case.costs, case.cost_rows)
        title = f"No system call costs {policy.cost.by:g} % more instructions than on the baseline"
        yield PolicyCheck(title, "met" if kept else "not met", says)


def _verdict(checks: Iterable[PolicyCheck]) -> QualifiedAs:
    outcomes = {check.met for check in checks}
    if "not met" in outcomes:
        return "not qualified"
    return "qualified with waivers" if "waived" in outcomes else "qualified"


def _cells(policy: Policy, case: QualificationInput) -> PolicyCheck:
    missing = [arch for arch in policy.architectures if arch not in {side.arch for side in case.candidate}]
    says = f"no cell of the candidate is on {', '.join(missing)}" if missing else ", ".join(policy.architectures)
    return PolicyCheck("The candidate was tested on every architecture", "not met" if missing else "met", says)


def _results(case: QualificationInput) -> Iterator[tuple[Side, RuleResult]]:
    """Every result of the candidate, repeats of its cells included: a failure in one of them is a failure."""
    for side in case.candidate:
        for results in (side.results, *side.repeats):
            for result in results.values():
                yield side, result


def _failures(policy: Policy, case: QualificationInput) -> Iterator[Deviation]:
    for side, result in _results(case):
        if not policy.requires(result.rule):
            continue
        kinds: dict[Excuse, list[str]] = {}
        for verdict in result.verdicts:
            if verdict.status == "fail" and verdict.kind:
                kinds.setdefault(KINDS_EXCUSED[verdict.kind], []).append(f"{verdict.probe}: {told(verdict)}")
        for what, lines in kinds.items():
            says = f"fails ({what}) in {len(lines)} of {len(result.verdicts)} probes"
            yield Deviation(what, side.cell, result.rule.id, says, evidence=tuple(lines))


def _checked(
    title: str, found: Iterable[Deviation], policy: Policy, case: QualificationInput, today: date
) -> PolicyCheck:
    deviations = tuple(_excused(deviation, policy, case, today) for deviation in found)
    waived = [deviation for deviation in deviations if deviation.waiver]
    if len(waived) < len(deviations):
        return PolicyCheck(title, "not met", f"{len(deviations) - len(waived)} not excused", deviations)
    return PolicyCheck(title, "waived" if waived else "met", f"{len(waived)} excused" if waived else "", deviations)


def _excused(deviation: Deviation, policy: Policy, case: QualificationInput, today: date) -> Deviation:
    side = next(side for side in case.candidate if side.cell == deviation.cell)
    for waiver in policy.waivers:
        speaks = waiver.rule == deviation.rule and deviation.what in waiver.excuses and waiver.covers(side)
        if speaks and not waiver.expired(today):
            return replace(deviation, waiver=waiver)
    return deviation


def _answers(policy: Policy, case: QualificationInput, today: date) -> PolicyCheck:
    title = f"At least {policy.coverage.answered} % of the required probes gave an answer on every cell"
    found, short = [], []
    for side in case.candidate:
        missing, asked, waived = 0, 0, 0
        for result in _required(policy, side):
            silent = [v for v in result.verdicts if v.status in ("error", "miss")]
            asked, missing = asked + len(result.verdicts), missing + len(silent)
            if silent:
                says = f"gave no answer in {len(silent)} of {len(result.verdicts)} probes"
                lines = tuple(f"{v.probe}: {told(v)}" for v in silent)
                deviation = Deviation("no answer", side.cell, result.rule.id, says, evidence=lines)
                found.append(_excused(deviation, policy, case, today))
                waived += len(silent) if found[-1].waiver else 0
        if not asked or 100 * (asked - missing + waived) < policy.coverage.answered * asked:
            short.append(f"{side.cell}: {asked - missing} of {asked} probes")
        elif unasked := [rule.id for rule in case.rules if policy.requires(rule) and rule.id not in side.results]:
            short.append(f"{side.cell}: {len(unasked)} required rules were not asked, the first is {unasked[0]}")
        elif unrun := [suite for suite in policy.suites if suite not in {r.rule.family for r in side.results.values()}]:
            short.append(f"{side.cell}: the suite {unrun[0]} was not run")
        elif side.cell in case.unfinished:
            short.append(f"{side.cell}: {case.unfinished[side.cell]}")
    if short:
        return PolicyCheck(title, "not met", "; ".join(short), tuple(found))
    return PolicyCheck(title, "waived" if any(d.waiver for d in found) else "met", "", tuple(found))


def _required(policy: Policy, side: Side) -> Iterator[RuleResult]:
    for results in (side.results, *side.repeats):
        yield from (result for result in results.values() if policy.requires(result.rule))


@dataclass(frozen=True)
class _Share:
    """How many of the required probes applied on one cell, by family; ``missed`` are families that nothing excuses."""

    side: Side
    asked: Counter[str]
    applied: Counter[str]
    missed: frozenset[str]

    @property
    def says(self) -> str:
        return f"{self.side.cell}: {self.applied.total()} of {self.asked.total()}"


def _applied(policy: Policy, case: QualificationInput, today: date) -> PolicyCheck:
    """What does not apply to a kernel is no promise kept: where nothing did, nothing was qualified."""
    shares = [_share(policy, case, side, today) for side in case.candidate]
    says = "; ".join(share.says for share in shares)
    met = bool(shares) and all(share.applied.total() for share in shares)
    wanted = policy.coverage.applied
    if wanted is not None:
        title = f"At least {wanted} % of the required probes applied on every cell"
        met = met and all(100 * share.applied.total() >= wanted * share.asked.total() for share in shares)
        return PolicyCheck(title, "met" if met else "not met", says)
    title = "Required probes of every family applied on every architecture"
    idle = [f"none of {', '.join(found)} on {arch}" for arch, found in _idle(shares).items() if found]
    return PolicyCheck(title, "met" if met and not idle else "not met", "; ".join([says, *idle]))


def _share(policy: Policy, case: QualificationInput, side: Side, today: date) -> _Share:
    asked, applied = Counter[str](), Counter[str]()
    missed = set()
    for result in _required(policy, side):
        asked[result.rule.family] += len(result.verdicts)
        applied[result.rule.family] += sum(v.status not in ("skip", "error", "miss") for v in result.verdicts)
        if not _may_be_idle(policy, case, side, result.rule, today):
            missed.add(result.rule.family)
    return _Share(side, asked, applied, frozenset(missed))


def _idle(shares: Sequence[_Share]) -> Mapping[str, list[str]]:
    """Families of which nothing applied on any cell of an architecture: one machine may lack what another has."""
    found: dict[str, list[str]] = {}
    for arch in dict.fromkeys(share.side.arch for share in shares):
        here = [share for share in shares if share.side.arch == arch]
        families = dict.fromkeys(family for share in here for family in share.asked)
        applied = {family for share in here for family in share.applied if share.applied[family]}
        missed = {family for share in here for family in share.missed}
        found[arch] = [family for family in families if family in missed - applied]
    return found


def _may_be_idle(policy: Policy, case: QualificationInput, side: Side, rule: Check, today: date) -> bool:
    """Whether the policy expects that a rule lost its coverage on this cell, or excuses that it gives no answer."""
    silent = Deviation("no answer", side.cell, rule.id, "")
    expected = any(allowed.speaks_for(rule.id, "lost coverage") for allowed in policy.differences.allow)
    return expected or _excused(silent, policy, case, today).waiver is not None


def _baseline(case: QualificationInput) -> PolicyCheck:
    paired = {pair.after.cell for pair in case.pairs if pair.before.results}
    missing = [side.cell for side in case.candidate if side.cell not in paired]
    says = f"no baseline for {', '.join(missing)}" if missing else f"{len(case.pairs)} compared"
    return PolicyCheck("Every cell has a baseline", "not met" if missing or not case.candidate else "met", says)


def _differences(policy: Policy, case: QualificationInput) -> tuple[list[AllowedUse], list[Deviation]]:
    allowed, refused = [], []
    for pair in case.pairs:
        for rule in pair.rules:
            for change in (c for c in policy.differences.refused if rule.counts.get(c)):
                words, lines = _words(pair, rule, change)
                expected = next((a for a in policy.differences.allow if a.speaks_for(rule.rule.id, change)), None)
                if expected:
                    allowed.append(AllowedUse(pair.after.cell, rule.rule.id, change, words, expected.reason))
                    continue
                for what in _must_be_excused(rule, change):
                    needs = _configuration(rule, change)
                    found = Deviation(what, pair.after.cell, rule.rule.id, words, evidence=lines, configuration=needs)
                    refused.append(found)
    return allowed, refused


def _configuration(rule: RuleChange, change: Change) -> str:
    """What a rule that lost its coverage needs of a kernel's configuration; "" for any other change or reason."""
    reasons = {probe.after.reason if probe.after else "" for probe in rule.probes if probe.change == change}
    if change != "lost coverage" or len(reasons) != 1:
        return ""
    (reason,) = reasons
    return reason if reason.startswith("needs a kernel built ") else ""


def _words(pair: Pair, rule: RuleChange, change: Change) -> tuple[str, tuple[str, ...]]:
    probes = [probe for probe in rule.probes if probe.change == change]
    lines = tuple(f"{probe.probe}: {told(probe.before)} → {told(probe.after)}" for probe in probes)
    return f"{change} in {len(probes)} of {sum(rule.counts.values())} probes: {phrase(pair, probes[0])}", lines


def _must_be_excused(rule: RuleChange, change: Change) -> tuple[Excuse, ...]:
    """An introduced failure is excused by its kinds; every other change by its own name."""
    match change:
        case "introduced" | "unstable":
            verdicts = [probe.after for probe in rule.probes if probe.change == change]
            return tuple(dict.fromkeys(KINDS_EXCUSED[v.kind] for v in verdicts if v and v.kind)) or ("interface",)
        case "lost coverage" | "flaky":
            return (change,)
        case _:
            return ("changed",)


def _uses(
    policy: Policy, case: QualificationInput, checks: Sequence[PolicyCheck], today: date
) -> tuple[WaiverUse, ...]:
    used = [deviation.waiver for check in checks for deviation in check.deviations if deviation.waiver]
    found = []
    for waiver in policy.waivers:
        cells = tuple(side.cell for side in case.candidate if waiver.covers(side))
        use: Use = "not needed"
        if waiver.expired(today):
            use = "expired"
        elif waiver in used:
            use = "used"
        elif cells:
            # The rule is kept, or its failure is of a kind this waiver does not excuse.
            use = "stale" if _kept_again(waiver, case) else "not needed"
        found.append(WaiverUse(waiver, use, cells))
    return tuple(found)


def _kept_again(waiver: Waiver, case: QualificationInput) -> bool:
    results = [result for side, result in _results(case) if waiver.covers(side) and result.rule.id == waiver.rule]
    return bool(results) and all(result.status in ("pass", "observed", "fixed") for result in results)


def _expired(uses: Sequence[WaiverUse]) -> PolicyCheck:
    over = [use.waiver for use in uses if use.use == "expired" and use.cells]
    says = "; ".join(f"{waiver.rule} ({waiver.owner}) expired on {waiver.expires}" for waiver in over)
    return PolicyCheck("No waiver for this candidate has expired", "not met" if over else "met", says)


def _known(case: QualificationInput) -> Iterator[str]:
    for side, result in _results(case):
        if result.status in ("known", "fixed"):
            yield f"{side.cell}: {result.rule.id}: {result.status}: {result.worst.reason}"


def _outside(policy: Policy, case: QualificationInput) -> Iterator[str]:
    """What failed or gave no answer, and is not asked for."""
    for side, result in _results(case):
        if not policy.requires(result.rule) and result.status in ("fail", "error", "miss"):
            yield f"{side.cell}: {result.rule.id} ({result.rule.level}): {told(result.worst)}"
