"""What changed between two sides, probe by probe and rule by rule. Pure; sides may come from anywhere.

A probe *stands* in one of five ways, and the change from one standing to another is a table. A rule has the worst
change among its probes, so that nothing hides behind a rule that failed, or was skipped in part, already before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, Literal, get_args

from harness.model.rule import Check, KernelFacts
from harness.model.verdict import EXIT_FAILED, EXIT_NO_ANSWER, EXIT_OK, KINDS, RuleResult, Status, Verdict

Change = Literal["introduced", "unstable", "lost coverage", "flaky", "changed", "fixed", "gained", "unchanged"]
# Worst first; the first three are regressions. ``unstable`` is a failure that was seen in some repeats and not in all,
# where none was seen before; ``flaky`` is every other disagreement between repeats.
CHANGES: tuple[Change, ...] = get_args(Change)
REGRESSIONS: frozenset[Change] = frozenset({"introduced", "unstable", "lost coverage"})

ResultStanding = Literal["kept", "known", "broken", "skip", "none"]
_STANDINGS: Mapping[Status, ResultStanding] = {
    "pass": "kept", "observed": "kept", "fixed": "kept", "known": "known", "fail": "broken",
    "skip": "skip", "error": "none", "miss": "none",
}  # fmt: skip
ORDER: Mapping[Change, int] = {change: i for i, change in enumerate(CHANGES)}

# From the row's standing to the column's. ``same`` looks further, at what was observed. A failure where nothing was
# known before is introduced: nobody can say that it is an old one. Two skips are two times nothing to compare.
_COLUMNS: tuple[ResultStanding, ...] = ("kept", "known", "broken", "skip", "none")
_TABLE: Mapping[ResultStanding, tuple[Change | Literal["same"], ...]] = {
    "kept":   ("same",   "changed", "introduced", "lost coverage", "lost coverage"),
    "known":  ("fixed",  "same",    "introduced", "lost coverage", "lost coverage"),
    "broken": ("fixed",  "changed", "same",       "lost coverage", "lost coverage"),
    "skip":   ("gained", "gained",  "introduced", "unchanged",     "lost coverage"),
    "none":   ("gained", "gained",  "introduced", "gained",        "unchanged"),
}  # fmt: skip

Results = Mapping[str, RuleResult]


@dataclass(frozen=True)
class Side:
    """One cell as a comparison sees it. ``results`` are by rule id; ``repeats`` are those of its further repeats.

    ``run`` and ``cell`` say where it lies, ``kernel`` is its name in the matrix, ``version`` the upstream version it
    was built from ("" where no kernel could be had), ``release`` what it calls itself, ``page_size`` is in bytes (0
    where it never came up). ``started`` is UTC, in ISO 8601. ``trouble`` says why the cell, or a repeat of it, is not
    clean ("" when all are): its guest was lost, or its kernel crashed while no probe ran.
    """

    run: str
    cell: str
    kernel: str
    version: str
    arch: str
    profile: str
    flavour: str
    page_size: int
    results: Results = field(repr=False)
    repeats: tuple[Results, ...] = field(default=(), repr=False)
    facts: KernelFacts | None = None
    started: str = ""
    trouble: str = ""
    release: str = ""

    @cached_property
    def worst(self) -> Results:
        """The results with the worst that any repeat said of each probe: what a new side is judged by."""
        return _merged((self.results, *self.repeats), lambda verdict: verdict.badness)

    @cached_property
    def best(self) -> Results:
        """The results with the best answer that any repeat gave for each probe: what an old side could do."""
        return _merged((self.results, *self.repeats), lambda verdict: _COLUMNS.index(standing(verdict)))


def _merged(repeats: Sequence[Results], badness: Callable[[Verdict], Any]) -> Results:
    """One result a rule out of those of all repeats: of each probe the verdict that sorts first."""
    if len(repeats) == 1:
        return repeats[0]
    found: dict[str, RuleResult] = {}
    for name in dict.fromkeys(name for results in repeats for name in results):
        told = [results[name] for results in repeats if name in results]
        verdicts: dict[str, Verdict] = {}
        for verdict in (verdict for result in told for verdict in result.verdicts):
            kept = verdicts.setdefault(verdict.probe, verdict)
            if badness(verdict) < badness(kept):
                verdicts[verdict.probe] = verdict
        found[name] = RuleResult(told[0].rule, tuple(verdicts.values()))
    return found


@dataclass(frozen=True)
class ProbeChange:
    """One probe that did not stay as it was. None stands for a probe that was not planned.

    ``since`` is the side the ``before`` verdict is from. ``varied`` holds, where repeats of one cell disagreed, what
    they said, repeat by repeat; ``failed`` is in how many repeats of the later side it failed, where they disagreed.
    """

    probe: str
    change: Change
    before: Verdict | None
    after: Verdict | None
    since: Side = field(repr=False)
    varied: tuple[str, ...] = ()
    failed: int = 0


@dataclass(frozen=True)
class RuleChange:
    """One rule. ``probes`` are those that changed, worst first; ``counts`` counts all of them by change."""

    rule: Check
    change: Change
    before: RuleResult | None
    after: RuleResult | None
    probes: tuple[ProbeChange, ...]
    counts: Mapping[Change, int]

    @property
    def worst(self) -> ProbeChange | None:
        """The probe to tell first; None when nothing changed."""
        return self.probes[0] if self.probes else None


@dataclass(frozen=True)
class Pair:
    """Two sides compared. ``across``: the same kernel on another machine, where what does not exist is not lost."""

    before: Side
    after: Side
    rules: tuple[RuleChange, ...]
    across: bool = False

    @cached_property
    def counts(self) -> Mapping[Change, int]:
        """Rules by change, worst first, zeros kept."""
        counted = Counter(rule.change for rule in self.rules)
        return {change: counted[change] for change in CHANGES}

    @cached_property
    def divided(self) -> Mapping[str, tuple[str, str]]:
        """Probes whose windows the two sides divided into mappings otherwise, with both: observed, and no change."""
        old, new = _divisions(self.before), _divisions(self.after)
        return {probe: (old[probe], told) for probe, told in new.items() if old.get(probe, told) != told}

    @property
    def regressed(self) -> bool:
        """Whether anything was introduced or lost, the cell itself included. Across machines, a probe that does not
        apply is not lost."""
        return self.lost or any(self.regressed_in(rule) for rule in self.rules)

    @property
    def lost(self) -> bool:
        """Whether the later cell is not clean, and the earlier one was."""
        return bool(self.after.trouble) and not self.before.trouble

    def regressed_in(self, rule: RuleChange) -> bool:
        """Whether anything was introduced or lost in one rule."""
        return any(_regressed(probe, self.across) for probe in rule.probes)


def _divisions(side: Side) -> Mapping[str, str]:
    return {v.probe: v.divided for result in side.results.values() for v in result.verdicts if v.divided}


def _regressed(probe: ProbeChange, across: bool) -> bool:
    if across and probe.change == "lost coverage":
        return standing(probe.after) == "none"
    return probe.change in REGRESSIONS


def standing(verdict: Verdict | None) -> ResultStanding:
    """How a probe stands; one that was not planned gave no answer."""
    return "none" if verdict is None else _STANDINGS[verdict.status]


def probe_change(before: Verdict | None, after: Verdict | None) -> Change:
    """What happened to a probe between two verdicts."""
    change = _TABLE[standing(before)][_COLUMNS.index(standing(after))]
    if change != "same":
        return change
    assert before is not None and after is not None  # a missing verdict is never the same as another
    if _gravity(after) < _gravity(before):
        return "introduced"
    return "unchanged" if _behaviour(before) == _behaviour(after) else "changed"


def _gravity(verdict: Verdict) -> int:
    return KINDS.index(verdict.kind) if verdict.status == "fail" and verdict.kind else len(KINDS)


def _behaviour(verdict: Verdict | None) -> tuple[object, ...]:
    """Equal behaviour compares equal; what a skipped or lost probe showed is no behaviour to compare."""
    stands = standing(verdict)
    if verdict is None or stands in ("skip", "none"):
        return (stands,)
    return stands, verdict.kind, verdict.observed


def compare(before: Side, after: Side, *, across: bool = False) -> Pair:
    """Compare two sides. Rules are in the order of the catalogue, those that only ``before`` has after the others."""
    return Pair(before, after, compare_rules(before, after, {}), across)


Memory = Mapping[tuple[str, str], tuple[Verdict, Side]]


def compare_rules(before: Side, after: Side, memory: Memory) -> tuple[RuleChange, ...]:
    """All rules of two sides. ``memory`` has, by rule and probe, the last answer before a gap, and from which side."""
    return tuple(_rule(name, before, after, memory) for name in dict.fromkeys((*after.worst, *before.best)))


def _rule(name: str, before: Side, after: Side, memory: Memory) -> RuleChange:
    old, new = before.best.get(name), after.worst.get(name)
    rule = (new or old or _never()).rule
    olds, news = by_probe(old), by_probe(new)
    earlier, later = _repeated(name, before), _repeated(name, after)
    out_of_scope = after.facts is not None and after.facts not in rule.where
    found = []
    for probe in dict.fromkeys((*news, *olds)):
        change = _probe(probe, olds.get(probe), news.get(probe), before, memory.get((name, probe)))
        if out_of_scope and change.change == "lost coverage" and standing(change.after) == "skip":
            # The rule does not speak for that kernel: it was not the kernel that lost anything.
            change = replace(change, change="unchanged")
        found.append(_weighed(change, earlier.get(probe, ()), later.get(probe, ())))
    counted = Counter(change.change for change in found)
    changed = sorted((c for c in found if c.change != "unchanged"), key=lambda c: ORDER[c.change])
    counts = {change: counted[change] for change in CHANGES if counted[change]}
    return RuleChange(rule, _worst(counts, new), old, new, tuple(changed), counts)


Repeated = Sequence[Verdict | None]
"""What each repeat of a cell said of one probe."""


def _repeated(rule: str, side: Side) -> Mapping[str, Repeated]:
    """By probe; empty where the cell was run once."""
    if not side.repeats:
        return {}
    repeats = [by_probe(results.get(rule)) for results in (side.results, *side.repeats)]
    return {probe: [repeat.get(probe) for repeat in repeats] for repeat in repeats for probe in repeat}


def _disagree(repeated: Repeated) -> bool:
    return len({_behaviour(verdict) for verdict in repeated}) > 1


def _failed(repeated: Repeated) -> int:
    return sum(standing(verdict) == "broken" for verdict in repeated)


def _weighed(change: ProbeChange, earlier: Repeated, later: Repeated) -> ProbeChange:
    """A probe's change, where its repeats were heard.

    What fails in every repeat that gave an answer has failed, whatever the words; what fails in some is unstable; what
    a repeat did not answer is lost. Only what is left of their disagreement is flaky.
    """
    disagreeing = [repeated for repeated in (earlier, later) if _disagree(repeated)]
    if not disagreeing:
        return change
    varied = tuple(told(verdict) for verdict in disagreeing[-1])
    failed = _failed(later) if _disagree(later) else 0
    unsteady = 0 < failed < sum(standing(verdict) != "none" for verdict in later)
    if unsteady:
        before = _failed(earlier) or standing(change.before) == "broken"
        return replace(change, change="flaky" if before else "unstable", varied=varied, failed=failed)
    if failed or change.change in REGRESSIONS:
        return replace(change, varied=varied, failed=failed)
    return replace(change, change="flaky", varied=varied)


def _never() -> RuleResult:
    raise AssertionError("a rule's name came from one of the two sides")


def _probe(
    probe: str, old: Verdict | None, new: Verdict | None, before: Side, remembered: tuple[Verdict, Side] | None
) -> ProbeChange:
    change = probe_change(old, new)
    if remembered and standing(old) == "none" and standing(new) not in ("skip", "none"):
        # Before the gap there was an answer: that is what the new one is held against.
        verdict, side = remembered
        across_gap = probe_change(verdict, new)
        if across_gap != "unchanged":
            return ProbeChange(probe, across_gap, verdict, new, side)
    return ProbeChange(probe, change, old, new, before)


def _worst(counts: Mapping[Change, int], after: RuleResult | None) -> Change:
    worst: Change = min(counts, key=lambda change: ORDER[change], default="unchanged")
    # Some probe was fixed and another still fails: the rule is not fixed.
    return "changed" if worst == "fixed" and after is not None and after.status == "fail" else worst


def by_probe(result: RuleResult | None) -> Mapping[str, Verdict]:
    """A rule's verdicts by probe; empty where the rule was not asked."""
    return {verdict.probe: verdict for verdict in result.verdicts} if result else {}


def told(verdict: Verdict | None) -> str:
    """A verdict in a few words: ``fail bypass: control 0, sealed 0``."""
    if verdict is None:
        return "not planned"
    head = f"{verdict.status} {verdict.kind}" if verdict.kind else verdict.status
    body = verdict.observed if standing(verdict) in ("kept", "known", "broken") and verdict.observed else verdict.reason
    return f"{head}: {body}" if body else head


def flaky_rules(side: Side) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Rules whose repeats of one cell disagree: by rule and probe, what each repeat said."""
    found = {
        name: {
            probe: tuple(map(told, repeated))
            for probe, repeated in _repeated(name, side).items()
            if _disagree(repeated)
        }
        for name in side.worst
    }
    return {name: varied for name, varied in found.items() if varied}


def exit_code(pairs: Sequence[Pair]) -> int:
    """1 when anything was introduced or lost; 3 when nothing was, and a later cell is not clean; else 0."""
    if any(pair.regressed for pair in pairs):
        return EXIT_FAILED
    return EXIT_NO_ANSWER if any(pair.after.trouble for pair in pairs) else EXIT_OK
