"""What failing probes have in common: from hundreds of verdicts to the few sentences that explain them. Pure.

One missing check in the kernel makes a dozen rules fail in hundreds of probes. A *cause* is a condition (a system call,
a region, a span, what had happened before ...) under which nearly every probe that was judged fails. Causes are chosen
greedily: the condition that covers most failures first, among equals the narrower, then the plainer one. Every failing
probe belongs to exactly one cause, so nothing is hidden and the numbers add up.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations

from harness.model.rule import Check, Outcome, Test
from harness.model.verdict import KINDS, Kind, RuleResult, Verdict

PURE = 0.75
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
_NAMED = 4  # calls, before they are "every call"
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
    "past": "where a sealed mapping goes on past the range",
    "before-range": "where a sealed mapping begins before the range",
    "inside": "inside one sealed mapping, with sealed memory on both sides",
    "whole": "where the range covers whole sealed mappings",
    "plain-first": "where the range begins in plain memory",
    "plain-last": "where the range ends in plain memory",
    "gap": "where the range has a hole",
    "beside": "on plain memory beside sealed memory",
}
_MEMORY = {
    "anon": "private anonymous memory",
    "shared": "shared anonymous memory",
    "memfd": "memfds",
    "file": "mapped files",
    "hugetlb": "huge pages (hugetlb)",
    "sysv": "System V shared memory",
    "stack": "stacks",
    "heap": "the heap",
    "text": "program text",
    "zero": "mappings of /dev/zero",
    "uffd": "memory under userfaultfd",
    "pkey": "memory under a protection key",
    "secretmem": "secret memory",
    "droppable": "droppable memory",
    "vdso": "the vDSO",
    "vvar": "the vvar pages",
    "object": "shared objects, as a loader maps them",
    "jit": "memory that is both written and executed",
    "slab": "slabs and their guard pages",
    "generated": "generated programs",
}
# Operations that take memory away, whatever system call they are: the kernel has one place for all of them.
_UNMAPS = (
    "munmap", "mmap-fixed", "mremap-onto", "mremap-shrink", "mremap-move-shrink", "shmat-remap", "remap-file-pages",
    "brk-shrink", "shmdt",
)  # fmt: skip
# How each span lies: p plain, s sealed, g a gap; upper case is what the operation covers (``--list`` says the same).
LAYOUTS: Mapping[str, str] = {
    "exact": "SSS", "plain": "pPPp", "beside": "sPs", "middle": "sSs", "into": "pPSs", "head": "SSs", "tail": "sSS",
    "out-of": "sSPp", "around": "PSP", "across-holes": "SPS", "first": "SPP", "last": "PPS", "before": "Ps",
    "after": "sP", "gap-amid": "SGS", "gap-around": "GSG", "gap-before": "Gs", "gap-after": "sG", "gap-between": "sGs",
    "four": "SSSS", "second": "sSss", "third": "ssSs", "fourth": "sssS", "fourth-plain": "sssP",
    "beside-four": "ssssPPPP", "first-of-four": "SPPP", "above-first": "sPPP",
}  # fmt: skip
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
        text = _HEADLINES[self.kind].format(call=self._subject) if self.kind else f"{self._subject} fails"
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
    judged = [
        _Judged(result.rule, verdict, features(verdict.probe, _demand(result.rule, verdict)))
        for result in results
        for verdict in result.verdicts
        if verdict.status == "fail" or (verdict.status == "pass" and _speaks(result.rule, verdict))
    ]
    if not any(one.failed for one in judged):
        return []
    failed = Counter(condition for one in judged if one.failed for condition in _conditions(one.features))
    everything: Counter[Features] = Counter()
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
    return found


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


Features = frozenset[tuple[str, str]]


@cache
def features(probe: str, demand: str) -> Features:
    """Return what can be said of a probe: (name, value) pairs, from its id alone."""
    operation, region, span = (*probe.split("/"), "", "")[:3]
    said = {"demand": demand, "region": region, "memory": region.partition("-")[0]}
    if span in LAYOUTS:
        said |= {"span": span} | dict.fromkeys(places(LAYOUTS[span]), "yes")
    if demand == "stay":  # it is mseal that is looked at, whatever follows it
        return frozenset({**said, "call": "mseal"}.items())
    last = _last_call(operation)
    said |= {"operation": operation, "call": call_of(operation)}
    if last.startswith(_UNMAPS):
        said["does"] = "unmap"
    if operation.startswith("after-"):
        said["before"] = operation.removeprefix("after-").removesuffix(last).strip("-")
    if by := next((words for start, words in _BY.items() if operation.startswith(start)), ""):
        said["by"] = by
    return frozenset(said.items())


def places(layout: str) -> Iterator[str]:
    """How an operation's range lies over sealed memory, from its layout."""
    start = next((i for i, c in enumerate(layout) if c.isupper()), 0)
    stop = len(layout) - next((i for i, c in enumerate(reversed(layout)) if c.isupper()), 0)
    inside, left, right = layout[start:stop], layout[:start][-1:], layout[stop:][:1]
    if "S" not in inside:
        yield from ("beside",) if "P" in inside else ()
        return
    begins, ends = inside[0] == "S" and left == "s", inside[-1] == "S" and right == "s"
    found = {
        "inside": begins and ends,
        "before-range": begins and not ends,
        "past": ends and not begins,
        "whole": not begins and not ends,
        "plain-first": inside[0] == "P",
        "plain-last": inside[-1] == "P",
        "gap": "G" in inside,
    }
    yield from (name for name, is_so in found.items() if is_so)


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
_PLAINNESS = ("call", "does", *_PLACES, "memory", "before", "by", "region", "span", "operation", "demand")


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
        where=_where(facts),
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
    return _where(dict(plainest[:1]))


def _where(facts: Mapping[str, str]) -> str:
    words = [
        f"after {facts['before']}" if "before" in facts else "",
        facts.get("by", ""),
        f"by {facts['operation']}" if "operation" in facts else "",
        _on(facts),
        " and ".join(words for name, words in _PLACES.items() if name in facts),
        f"in the span {facts['span']} ({LAYOUTS[facts['span']]})" if "span" in facts else "",
    ]
    return " ".join(filter(None, words))


def _on(facts: Mapping[str, str]) -> str:
    """The memory, as people call it; a region by its name behind that."""
    memory = facts.get("memory") or facts.get("region", "").partition("-")[0]
    if not memory:
        return ""
    named = f" ({facts['region']})" if "region" in facts else ""
    return f"on {_MEMORY.get(memory, f'{memory} memory')}{named}"


_PLAIN_REGIONS = ("anon-rw", "anon-r", "anon-none", "shared-anon-rw", "memfd-private-rw")


def plainness(verdict: Verdict) -> tuple[object, ...]:
    """Sorts verdicts so that the one a person understands first stands first: an ordinary call on ordinary memory."""
    operation, region, span = (*verdict.probe.split("/"), "", "")[:3]
    unusual = operation.startswith(("after-", "race-", "fork-", "thread-", "system-", "page-zero-", "process-"))
    rank = _PLAIN_REGIONS.index(region) if region in _PLAIN_REGIONS else len(_PLAIN_REGIONS)
    return unusual, rank, span != "exact", len(operation), verdict.probe
