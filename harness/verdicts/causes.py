"""What failing probes have in common: from hundreds of verdicts to the few sentences that explain them. Pure.

One missing check in the kernel makes a dozen rules fail in hundreds of probes. A *cause* is a condition (a system call,
a region, a span, what had happened before ...) under which nearly every probe that was judged fails. Causes are chosen
greedily: the condition that covers most failures first, the plainer one among equals. Every failing probe belongs to
exactly one cause, so nothing is hidden and the numbers add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from harness.model.rule import Outcome, Rule
from harness.model.verdict import KINDS, Kind, RuleResult, Verdict

PURE = 0.9
"""The share of judged probes under a condition that must fail before the condition counts as an explanation."""

_CALLS = (
    ("pkey-mprotect", "mprotect"),
    ("mprotect", "mprotect"),
    ("munmap", "munmap"),
    ("mmap-fixed", "mmap(MAP_FIXED)"),
    ("mmap", "mmap"),
    ("mremap", "mremap"),
    ("madvise", "madvise"),
    ("mseal", "mseal"),
    ("brk", "brk"),
    ("stack", "a growing stack"),
    ("remap-file-pages", "remap_file_pages"),
    ("shmat", "shmat"),
    ("shmdt", "shmdt"),
    ("mlock", "mlock"),
    ("munlock", "munlock"),
    ("mbind", "mbind"),
    ("msync", "msync"),
    ("clear-refs", "clear_refs"),
    ("uffd", "userfaultfd"),
    ("proc-mem", "/proc/PID/mem"),
    ("ptrace", "ptrace"),
    ("process-vm-write", "process_vm_writev"),
    ("file", "a change of the file"),
)
_BY = {
    "thread-": "in a thread",
    "fork-": "in a forked child",
    "vfork-": "in a vforked child",
    "process-madvise": "by process_madvise",
    "race-": "in a race with mseal",
    "pkey-mprotect": "by pkey_mprotect",
    "system-": "on the kernel's own mappings",
    "page-zero-": "on the page at address zero",
}
_PLACES = {
    "ends": "where the sealed mapping goes on past the range",
    "begins": "where the sealed mapping begins before the range",
    "inside": "inside one sealed mapping, with sealed memory on both sides",
    "whole": "over whole sealed mappings",
    "mixed-first": "where the range begins in plain memory",
    "mixed-last": "where the range begins sealed and ends in plain memory",
    "gap": "where the range has a hole",
    "beside": "on plain memory beside sealed memory",
}
# Which outcomes are judged against each other: a probe that must be refused says nothing of one that must succeed.
_DEMANDS: Mapping[Outcome, str] = {
    "blocked": "refuse",
    "undefined": "refuse",
    "permitted": "allow",
    "interface": "answer",
    "unchanged": "stay",
    "open": "keep",
    "uncovered": "keep",
}
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
}


@dataclass(frozen=True)
class Cause:
    """One explanation on one cell. ``where`` says under which condition, "" for everywhere; ``failed`` and ``judged``
    count the probes under it; ``kinds`` count the verdicts; ``first`` is the plainest verdict that shows it."""

    call: str
    kind: Kind | None
    where: str
    failed: int
    judged: int
    rules: tuple[str, ...]
    probes: tuple[str, ...]
    kinds: Mapping[Kind | None, int]
    first: Verdict

    @property
    def headline(self) -> str:
        """The cause in one sentence."""
        subject = self.call or "every call"
        text = _HEADLINES[self.kind].format(call=subject) if self.kind else f"{subject} fails"
        if self.kind == "bypass" and self.first.observed and "sealed 0" in self.first.observed:
            text = f"{subject} no longer looks at the seal"
        if self.failed < PURE * self.judged:
            return f"{text} in {self.failed} of {self.judged} probes{f': {self.where}' if self.where else ''}"
        share = "" if self.failed == self.judged else f" ({self.failed} of {self.judged} probes)"
        return f"{text}{': ' if self.where else ' everywhere'}{self.where}{share}"


def causes(results: Iterable[RuleResult]) -> tuple[Cause, ...]:
    """Return the causes of one cell's failures, gravest first."""
    judged = [
        _Judged(result.rule, verdict, features(verdict.probe, _DEMANDS[result.rule.outcome]))
        for result in results
        for verdict in result.verdicts
        if verdict.status in ("fail", "pass")
    ]
    failed = Counter(condition for one in judged if one.failed for condition in _conditions(one.features))
    everything: Counter[Condition] = Counter()
    for one in judged:
        everything.update(condition for condition in _conditions(one.features) if condition in failed)
    found: list[Cause] = []
    while any(failed.values()):
        best = _best(failed, everything)
        found.append(_cause(best, [one for one in judged if best <= one.features]))
        explained = [one for one in judged if one.failed and best <= one.features]
        for one in explained:
            failed.subtract(_conditions(one.features))
            everything.subtract(_conditions(one.features))
        judged = [one for one in judged if not (one.failed and best <= one.features)]
    return tuple(sorted(found, key=lambda cause: (cause.first.badness, -len(cause.probes))))


@dataclass(frozen=True)
class _Judged:
    rule: Rule
    verdict: Verdict
    features: frozenset[tuple[str, str]]

    @property
    def failed(self) -> bool:
        return self.verdict.status == "fail"


Condition = frozenset[tuple[str, str]]


@cache
def features(probe: str, demand: str) -> Condition:
    """Return what can be said of a probe: (name, value) pairs, from its id alone."""
    operation, region, span = (*probe.split("/"), "", "")[:3]
    said = {"demand": demand, "operation": operation, "region": region, "call": call_of(operation)}
    said["memory"] = region.partition("-")[0]
    if place := _SPANS.get(span):
        said["place"] = place
    if operation.startswith("after-"):
        said["before"] = operation.removeprefix("after-").removesuffix(_last_call(operation)).strip("-")
    if by := next((words for start, words in _BY.items() if operation.startswith(start)), ""):
        said["by"] = by
    return frozenset(said.items())


_SPANS = {
    "exact": "whole",
    "head": "ends",
    "middle": "inside",
    "tail": "begins",
    "into": "mixed-first",
    "around": "mixed-first",
    "last": "mixed-first",
    "out-of": "mixed-last",
    "first": "mixed-last",
    "across-holes": "mixed-last",
    "gap-amid": "gap",
    "gap-around": "gap",
    "beside": "beside",
    "before": "beside",
    "after": "beside",
}


def call_of(operation: str) -> str:
    """Return the system call that an operation's name tells, as people write it; the name where it tells none."""
    last = _last_call(operation)
    return next((call for word, call in _CALLS if last.startswith(word)), operation)


def _last_call(operation: str) -> str:
    """The part of a name from its last call on: ``after-mlock-munmap`` is about munmap."""
    if not operation.startswith(
        ("after-", "fork-", "vfork-", "thread-", "race-", "system-", "page-zero-", "process-m")
    ):
        return operation
    found = [(operation.rfind(f"-{word}"), word) for word, _ in _CALLS]
    at, _ = max(found, key=lambda pair: (pair[0], len(pair[1])))
    return operation[at + 1 :] if at >= 0 else operation


@cache
def _conditions(said: Condition) -> tuple[Condition, ...]:
    """Conditions that one failure suggests, the plainest first. What is demanded is part of each."""
    facts = dict(said)
    demand = ("demand", facts.pop("demand"))
    return tuple(
        frozenset((demand, *((name, facts[name]) for name in names)))
        for size in (1, 2)
        for names in combinations(sorted(facts), size)
    )


def _best(failed: Mapping[Condition, int], everything: Mapping[Condition, int]) -> Condition:
    left = [condition for condition, count in failed.items() if count]
    pure = [condition for condition in left if failed[condition] >= PURE * everything[condition]]
    calls = [c for c in left if len(c) == _CALL_ALONE and any(name == "call" for name, _ in c)]
    return min(pure or calls, key=lambda c: (-failed[c], len(c), _rank(c), sorted(c)))


_CALL_ALONE = 2  # what is demanded, and the call
_PLAINNESS = ("call", "place", "memory", "before", "by", "region", "operation", "demand")


def _rank(condition: Condition) -> list[int]:
    """Among conditions that cover the same, the one in plainer terms."""
    return sorted(_PLAINNESS.index(name) for name, _ in condition)


def _cause(condition: Condition, under: Sequence[_Judged]) -> Cause:
    facts = dict(condition)
    covered = [one for one in under if one.failed]
    verdicts = [one.verdict for one in covered]
    probes = tuple(dict.fromkeys(verdict.probe for verdict in verdicts))
    kinds = Counter(verdict.kind for verdict in verdicts)
    gravest = next((kind for kind in KINDS if kinds[kind]), None)
    calls = {dict(one.features)["call"] for one in covered}
    return Cause(
        call=facts.get("call") or (calls.pop() if len(calls) == 1 else ""),
        kind=gravest,
        where=_where(facts),
        failed=len(probes),
        judged=len({one.verdict.probe for one in under}),
        rules=tuple(dict.fromkeys(one.rule.id for one in covered)),
        probes=probes,
        kinds={kind: kinds[kind] for kind in (*KINDS, None) if kinds[kind]},
        first=min((v for v in verdicts if v.kind == gravest), key=plainness),
    )


def _where(facts: Mapping[str, str]) -> str:
    words = [
        f"after {facts['before']}" if "before" in facts else "",
        facts.get("by", ""),
        f"({facts['operation']})" if "operation" in facts else "",
        f"on {facts['region']}" if "region" in facts else f"on {facts['memory']} memory" if "memory" in facts else "",
        _PLACES[facts["place"]] if "place" in facts else "",
    ]
    return " ".join(filter(None, words))


_PLAIN_REGIONS = ("anon-rw", "anon-r", "anon-none", "shared-anon-rw", "memfd-private-rw")


def plainness(verdict: Verdict) -> tuple[object, ...]:
    """Sorts verdicts so that the one a person understands first stands first: an ordinary call on ordinary memory."""
    operation, region, span = (*verdict.probe.split("/"), "", "")[:3]
    unusual = operation.startswith(("after-", "race-", "fork-", "thread-", "system-", "page-zero-", "process-"))
    rank = _PLAIN_REGIONS.index(region) if region in _PLAIN_REGIONS else len(_PLAIN_REGIONS)
    return unusual, rank, span != "exact", len(operation), verdict.probe
