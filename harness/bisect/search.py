"""The search over builds as a pure function of what was answered so far: nothing here boots, fetches or remembers.

Points are numbered from the oldest (0) to the newest. A point's tally counts the boots that answered. One boot that
was bad makes a point bad; it is good when as many boots as are required were good and none was bad, for a race
that was lost once is there, and one that was not lost may be there all the same.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Answer = Literal["good", "bad", "untestable"]
Standing = Literal["good", "bad", "untestable", "open"]

# Boots a point needs once some point has disagreed with itself.
RAISED = 5


@dataclass(frozen=True)
class Tally:
    """What the boots of one point answered. ``untestable`` says why it gives no further answer, "" when it may."""

    good: int = 0
    bad: int = 0
    untestable: str = ""

    @property
    def boots(self) -> int:
        """How many boots answered."""
        return self.good + self.bad

    @property
    def divided(self) -> bool:
        """Whether the point has disagreed with itself."""
        return self.good > 0 and self.bad > 0

    def standing(self, repeat: int, required: int) -> Standing:
        """What the point is taken for. ``repeat`` boots are made in any case, ``required`` before it is good."""
        if self.bad:
            return "bad" if self.boots >= repeat or self.untestable else "open"
        if self.good >= required:
            return "good"
        return "untestable" if self.untestable else "open"

    def missing(self, repeat: int, required: int) -> int:
        """How many more boots it takes until the point stands."""
        return max(0, (repeat if self.bad else required) - self.boots)


NOTHING = Tally()


def required_boots(tallies: Iterable[Tally], repeat: int) -> int:
    """How many good boots make a point good: ``repeat``, and more once any point has disagreed with itself."""
    return max(RAISED, 2 * repeat + 1) if any(tally.divided for tally in tallies) else repeat


@dataclass(frozen=True)
class BootPoints:
    """Boot these points, each so many times, side by side. ``left`` rounds are expected after this one."""

    boots: Mapping[int, int]
    purpose: Literal["ends", "search", "check"]
    left: int


@dataclass(frozen=True)
class Found:
    """``last`` has the old behaviour and ``first`` the new one. With points between them, all untestable, any of
    those may be the first. ``returned`` are points after ``first`` that have the old behaviour again."""

    last: int
    first: int
    returned: tuple[int, ...] = ()


@dataclass(frozen=True)
class Refused:
    """The ends are not what was said: there is nothing to search between them."""

    point: int
    standing: Standing


Move = BootPoints | Found | Refused


@dataclass(frozen=True)
class Search:
    """What is searched. ``size`` points; the oldest is said to be good and the newest bad, or the other way round
    (``fixed``). ``cores`` points may be booted side by side: always, when ``always``; else only while the boots stay
    within ``ceil(log2 size) + 2``. ``check`` is how many boots confirm the two neighbours in the end.
    """

    size: int
    fixed: bool = False
    repeat: int = 1
    cores: int = 1
    always: bool = False
    check: int = 1

    def move(self, tallies: Mapping[int, Tally], spent: int = 0) -> Move:
        """Say what comes next. ``spent`` boots have been made; what was answered without one is in the tallies too."""
        required = required_boots(tallies.values(), self.repeat)
        stands = {i: t.standing(self.repeat, required) for i, t in tallies.items()}
        old, new = ("bad", "good") if self.fixed else ("good", "bad")
        ends = {0: old, self.size - 1: new}
        for point, wanted in ends.items():
            if stands.get(point, "open") not in (wanted, "open"):
                return Refused(point, stands[point])
        unsure = {i: self._missing(tallies, i, required) for i in ends if stands.get(i, "open") == "open"}
        if unsure:
            return BootPoints(unsure, "ends", rounds(self.size - 1, self.cores if self.always else 1))
        first = min(i for i, standing in stands.items() if standing == new)
        last = max(i for i, standing in stands.items() if standing == old and i < first)
        asked = self._between(last, first, tallies, stands, spent)
        if asked:
            wanted_boots = {i: self._missing(tallies, i, required) for i in asked}
            return BootPoints(wanted_boots, "search", rounds(-(-(first - last) // (len(asked) + 1)), 1))
        if unchecked := self._unchecked(tallies, (last, first), required):
            return BootPoints(unchecked, "check", 0)
        return Found(last, first, tuple(sorted(i for i, s in stands.items() if i > first and s == old)))

    def _unchecked(self, tallies: Mapping[int, Tally], neighbours: Sequence[int], required: int) -> Mapping[int, int]:
        """How many more boots the two neighbours get after the search has found them."""
        asked = {i: self.repeat if tallies[i].bad else required for i in neighbours if not tallies[i].untestable}
        return {i: n for i, boots in asked.items() if (n := boots + self.check - tallies[i].boots) > 0 and self.check}

    def _missing(self, tallies: Mapping[int, Tally], point: int, required: int) -> int:
        return tallies.get(point, NOTHING).missing(self.repeat, required)

    def _between(
        self, last: int, first: int, tallies: Mapping[int, Tally], stands: Mapping[int, Standing], spent: int
    ) -> tuple[int, ...]:
        """The points to boot next: those begun and not decided, else those that split the range best."""
        inside = range(last + 1, first)
        begun = [i for i in inside if stands.get(i) == "open" and tallies[i].boots]
        if begun:
            return tuple(begun)
        skipped = [i for i in inside if stands.get(i) == "untestable"]
        untested = [i for i in inside if stands.get(i, "open") == "open"]
        width = self.cores if self.always else affordable(first - last, self.cores, boots_allowed(self.size) - spent)
        chosen: list[int] = []
        for number in range(1, min(width, len(untested)) + 1):
            target = last + (first - last) * number / (min(width, len(untested)) + 1)
            free = [i for i in untested if i not in chosen]
            chosen.append(nearest_testable(target, free, len(skipped)))
        return tuple(sorted(chosen))


def nearest_testable(target: float, free: Sequence[int], skipped: int) -> int:
    """The point to boot for ``target``. What cannot be tested lies together as a rule: after the first skip the next
    point is one away, then two, four, eight."""
    distance = 2 ** (skipped - 1) if skipped else 0
    return min(free, key=lambda i: (abs(abs(i - target) - distance), abs(i - target), i))


def boots_allowed(size: int) -> int:
    """``ceil(log2 size) + 2``: what a search takes that neither repeats nor skips, its ends included."""
    return (size - 1).bit_length() + 2


def rounds(gap: int, width: int) -> int:
    """How many rounds of ``width`` points it takes to bring a gap down to neighbours."""
    count = 0
    while gap > 1:
        gap, count = -(-gap // (width + 1)), count + 1
    return count


def affordable(gap: int, cores: int, left: int) -> int:
    """How many points may be booted side by side so that, at worst, no more than ``left`` boots are made."""
    for width in range(min(cores, gap - 1), 1, -1):
        if width + rounds(-(-gap // (width + 1)), 1) <= left:
            return width
    return 1
