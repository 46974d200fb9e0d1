"""What changed between two sides, probe by probe and rule by rule. Pure; sides may come from anywhere.

A probe *stands* in one of five ways, and the change from one standing to another is a table. A rule has the worst
change among its probes, so that nothing hides behind a rule that failed, or was skipped in part, already before.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from harness.rules.model import KernelFacts, Rule
from harness.verdicts.model import KINDS, RuleResult, Status, Verdict

Change = Literal["introduced", "lost coverage", "flaky", "changed", "fixed", "gained", "unchanged"]
# Worst first; the first two are regressions.
CHANGES: tuple[Change, ...] = ("introduced", "lost coverage", "flaky", "changed", "fixed", "gained", "unchanged")
REGRESSIONS: frozenset[Change] = frozenset({"introduced", "lost coverage"})

Standing = Literal["kept", "known", "broken", "skip", "none"]
_STANDINGS: Mapping[Status, Standing] = {
    "pass": "kept", "observed": "kept", "fixed": "kept", "known": "known", "fail": "broken",
    "skip": "skip", "error": "none", "miss": "none",
}  # fmt: skip
ORDER: Mapping[Change, int] = {change: i for i, change in enumerate(CHANGES)}

# From the row's standing to the column's. ``same`` looks further, at what was observed. A failure where nothing was
# known before is introduced: nobody can say that it is an old one. Two skips are two times nothing to compare.
_COLUMNS: tuple[Standing, ...] = ("kept", "known", "broken", "skip", "none")
_TABLE: Mapping[Standing, tuple[Change | Literal["same"], ...]] = {
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
    was built from ("" where no kernel could be had), ``page_size`` is in bytes (0 where it never came up).
    ``started`` is UTC, in ISO 8601.
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


@dataclass(frozen=True)
class ProbeChange:
    """One probe that did not stay as it was. None stands for a probe that was not planned.

    ``since`` is the side the ``before`` verdict is from. ``varied`` holds, where repeats of one cell disagreed, what
    they said, repeat by repeat.
    """

    probe: str
    change: Change
    before: Verdict | None
    after: Verdict | None
    since: Side = field(repr=False)
    varied: tuple[str, ...] = ()


@dataclass(frozen=True)
class RuleChange:
    """One rule. ``probes`` are those that changed, worst first; ``counts`` counts all of them by change."""

    rule: Rule
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
        """Whether anything was introduced or lost. Across machines, a probe that does not apply is not lost."""
        return any(self.regressed_in(rule) for rule in self.rules)

    def regressed_in(self, rule: RuleChange) -> bool:
        """Whether anything was introduced or lost in one rule."""
        return any(_regressed(probe, self.across) for probe in rule.probes)


def _divisions(side: Side) -> Mapping[str, str]:
    return {v.probe: v.divided for result in side.results.values() for v in result.verdicts if v.divided}


def _regressed(probe: ProbeChange, across: bool) -> bool:
    if across and probe.change == "lost coverage":
        return standing(probe.after) == "none"
    return probe.change in REGRESSIONS


def standing(verdict: Verdict | None) -> Standing:
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
    return tuple(_rule(name, before, after, memory) for name in dict.fromkeys((*after.results, *before.results)))


def _rule(name: str, before: Side, after: Side, memory: Memory) -> RuleChange:
    old, new = before.results.get(name), after.results.get(name)
    rule = (new or old or _never()).rule
    olds, news = by_probe(old), by_probe(new)
    varied = {**_varied(name, before), **_varied(name, after)}
    steady = set(varied) - set(_varied(name, after))
    out_of_scope = after.facts is not None and after.facts not in rule.where
    found = []
    for probe in dict.fromkeys((*news, *olds)):
        change = _probe(probe, olds.get(probe), news.get(probe), before, memory.get((name, probe)))
        if out_of_scope and change.change == "lost coverage" and standing(change.after) == "skip":
            # The rule does not speak for that kernel: it was not the kernel that lost anything.
            change = _with(change, "unchanged")
        elif probe in varied and not (probe in steady and change.change == "lost coverage"):
            change = _with(change, "flaky", varied[probe])
        found.append(change)
    counted = Counter(change.change for change in found)
    changed = sorted((c for c in found if c.change != "unchanged"), key=lambda c: ORDER[c.change])
    counts = {change: counted[change] for change in CHANGES if counted[change]}
    return RuleChange(rule, _worst(counts, new), old, new, tuple(changed), counts)


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


def _with(change: ProbeChange, to: Change, varied: tuple[str, ...] = ()) -> ProbeChange:
    return ProbeChange(change.probe, to, change.before, change.after, change.since, varied)


def _worst(counts: Mapping[Change, int], after: RuleResult | None) -> Change:
    worst: Change = min(counts, key=lambda change: ORDER[change], default="unchanged")
    # Some probe was mended and another still fails: the rule is not fixed.
    return "changed" if worst == "fixed" and after is not None and after.status == "fail" else worst


def by_probe(result: RuleResult | None) -> Mapping[str, Verdict]:
    """A rule's verdicts by probe; empty where the rule was not asked."""
    return {verdict.probe: verdict for verdict in result.verdicts} if result else {}


def _varied(rule: str, side: Side) -> Mapping[str, tuple[str, ...]]:
    """The probes on which a cell's repeats disagree, and what each of them said."""
    if not side.repeats:
        return {}
    repeats = [by_probe(results.get(rule)) for results in (side.results, *side.repeats)]
    found = {}
    for probe in dict.fromkeys(probe for repeat in repeats for probe in repeat):
        verdicts = [repeat.get(probe) for repeat in repeats]
        if len({_behaviour(verdict) for verdict in verdicts}) > 1:
            found[probe] = tuple(told(verdict) for verdict in verdicts)
    return found


def told(verdict: Verdict | None) -> str:
    """A verdict in a few words: ``fail bypass: control 0, sealed 0``."""
    if verdict is None:
        return "not planned"
    head = f"{verdict.status} {verdict.kind}" if verdict.kind else verdict.status
    body = verdict.observed if standing(verdict) in ("kept", "known", "broken") and verdict.observed else verdict.reason
    return f"{head}: {body}" if body else head


def worst_change(rules: Iterable[RuleChange]) -> Change:
    """The worst change among rules."""
    return min((rule.change for rule in rules), key=lambda change: ORDER[change], default="unchanged")


def flaky_rules(side: Side) -> Mapping[str, Mapping[str, tuple[str, ...]]]:
    """Rules whose repeats of one cell disagree: by rule and probe, what each repeat said."""
    found = {name: _varied(name, side) for name in side.results}
    return {name: varied for name, varied in found.items() if varied}


def exit_code(pairs: Sequence[Pair]) -> int:
    """1 when anything was introduced or lost, else 0."""
    return 1 if any(pair.regressed for pair in pairs) else 0
