"""A comparison as data for people and programs: what is compared, and how its changes are put into words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from harness.compare.diff import CHANGES, Change, Pair, ProbeChange, RuleChange, Side, compare, exit_code, flaky_rules
from harness.compare.series import VersionSeries, compare_series
from harness.compare.sides import Picked, across_of, apart, match, narrowed, narrowing, series_of, sides_of
from harness.errors import UsageError, some_of
from harness.model.json_text import parse_json
from harness.model.verdict import EXIT_FAILED, EXIT_NO_ANSWER, Status, Verdict
from harness.runs.cells import plural
from harness.runs.model import RunDone

What = Literal["sides", "series", "across"]

# What a verdict says about its kernel; read as "PHRASE on KERNEL".
PHRASES: Mapping[Status, str] = {
    "pass": "passes",
    "fixed": "passes",
    "observed": "is observed",
    "known": "differs as known",
    "fail": "fails",
    "skip": "does not apply",
    "error": "gave no answer",
    "miss": "gave no answer",
}


@dataclass(frozen=True)
class Comparison:
    """What was compared, pair by pair. ``only_before`` and ``only_after`` are cells without a counterpart;
    ``left_out`` cells of which not even a version is known, so that a series has no place for them."""

    what: What
    pairs: tuple[Pair, ...]
    series: tuple[VersionSeries, ...] = ()
    only_before: tuple[Side, ...] = ()
    only_after: tuple[Side, ...] = ()
    left_out: tuple[Side, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """1 when anything was introduced or lost, a whole cell included; 3 when a cell could not be compared at all, or
        is not clean on either side."""
        code = exit_code(self.pairs)
        if code == EXIT_FAILED or self.only_before:
            return EXIT_FAILED
        return EXIT_NO_ANSWER if self.left_out or any(side.trouble for side in self.only_after) else code

    @cached_property
    def counts(self) -> Mapping[Change, int]:
        """Rules by change, worst first, zeros kept; a rule counts once for each pair."""
        counted: Counter[Change] = Counter()
        for pair in self.pairs:
            counted.update(pair.counts)
        return {change: counted[change] for change in CHANGES}


def compare_picks(before: Picked, after: Picked) -> Comparison:
    """Compare the cells of two picks. Raises ``UsageError`` when they cannot be matched or have no probe in common."""
    matched = match(before, after)
    remarks = _remarks((before, after))
    limits = [some_of(narrowing(picked.done)) for picked in (before, after)]
    globs = sorted(set(limits) - {""})
    pairs = matched.pairs
    if globs:
        pairs = tuple(narrowed(old, new) for old, new in pairs)
        limited = f"{_limited(before, after, limits)} limited to {', and to '.join(globs)}"
        remarks += (f"only probes that both sides planned are compared; {limited}",)
    if not any(side.results for pair in pairs for side in pair):
        raise UsageError(f"{before.word} and {after.word} have no probe in common")
    found = tuple(compare(old, new) for old, new in pairs)
    return Comparison("sides", found, (), matched.only_before, matched.only_after, (), remarks)


def _limited(before: Picked, after: Picked, limits: Sequence[str]) -> str:
    if before.done.record.id == after.done.record.id:
        return "the run was"
    return "both runs were" if all(limits) else "one run was"


def compare_versions(picked: Picked) -> Comparison:
    """Compare kernels of a pick along their versions. Raises ``UsageError`` when no two are on one line."""
    placed = [side for side in picked.sides if side.version]
    series = tuple(compare_series(group) for group in series_of(placed) if len(group) > 1)
    if not series:
        raise UsageError(f"run {picked.done.record.id} has no two kernels of one architecture, flavour and profile")
    out = tuple(side for side in picked.sides if not side.version)
    steps = tuple(step for line in series for step in line.steps)
    return Comparison("series", steps, series, left_out=out, remarks=_remarks((picked,)))


def compare_baselines(done: RunDone) -> Comparison | None:
    """Compare the cells of a run with those it was to be compared with; None when it was asked for no comparison."""
    against = parse_json(done.record.matrix.get("against", "{}"))
    sides = {side.cell: side for side in sides_of(done)}
    pairs = [(sides[old], sides[new]) for new, old in against.items() if old in sides and new in sides]
    if not pairs:
        return None
    return Comparison("sides", tuple(compare(old, new) for old, new in pairs))


def compare_machines(picked: Picked) -> Comparison:
    """Compare the same kernels on different machines. Raises ``UsageError`` when there are none."""
    pairs = across_of(picked.sides)
    if not pairs:
        raise UsageError(f"run {picked.done.record.id} has no kernel version on two architectures or page sizes")
    found = tuple(compare(old, new, across=True) for old, new in pairs)
    return Comparison("across", found, remarks=_remarks((picked,)))


def _remarks(picks: Sequence[Picked]) -> tuple[str, ...]:
    found = []
    for done in {picked.done.record.id: picked.done for picked in picks}.values():
        if done.record.state != "finished":
            found.append(f"run {done.record.id} is {done.record.state}: missing results count as no answer")
    unclean = (side for picked in picks for side in picked.sides if side.trouble)
    found += dict.fromkeys(f"{side_label(side)} of run {side.run} is not clean: {side.trouble}" for side in unclean)
    payloads = {picked.done.record.payload_id for picked in picks}
    if len(payloads) > 1:
        found.append(
            f"the payloads differ ({', '.join(sorted(payloads))}): a change may be the payload's and not the kernel's"
        )
    return tuple(found)


def phrase(pair: Pair, change: ProbeChange) -> str:
    """What happened, in words: ``passes on 6.12.117, fails on 7.3.4``."""
    before, after = apart(change.since, pair.after)
    if change.change in ("unstable", "flaky") and change.failed:
        return f"fails in {change.failed} of {plural(len(change.varied), 'repeat')} on {after}"
    if change.change == "flaky":
        return f"flaky: repeats disagree on {flaky_side(pair, change)}"
    old, new = _says(change.before), _says(change.after)
    if old == new:
        return f"{old} on {before} and {after}, but behaves differently"
    return f"{old} on {before}, {new} on {after}"


def rule_phrase(pair: Pair, change: RuleChange) -> str:
    """What happened to a rule, in the words of its worst probe; in how many probes, where the whole did otherwise."""
    worst = change.worst
    assert worst is not None
    words = phrase(pair, worst)
    sides = ((worst.before, change.before), (worst.after, change.after))
    whole = all((verdict and verdict.status) == (result and result.status) for verdict, result in sides)
    if whole or change.change in ("unstable", "flaky"):
        return words
    alike = sum(phrase(pair, probe) == words for probe in change.probes)
    return f"{words}, in {of_probes(alike, change)}"


def of_probes(number: int, change: RuleChange) -> str:
    """``2 of 40 probes``."""
    return f"{number} of {plural(sum(change.counts.values()), 'probe')}"


def flaky_side(pair: Pair, change: ProbeChange) -> str:
    """Which of a pair's sides, or both, has repeats that disagree about a probe."""
    names = apart(pair.before, pair.after)
    sides = zip((pair.before, pair.after), names, strict=True)
    return " and ".join(name for side, name in sides if any(change.probe in v for v in flaky_rules(side).values()))


def _says(verdict: Verdict | None) -> str:
    return "was not planned" if verdict is None else PHRASES[verdict.status]


def side_label(side: Side) -> str:
    """``debian-6.12 (6.12.117) x86_64``."""
    version = f"({side.version})" if side.version and side.version != side.kernel else ""
    profile = side.profile if side.cell.endswith(f".{side.profile}") else ""
    return " ".join(filter(None, (side.kernel, version, side.arch, profile)))


# Between machines nothing comes first: what one of them does not answer is not lost, and what it fails is not new.
ACROSS: Mapping[Change, str] = {
    "introduced": "failing only on the second",
    "unstable": "failing in some repeats on the second",
    "lost coverage": "answered only on the first",
    "flaky": "flaky",
    "changed": "different",
    "fixed": "failing only on the first",
    "gained": "answered only on the second",
    "unchanged": "alike",
}


def word(change: Change, *, across: bool = False) -> str:
    """What a change is called: by itself along versions and runs, otherwise between machines."""
    return ACROSS[change] if across else change


def counted(counts: Mapping[Change, int], noun: str = "probe", *, across: bool = False) -> str:
    """``1 probe introduced, 3 changed``; unchanged ones are left out."""
    parts = [(change, n) for change, n in counts.items() if n and change != "unchanged"]
    told = (f"{plural(n, noun) if not i else n} {word(change, across=across)}" for i, (change, n) in enumerate(parts))
    return ", ".join(told)
