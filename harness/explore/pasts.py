"""Programs whose memory has a past: how it came to be what is sealed. Pure."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator

from harness.explore.operations import ADVICE, MOVES, by_name
from harness.explore.program import BY, Program, Segment, Step
from harness.explore.sorts import battery_of
from harness.explore.templates import FORK, MADVISE, MREMAP, MSEAL, NONE, RW, WRITE, WRITTEN, R


def _anew(start: int, units: int, kind: int = 1, prot: int = RW) -> Step:
    return Step(by_name("mmap").number, start, units, kind, prot)


def _moves(how: str, start: int, units: int, to: int) -> Step:
    return Step(MREMAP, start, units, MOVES.index(how), to)


# How memory comes to be in units 1 to 3, of eight of which 5 to 7 are free to use, before it is sealed.
_PASTS: tuple[tuple[Step, ...], ...] = (
    (_moves("to", 5, 3, 1),),
    (_moves("to-keep", 5, 3, 1),),
    (_moves("to", 1, 3, 5), _moves("to", 5, 3, 1)),
    (_moves("to", 6, 1, 2),),
    (_moves("shrink", 1, 3, 1), _moves("grow", 1, 1, 3)),
    (_moves("to-longer", 5, 2, 1),),
    (_anew(1, 3), Step(WRITE, 1, 3, 0x31)),
    (_anew(1, 1), _anew(3, 1), _anew(2, 1), Step(WRITE, 1, 3, 0x31)),
    (_anew(1, 3, 4), Step(WRITE, 1, 3, 0x31)),
    (_anew(1, 3, 3),),
    (Step(by_name("mprotect").number, 2, 1, NONE), Step(by_name("mprotect").number, 1, 3, RW)),
    (Step(FORK, a=1), Step(WRITE, 2, 1, 0x31)),
    (Step(FORK), Step(WRITE, 1, 3, 0x31)),
    (Step(MADVISE, 1, 3, ADVICE["guard-install"]), Step(MADVISE, 1, 3, ADVICE["guard-remove"])),
    (Step(MADVISE, 1, 3, ADVICE["dontneed"]),),
    (Step(by_name("mlock").number, 1, 3, 1), Step(by_name("mlock").number, 2, 1, 2)),
)


def pasts(rng: random.Random) -> Iterator[Program]:
    """Memory with a past: moved here, grown, mapped anew in pieces, copied after a fork. It is sealed, all of it or its
    middle; something happens, or a child goes on with it; and then everything that has to be refused."""
    happens: tuple[tuple[Step, ...], ...] = (
        (),
        (Step(FORK),),
        (Step(FORK, by=BY["by-thread"]),),
        (Step(FORK, a=3),),
        (Step(by_name("mlock").number, 2, 1, 1),),
        (Step(by_name("name").number, 2, 2, 3),),
    )
    made: list[Program] = []
    for past, happened in itertools.product(_PASTS, happens):
        prot, (start, units) = rng.choice((RW, R)), rng.choice(((1, 3), (1, 3), (2, 1)))
        protect = () if prot == RW else (Step(by_name("mprotect").number, 1, 3, prot),)
        battery = battery_of(prot, 0)
        refused = [s for s in battery if start <= s.start and s.start + s.units <= start + units]
        steps = (*past, *protect, Step(MSEAL, start, units), *happened, *refused, battery[-1])
        made.append(Program((Segment(1, RW, 8, WRITTEN),), steps))
    rng.shuffle(made)
    yield from made
