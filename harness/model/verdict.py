"""Verdicts, and how bad each is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Final, Literal, get_args

from harness.model.rule import Check

# Worst first, both; docs/reference/results.md, "Words of the verdicts".
Status = Literal["fail", "error", "miss", "known", "fixed", "pass", "observed", "skip"]
Kind = Literal[
    "bypass",
    "crash",
    "hang",
    "changed-by-mseal",
    "seal-lost",
    "not-atomic",
    "wrong-errno",
    "over-blocked",
    "interface",
    "test",
]
Follows = Literal["both", "upstream", "thread", "neither"]

STATUSES: tuple[Status, ...] = get_args(Status)
KINDS: tuple[Kind, ...] = get_args(Kind)
_BADNESS: Mapping[str, int] = {name: i for i, name in enumerate(STATUSES)}
_GRAVITY: Mapping[str | None, int] = {None: len(KINDS)} | {name: i for i, name in enumerate(KINDS)}

INTERRUPTED: Final = "interrupted"
"""Why a cell has no more to say where the user asked us to stop, and we ended its guest ourselves."""

EXIT_OK = 0
EXIT_FAILED = 1
EXIT_NO_ANSWER = 3


@dataclass(frozen=True)
class Judgement:
    """A verdict before it knows its rule and probe."""

    status: Status
    reason: str
    kind: Kind | None = None


def cut_short(lost: str) -> Status:
    """What a check is whose answer did not come because its guest was lost: our own interrupt says nothing of it."""
    return "miss" if lost == INTERRUPTED else "error"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one rule says of one probe on one kernel. ``observed`` is the observation in one line.

    ``divided`` tells how the kernel divided the window into mappings ("" where that was not told): nothing is promised
    of it, and no status rests on it.
    """

    rule: str
    probe: str
    status: Status
    reason: str
    kind: Kind | None = None
    observed: str = ""
    follows: Follows | None = None
    divided: str = ""

    @property
    def badness(self) -> tuple[int, int]:
        """Sorts verdicts worst first."""
        return _BADNESS[self.status], _GRAVITY[self.kind]


@dataclass(frozen=True)
class RuleResult:
    """One rule, or other check, on one cell: the worst of its verdicts, and how many there are of each status."""

    rule: Check
    verdicts: tuple[Verdict, ...]

    @cached_property
    def worst(self) -> Verdict:
        """The verdict the rule is reported with. There is always one: a rule without probes has no result."""
        return min(self.verdicts, key=lambda v: v.badness)

    @property
    def status(self) -> Status:
        """The worst status."""
        return self.worst.status

    @property
    def kind(self) -> Kind | None:
        """The gravest kind among the failing verdicts."""
        return self.worst.kind

    @cached_property
    def counts(self) -> Mapping[Status, int]:
        """Verdicts per status, worst first, zeros left out."""
        counted = Counter(v.status for v in self.verdicts)
        return {status: counted[status] for status in STATUSES if counted[status]}

    @property
    def follows(self) -> Follows | None:
        """Which reading of the contract the kernel follows, where the two differ and the kernel is consistent."""
        seen = {v.follows for v in self.verdicts if v.follows}
        if len(seen) > 1 and seen <= {"both", "upstream", "thread"}:
            seen.discard("both")
        return seen.pop() if len(seen) == 1 else ("neither" if seen else None)


def worst_first(results: Iterable[RuleResult]) -> list[RuleResult]:
    """Order results worst first, keeping the catalogue's order among equals."""
    return sorted(results, key=lambda r: r.worst.badness)


def exit_code(statuses: Iterable[Status]) -> int:
    """The exit code: a failed rule outranks a missing answer, which outranks nothing at all."""
    seen = set(statuses)
    if "fail" in seen:
        return EXIT_FAILED
    if seen & {"error", "miss"} or not seen:
        return EXIT_NO_ANSWER
    return EXIT_OK
