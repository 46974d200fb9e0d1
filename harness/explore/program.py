"""The nouns of exploration: a program is a window of segments and the steps done to it. Text form and back.

The text form has one line for the window and one for each step::

    window 5 x 1 page, usual: anon rw written | anon rw written sealed | anon rw written
    munmap 0-2
    mprotect 1-1 r

Units are numbered from 0; a range names its first and its last unit.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

from harness.errors import UsageError
from harness.explore.operations import ADVICE, OPERATIONS, PROTS, ROUNDING_UP, Operation, by_name

UNITS_MAX, STEPS_MAX, SEGMENTS_MAX = 16, 32, 16
SegmentKind = Literal["hole", "anon", "shared-anon", "shared-file", "private-file", "zero"]
KINDS: tuple[SegmentKind, ...] = get_args(SegmentKind)
PLACES = ("usual", "low", "4gib", "top", "tables")
TRAITS: dict[str, int] = {
    "sealed": 1,
    "written": 2,
    "locked": 4,
    "named": 8,
    "comb": 16,
    "growsdown": 32,
    "noreserve": 64,
    "unwritable": 128,
}
_SEALED = TRAITS["sealed"]
_WRITE = 2
UNROUNDED = 16
BY: dict[str, int] = {"by-thread": 1, "by-process": 4, "without-privilege": 8, "unrounded": UNROUNDED}
FLAGS: dict[str, int] = {"quiet": 1, "crowd": 2}


class Segment(NamedTuple):
    """Neighbouring units of one sort. ``traits`` are bits of ``TRAITS``."""

    kind: int
    prot: int
    units: int
    traits: int = 0

    @property
    def sealed(self) -> bool:
        """Whether it is sealed before the first step."""
        return bool(self.traits & _SEALED) and self.kind != 0

    @property
    def unwritable(self) -> bool:
        """Whether it is a shared mapping of a file that was opened for reading only: nobody can make it writable."""
        shared = KINDS[self.kind] == "shared-file"
        return bool(self.traits & TRAITS["unwritable"]) and shared and not self.prot & _WRITE

    def __str__(self) -> str:
        if self.kind == 0:
            return f"hole{_times(self.units)}"
        traits = [name for name, bit in TRAITS.items() if self.traits & bit]
        return " ".join([f"{KINDS[self.kind]}{_times(self.units)}", PROTS[self.prot], *traits])


def _times(units: int) -> str:
    return f" {units}" if units > 1 else ""


class Step(NamedTuple):
    """One operation on ``units`` units from ``start`` on; ``a``, ``b``, ``c`` are the operation's own arguments.

    It is repeated ``times`` times. ``by`` are bits of ``BY``: another thread of the process does it, another process
    that shares the memory does it, or it is done without capabilities; and its length is no multiple of a page
    (``unrounded``), which the kernel rounds up to the same pages. Only some operations do: ``ROUNDING_UP``.
    """

    op: int
    start: int = 0
    units: int = 0
    a: int = 0
    b: int = 0
    c: int = 0
    times: int = 1
    by: int = 0

    @property
    def operation(self) -> Operation:
        """What the operation is."""
        return OPERATIONS[self.op]

    def over(self, start: int, units: int) -> Step:
        """The same on another range. Programs are made by the thousand a second, and ``_replace`` takes its time."""
        return Step(self.op, start, units, self.a, self.b, self.c, self.times, self.by)

    def unrounded(self) -> Step:
        """The same with a length that is no multiple of a page, where the kernel rounds that up; else as it is."""
        return self._replace(by=self.by | UNROUNDED) if self.operation.rounds_up else self

    def to_bytes(self) -> bytes:
        """As it travels."""
        return bytes(self)

    @staticmethod
    def from_bytes(data: bytes) -> Step:
        """The other way round."""
        return Step(*data)

    def __str__(self) -> str:
        words = [self.operation.name]
        if self.operation.ranged:
            words.append(f"{self.start}-{self.start + self.units - 1}")
        words += self.operation.words(self.a, self.b, self.c)
        if self.times > 1:
            words.append(f"times={self.times}")
        words += [word for word, bit in BY.items() if self.by & bit]
        return " ".join(words)


@dataclass(frozen=True)
class Program:
    """What is run. ``scale`` is the binary logarithm of the pages in a unit, ``place`` an index into ``PLACES``."""

    segments: tuple[Segment, ...]
    steps: tuple[Step, ...]
    scale: int = 0
    place: int = 0
    flags: int = 0

    @property
    def units(self) -> int:
        """The width of the window."""
        return sum(segment.units for segment in self.segments)

    def sealed_units(self) -> list[bool]:
        """Which units are sealed before the first step."""
        return [segment.sealed for segment in self.segments for _ in range(segment.units)]

    def with_steps(self, steps: Sequence[Step]) -> Program:
        """The same window with other steps."""
        return Program(self.segments, tuple(steps), self.scale, self.place, self.flags)

    def __str__(self) -> str:
        return "\n".join(self.lines())

    def lines(self) -> Iterator[str]:
        """The text form."""
        flags = "".join(f", {name}" for name, bit in FLAGS.items() if self.flags & bit)
        pages = 1 << self.scale
        head = f"window {self.units} x {pages} page{'s' if pages > 1 else ''}, {PLACES[self.place]}{flags}"
        yield f"{head}: {' | '.join(map(str, self.segments))}"
        yield from map(str, self.steps)


_WINDOW = re.compile(r"window (\d+) x (\d+) pages?((?:, [a-z0-9]+)*): (.+)\Z")


def parse_program(text: str, where: str = "program") -> Program:
    """Read the text form. Raises ``UsageError`` that names the line."""
    lines = [(n, line.partition("#")[0].strip()) for n, line in enumerate(text.splitlines(), 1)]
    lines = [(n, line) for n, line in lines if line]
    if not lines:
        raise UsageError(f"{where}: is empty; the first line begins with 'window'")
    program: Program | None = None
    steps: list[Step] = []
    for number, line in lines:
        try:
            if program is None:
                program = _window(line)
            else:
                steps.append(_step(line, program.units))
        except (ValueError, IndexError) as error:
            raise UsageError(f"{where}:{number}: {error}") from error
    if len(steps) > STEPS_MAX:
        raise UsageError(f"{where}:{lines[-1][0]}: a program has at most {STEPS_MAX} steps")
    assert program is not None
    return program.with_steps(steps)


def _window(line: str) -> Program:
    match = _WINDOW.match(line)
    if match is None:
        raise ValueError("a program begins with a line such as 'window 3 x 1 page, usual: anon rw | anon rw sealed 2'")
    segments = tuple(_segment(part.split()) for part in match[4].split("|"))
    pages = int(match[2])
    if pages & (pages - 1) or not 1 <= pages <= 512:
        raise ValueError(f"a unit is 1, 2, 4 ... 512 pages, not {pages}")
    place, flags = 0, 0
    for word in match[3].replace(",", " ").split():
        if word in PLACES:
            place = PLACES.index(word)
        elif word in FLAGS:
            flags |= FLAGS[word]
        else:
            raise ValueError(f"{word!r} is neither a place ({', '.join(PLACES)}) nor a flag ({', '.join(FLAGS)})")
    program = Program(segments, (), pages.bit_length() - 1, place, flags)
    if program.units != int(match[1]):
        raise ValueError(f"the segments have {program.units} units, not {match[1]}")
    if not 1 <= program.units <= UNITS_MAX or len(segments) > SEGMENTS_MAX:
        raise ValueError(f"a window has 1 to {UNITS_MAX} units")
    return program


def _segment(words: list[str]) -> Segment:
    if not words or words[0] not in KINDS:
        raise ValueError(f"a segment begins with its kind: {', '.join(KINDS)}")
    kind, prot, units, traits = KINDS.index(words[0]), 0, 1, 0
    for word in words[1:]:
        if word.isdigit():
            units = int(word)
        elif word in PROTS:
            prot = PROTS.index(word)
        elif word in TRAITS:
            traits |= TRAITS[word]
        else:
            raise ValueError(f"{word!r} is not a number, protection or trait of a segment")
    return Segment(kind, prot, units, traits)


def _step(line: str, width: int) -> Step:
    name, *words = line.split()
    operation = by_name(name)
    start = units = 0
    if operation.ranged:
        first, _, last = words.pop(0).partition("-")
        start, units = int(first), int(last or first) - int(first) + 1
        if units < 1 or start + units > width:
            raise ValueError(f"{first}-{last} is not a range of {width} units")
    times, by = 1, 0
    rest = []
    for word in words:
        if word.startswith("times="):
            times = int(word.removeprefix("times="))
        elif word in BY:
            by |= BY[word]
        else:
            rest.append(word)
    a, b, c = operation.arguments(rest)
    if not 1 <= times <= 255:
        raise ValueError("times is 1 to 255")
    if by & BY["by-thread"] and by & ~UNROUNDED != BY["by-thread"]:
        raise ValueError("a second thread has the process's memory and its privileges: write by-thread alone")
    if by & UNROUNDED and not operation.rounds_up:
        raise ValueError(
            f"{name} cannot be unrounded, only what rounds its length up: {', '.join(sorted(ROUNDING_UP))}"
        )
    return Step(operation.number, start, units, a, b, c, times, by)


__all__ = ["ADVICE", "BY", "FLAGS", "KINDS", "PLACES", "TRAITS", "Program", "Segment", "Step", "parse_program"]
