"""What failing probes have in common: from hundreds of verdicts to the few sentences that explain them. Pure.

One missing check in the kernel makes a dozen rules fail in hundreds of probes. A *cause* is a condition (a system call,
a region, a span, what had happened before ...) under which nearly every probe that was judged fails. Causes are chosen
greedily: the condition that covers most failures first, among equals the narrower, then the plainer one. Every failing
probe belongs to exactly one cause, so nothing is hidden and the numbers add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from harness.model.rule import Check, Outcome, Test
from harness.model.verdict import KINDS, Kind, RuleResult, Verdict
from harness.verdicts.crash_reason import is_of_lost_memory, shared_crash
from harness.verdicts.features import PLACES, Features, features, plainness, where_of

PURE = 0.75
"""The share of judged probes under a condition that must fail before the condition counts as an explanation."""

_NAMED = 4  # calls, before they are "every call"
# Which outcomes are judged against each other: a probe that must be refused says nothing of one that must succeed.
# Sealed memory that was harmed is one demand, whichever rule's probe saw it.
_DEMANDS: Mapping[Outcome, str] = {
    "blocked": "guard",
    "undefined": "guard",
    "permitted": "allow",
    "interface": "answer",
    "unchanged": "stay",
    "open": "guard",
    "uncovered": "guard",
}
_HARMS: Mapping[Kind | None, str] = {"bypass": "guard", "seal-lost": "guard", "crash": "live", "hang": "end"}
_HEADLINES: Mapping[Kind, str] = {
    "bypass": "{call} gets at sealed memory",
    "crash": "the kernel crashes in {call}",
    "hang": "{call} hangs on sealed memory",
    "changed-by-mseal": "mseal changes more than the seal",
    "seal-lost": "{call} loses the seal",
    "not-atomic": "{call} is refused after it has changed something",
    "wrong-errno": "{call} gives the wrong error",
    "over-blocked": "{call} is refused where it is allowed",
    "interface": "{call} does not answer as documented",
    "test": "{call} fails",
}


@dataclass(frozen=True)
class Cause:
    """One explanation on one cell.

    ``call`` is the system call, "" where it is about several (``calls``), and ``unmaps`` says that these take memory
    away. ``where`` is the condition, "" for everywhere, and ``spared`` where it does not show nevertheless. ``failed``
    and ``judged`` count the probes under it, ``kinds`` the verdicts. ``verdicts`` are all that fail, the one that shows
    it most plainly first.
    """

    call: str
    calls: tuple[str, ...]
    kind: Kind | None
    where: str
    spared: str
    unmaps: bool
    failed: int
    judged: int
    rules: tuple[str, ...]
    probes: tuple[str, ...]
    kinds: Mapping[Kind | None, int]
    verdicts: tuple[Verdict, ...]
    suite: bool = False

    @property
    def first(self) -> Verdict:
        """The plainest verdict of the gravest kind."""
        return self.verdicts[0]

    @property
    def headline(self) -> str:
        """What broke, in which call and for which memory, or in which foreign suite."""
        if self.suite:
            counted = f"{self.failed} of {_count(self.judged, 'test')} fail" + ("s" if self.failed == 1 else "")
            return f"the kernel crashes while {self.call} runs" if self.kind == "crash" else f"{self.call}: {counted}"
        if self.kind == "crash" and (title := shared_crash(self.first.reason)):
            return f"the kernel crashes while one of several probes runs: {title}"
        text = _HEADLINES[self.kind].format(call=self._subject) if self.kind else f"{self._subject} fails"
        if self.kind == "crash" and is_of_lost_memory(self.first.reason):
            text = f"the kernel loses memory in {self._subject}"
        if self.kind == "bypass" and (self.unmaps or len(self.calls) <= _NAMED) and "sealed 0" in self.first.observed:
            text = f"{self._subject} no longer looks at the seal"
        if self.judged == 1:
            return f"{text}: only in {self.first.probe}"
        if self._fails_in_part:
            return f"{text}: in {self._share}{f', {self.where}' if self.where else ''}"
        most = "" if self.failed == self.judged else "nearly "
        where = f"only {self.where}" if self.where else f"{most}every region and span"
        return f"{text}: {where}{f', but not {self.spared}' if self.spared else ''}"

    @property
    def _share(self) -> str:
        return f"{self.failed} of {_count(self.judged, 'probe')}"

    @property
    def _fails_in_part(self) -> bool:
        """Whether the condition does not explain the failures, only narrows them down."""
        return self.failed < PURE * self.judged

    @property
    def _subject(self) -> str:
        if self.call:
            return self.call
        if self.unmaps:
            return f"unmapping ({', '.join(self.calls)})"
        *others, last = self.calls
        return f"{', '.join(others)} or {last}" if len(self.calls) <= _NAMED else "every call"

    @property
    def sentence(self) -> str:
        """The headline and how much says so."""
        if self.suite:
            return self.headline
        rules, probes = _count(len(self.rules), "rule"), _count(self.failed, "probe")
        if self._fails_in_part:
            return f"{self.headline} ({rules})"
        return f"{self.headline} ({rules}, {probes if self.failed == self.judged else self._share})"


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def causes(results: Iterable[RuleResult]) -> tuple[Cause, ...]:
    """Return the causes of one cell's failures, gravest first. Of a foreign suite nothing is known but its name."""
    every = list(results)
    found = _causes_of_rules([result for result in every if not isinstance(result.rule, Test)])
    found += _causes_of_suites([result for result in every if isinstance(result.rule, Test)])
    return tuple(sorted(found, key=lambda cause: (cause.first.badness, -len(cause.probes))))


def _causes_of_suites(results: Sequence[RuleResult]) -> list[Cause]:
    found = []
    for suite in dict.fromkeys(result.rule.family for result in results):
        told = [result.worst for result in results if result.rule.family == suite]
        failed = sorted((verdict for verdict in told if verdict.status == "fail"), key=lambda verdict: verdict.badness)
        if failed:
            ids = tuple(verdict.probe for verdict in failed)
            kinds = Counter(verdict.kind for verdict in failed)
            found.append(
                Cause(
                    call=suite,
                    calls=(suite,),
                    kind=failed[0].kind,
                    where="",
                    spared="",
                    unmaps=False,
                    failed=len(failed),
                    judged=len(told),
                    rules=ids,
                    probes=ids,
                    kinds=kinds,
                    verdicts=tuple(failed),
                    suite=True,
                )
            )
    return found


def _causes_of_rules(results: Sequence[RuleResult]) -> list[Cause]:
    if not any(verdict.status == "fail" for result in results for verdict in result.verdicts):
        return []
    judged = [
        _Judged(result.rule, verdict, features(verdict.probe, _demand(result.rule, verdict)))
        for result in results
        for verdict in result.verdicts
        if verdict.status == "fail" or (verdict.status == "pass" and _speaks(result.rule, verdict))
    ]
    found, judged = _shared_crashes(judged)
    if not any(one.failed for one in judged):
        return found
    failed = Counter(condition for one in judged if one.failed for condition in _conditions(one.features))
    everything: Counter[Features] = Counter()
    for one in judged:
        everything.update(condition for condition in _conditions(one.features) if condition in failed)
    while any(failed.values()):
        best = _best(failed, everything)
        found.append(_cause(best, [one for one in judged if best <= one.features]))
        explained = [one for one in judged if one.failed and best <= one.features]
        for one in explained:
            failed.subtract(_conditions(one.features))
            everything.subtract(_conditions(one.features))
        judged = [one for one in judged if not (one.failed and best <= one.features)]
    return found


def _shared_crashes(judged: Sequence[_Judged]) -> tuple[list[Cause], list[_Judged]]:
    """One cause for each report that fell on many probes, and the rest. Most of those did nothing to bring it about, so
    what they have in common explains nothing."""
    by_title: dict[str, list[_Judged]] = {}
    rest: list[_Judged] = []
    for one in judged:
        title = shared_crash(one.verdict.reason) if one.failed and one.verdict.kind == "crash" else ""
        (by_title.setdefault(title, []) if title else rest).append(one)
    return [_cause(frozenset(), covered) for covered in by_title.values()], rest


def _demand(rule: Check, verdict: Verdict) -> str:
    """What a probe was to show. What sealing itself changed is a demand of its own, however it failed."""
    demand = _DEMANDS[rule.outcome]
    return demand if demand == "stay" else _HARMS.get(verdict.kind, demand)


def _speaks(rule: Check, verdict: Verdict) -> bool:
    """Whether a pass tells that the seal was looked at: where any answer is right, only a refusal does."""
    return rule.outcome != "undefined" or "sealed EPERM" in verdict.observed


@dataclass(frozen=True)
class _Judged:
    rule: Check
    verdict: Verdict
    features: frozenset[tuple[str, str]]

    @property
    def failed(self) -> bool:
        return self.verdict.status == "fail"


@cache
def _conditions(said: Features) -> tuple[Features, ...]:
    """Conditions that one failure suggests, the plainest first. What is demanded is part of each."""
    facts = dict(said)
    demand = ("demand", facts.pop("demand"))
    return tuple(
        frozenset((demand, *((name, facts[name]) for name in names)))
        for size in (1, 2)
        for names in combinations(sorted(facts), size)
    )


def _best(failed: Mapping[Features, int], everything: Mapping[Features, int]) -> Features:
    left = [condition for condition, count in failed.items() if count]
    pure = [condition for condition in left if failed[condition] >= PURE * everything[condition]]
    calls = [c for c in left if len(c) == _CALL_ALONE and any(name == "call" for name, _ in c)]
    return min(pure or calls, key=lambda c: (-failed[c], everything[c], len(c), _rank(c), sorted(c)))


_FEW = 0.2  # of a cause's verdicts
_SPARED = 3  # passes, before they are a fact to tell
_CALL_ALONE = 2  # what is demanded, and the call
_PLAINNESS = ("call", "does", *PLACES, "memory", "before", "by", "region", "span", "operation", "demand")


def _rank(condition: Features) -> list[int]:
    """Among conditions that cover the same, the one in plainer terms."""
    return sorted(_PLAINNESS.index(name) for name, _ in condition)


def _cause(condition: Features, under: Sequence[_Judged]) -> Cause:
    facts = dict(condition)
    covered = [one for one in under if one.failed]
    verdicts = [one.verdict for one in covered]
    probes = tuple(dict.fromkeys(verdict.probe for verdict in verdicts))
    kinds = Counter(verdict.kind for verdict in verdicts)
    shown = _shown(kinds)
    calls = tuple(dict.fromkeys(dict(one.features)["call"] for one in covered))
    return Cause(
        call=facts.get("call") or (calls[0] if len(calls) == 1 else ""),
        calls=calls,
        kind=shown,
        where=where_of(facts),
        spared=_spared(under),
        unmaps="does" in facts,
        failed=len(probes),
        judged=len({one.verdict.probe for one in under}),
        rules=tuple(dict.fromkeys(one.rule.id for one in covered)),
        probes=probes,
        kinds={kind: kinds[kind] for kind in (*KINDS, None) if kinds[kind]},
        verdicts=tuple(sorted(verdicts, key=lambda v: (v.kind != shown, v.badness, plainness(v)))),
    )


def _shown(kinds: Mapping[Kind | None, int]) -> Kind | None:
    """The kind a cause is told by: the gravest, unless that is seen of few among many."""
    few = sum(kinds.values()) * _FEW
    return next((kind for kind in KINDS if kinds.get(kind, 0) > few), max(kinds, key=lambda kind: kinds[kind]))


def _spared(under: Sequence[_Judged]) -> str:
    """Where, under a cause's condition, what it says does not happen: one plain fact that nearly all passes share."""
    kept = [one for one in under if not one.failed]
    if len(kept) < _SPARED:
        return ""
    passing = Counter(fact for one in kept for fact in one.features)
    failing = Counter(fact for one in under if one.failed for fact in one.features)
    facts = [
        fact
        for fact, count in passing.items()
        if fact[0] not in ("demand", "call") and count >= PURE * len(kept) and failing[fact] <= (1 - PURE) * count
    ]
    plainest = sorted(facts, key=lambda fact: (-passing[fact], _rank(frozenset([fact])), fact))
    return where_of(dict(plainest[:1]))
