"""The policy: what a release must keep, in words a release manager can review; docs/use/qualify.md has every key."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from fnmatch import fnmatchcase
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from harness.compare.diff import Change, Side
from harness.config.loader import Strict
from harness.cost.model import DEFAULT_BY
from harness.model.architectures import ARCHES, Arch
from harness.model.rule import Check, Level, Test
from harness.model.verdict import Kind

# What a waiver may excuse: the kinds of a failure, no answer, and what a comparison refuses beside failures.
Excuse = Literal[
    "bypass", "crash", "hang", "changed-by-mseal", "seal-lost", "not-atomic", "wrong-errno", "over-blocked",
    "interface", "test", "no answer", "lost coverage", "changed", "flaky",
]  # fmt: skip
# Nobody waives a bypass, a crash, a hang, memory that mseal changed, or silence by accident: a waiver that means them
# has to name them.
USUAL: tuple[Excuse, ...] = (
    "seal-lost", "not-atomic", "wrong-errno", "over-blocked", "interface", "test", "changed", "flaky",
)  # fmt: skip
_GLOB = re.compile(r"[A-Za-z0-9._+*?-]{1,80}\Z")


def _glob(value: str) -> str:
    if not _GLOB.match(value):
        raise ValueError(f"{value[:80]!r} is not a kernel: write a name or version; * and ? match anything")
    return value


def _sentence(value: str) -> str:
    if not value.strip():
        raise ValueError("must not be empty")
    return " ".join(value.split())


Glob = Annotated[str, AfterValidator(_glob)]
Sentence = Annotated[str, AfterValidator(_sentence)]


class Requirement(Strict):
    """Rules that must hold: those of any of these levels and, unless none are named, of any of these families."""

    levels: tuple[Level, ...] = Field(min_length=1)
    families: tuple[str, ...] = ()

    def __contains__(self, rule: Check) -> bool:
        return rule.level in self.levels and (not self.families or rule.family in self.families)


class Coverage(Strict):
    """Percent, on each cell, of the probes of required rules: that gave an answer, and that applied to the kernel.

    Where no share is named that has to apply, some probe of every required family has to, on each architecture.
    """

    answered: int = Field(default=100, ge=0, le=100)
    applied: int | None = Field(default=None, ge=0, le=100)


class Allowed(Strict):
    """Differences from the baseline that are expected. ``rules`` are ids or globs."""

    rules: tuple[Glob, ...] = Field(min_length=1)
    changes: tuple[Change, ...] = Field(min_length=1)
    reason: Sentence

    def speaks_for(self, rule: str, change: Change) -> bool:
        """Whether this change of this rule is expected."""
        return change in self.changes and any(fnmatchcase(rule, glob) for glob in self.rules)


class Differences(Strict):
    """What may not have changed since the baseline."""

    refuse: tuple[Change, ...] = ("introduced", "unstable", "lost coverage")
    allow: tuple[Allowed, ...] = ()

    @property
    def refused(self) -> tuple[Change, ...]:
        """``refuse``; who refuses failures that are new refuses those that were seen in some repeats only, too."""
        more: tuple[Change, ...] = ("unstable",) if "introduced" in self.refuse else ()
        return tuple(dict.fromkeys((*self.refuse, *more)))


class Waiver(Strict):
    """One rule excused on some kernels until a day, which is the last it holds on.

    ``kernels`` are globs over names in the matrix and upstream versions.
    """

    rule: str
    kernels: tuple[Glob, ...] = Field(min_length=1)
    architectures: tuple[Arch, ...] = ARCHES
    excuses: tuple[Excuse, ...] = Field(default=USUAL, min_length=1)
    reason: Sentence
    owner: Sentence
    expires: date

    def covers(self, side: Side) -> bool:
        """Whether the waiver speaks for a cell's kernel."""
        names = (side.kernel, side.version)
        return side.arch in self.architectures and any(fnmatchcase(n, g) for n in names for g in self.kernels)

    def expired(self, today: date) -> bool:
        """Whether its last day is over."""
        return today > self.expires

    def overlaps(self, other: Waiver) -> bool:
        """Whether both could excuse the same thing, so that nobody could say which of them was meant."""
        return (
            self.rule == other.rule
            and bool(set(self.architectures) & set(other.architectures))
            and bool(set(self.excuses) & set(other.excuses))
            and any(globs_meet(mine, theirs) for mine in self.kernels for theirs in other.kernels)
        )


class CostDemand(Strict):
    """No cost of these rows (globs of ``sealmatrix cost --list``) grows by ``by`` per cent or more."""

    by: float = Field(default=DEFAULT_BY, gt=0, le=1000)
    rows: tuple[Annotated[str, Field(min_length=1, max_length=80)], ...] = Field(default=("*/none",), min_length=1)


class Policy(Strict):
    """A whole file. ``start`` says whether the candidate's guests must have booted, or may have been restored;
    ``crashed`` whether a kernel of the candidate may have reported a crash while no probe ran. The tests of ``suites``
    must hold as rules must."""

    version: Literal["1"]
    title: Sentence
    architectures: tuple[Arch, ...] = Field(min_length=1)
    require: tuple[Requirement, ...] = Field(min_length=1)
    start: Literal["fresh", "any"] = "fresh"
    crashed: Literal["refuse", "accept"] = "refuse"
    coverage: Coverage = Coverage()
    differences: Differences = Differences()
    cost: CostDemand | None = None
    waivers: tuple[Waiver, ...] = ()
    suites: tuple[str, ...] = ()

    def requires(self, rule: Check) -> bool:
        """Whether a rule, or a test of a suite, must hold."""
        if isinstance(rule, Test):
            return rule.family in self.suites
        return any(rule in requirement for requirement in self.require)


KINDS_EXCUSED: Mapping[Kind, Excuse] = {
    "bypass": "bypass", "crash": "crash", "hang": "hang", "changed-by-mseal": "changed-by-mseal",
    "seal-lost": "seal-lost", "not-atomic": "not-atomic", "wrong-errno": "wrong-errno",
    "over-blocked": "over-blocked", "interface": "interface", "test": "test",
}  # fmt: skip


def globs_meet(one: str, other: str) -> bool:
    """Whether some text matches both globs. Both have ``*`` and ``?`` only."""
    reached = {(0, 0)}
    todo = [(0, 0)]
    while todo:
        i, j = todo.pop()
        if (i, j) == (len(one), len(other)):
            return True
        a, b = one[i : i + 1], other[j : j + 1]
        steps = []
        if a == "*":
            steps += [(i + 1, j)] + ([(i, j + 1)] if b else [])
        if b == "*":
            steps += [(i, j + 1)] + ([(i + 1, j)] if a else [])
        if a and b and "*" not in (a, b) and (a == b or "?" in (a, b)):
            steps.append((i + 1, j + 1))
        for step in steps:
            if step not in reached:
                reached.add(step)
                todo.append(step)
    return False
