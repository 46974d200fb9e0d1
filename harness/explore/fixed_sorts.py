"""Sorts of programs that no seed changes: rows with a seal anywhere, and what grows, is attached, or has a key."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from harness.explore.operations import ADVICE, DISCARDS, MOVES, SEALINGS, by_name
from harness.explore.program import FLAGS, PLACES, TRAITS, UNITS_MAX, Program, Segment, Step
from harness.explore.templates import (
    AFTER,
    BRK,
    BY_ANOTHER,
    FORK,
    MADVISE,
    MREMAP,
    MSEAL,
    NONE,
    PKEY_MPROTECT,
    RW,
    RWX,
    SEALED,
    WRITE,
    WRITTEN,
    R,
    X,
    merged,
)


def positions() -> Iterator[Program]:
    """One sealed unit at each place of a row of many mappings, under ranges that begin before it and end behind, in one
    range, in two or in one for each unit; mseal of such a row; mremap of memory with one sealed unit anywhere in it, to
    move it, to shrink it or both; and mremap onto a row whose one sealed unit is anywhere in it."""
    munmap, mmap, shmat = (by_name(name).number for name in ("munmap", "mmap", "shmat"))
    for units in range(2, 6):
        there = Segment(1, R, units, WRITTEN)
        for k, way in itertools.product(range(units), ("to-shorter", "shrink", "to", "elsewhere")):
            row = [Segment(1, RW, 1, WRITTEN | (SEALED if i == k else 0)) for i in range(units)]
            to = units if way.startswith("to") else k if way == "shrink" else 0
            if to or way == "elsewhere":
                yield Program(merged((*row, there)), (Step(MREMAP, 0, units, MOVES.index(way), to),))
    for n in (4, 8, 16):
        row = [Segment(1, RW if i % 2 else R, 1, WRITTEN) for i in range(n)]
        yield Program(tuple(row), (Step(MSEAL, 0, n, SEALINGS.index("rounded")),))
        for by in (0, *BY_ANOTHER):
            yield Program(tuple(row), (Step(MSEAL, 0, n, by=by),))
        for k in range(n):
            sealed = row[k]._replace(traits=WRITTEN | SEALED)
            spans = ((0, n), (0, k + 1), (k, n - k), (max(0, k - 1), min(n, k + 2) - max(0, k - 1)))
            steps = [step for a, u in spans for step in (Step(munmap, a, u), Step(mmap, a, u, 1, RW))]
            steps += [Step(MADVISE, a, u, ADVICE["dontneed"], c=by) for a, u in spans for by in (0, 1, 2, 3)]
            steps += [Step(shmat, *spans[0], k % 3)] if n == 4 else []
            yield Program((*row[:k], sealed, *row[k + 1 :]), tuple(steps))
    for units in range(1, UNITS_MAX // 2 + 1):
        for k, how in itertools.product(range(units), (MOVES.index("to"), MOVES.index("to-keep"))):
            onto = [Segment(1, R, 1, WRITTEN | (SEALED if i == k else 0)) for i in range(units)]
            source = Segment(1, RW, units, WRITTEN)
            yield Program(merged((source, *onto)), (Step(MREMAP, 0, units, how, units),))


def growing() -> Iterator[Program]:
    """Sealed memory that may grow down, and does, with nothing below it: by a unit and then to the end of the window,
    in the process and in a child. Then everything that has to be refused of what was sealed, and mseal of all of it,
    which a hole that is left below forbids."""
    write, read, munmap = WRITE, by_name("read").number, by_name("munmap").number
    for sealed, prot, traits, how in itertools.product((3, 1, 2), (RW, R), (WRITTEN, 0, WRITTEN | 4), range(3)):
        low = AFTER - 3
        above: tuple[Segment, ...] = (Segment(1, prot, sealed, traits | SEALED | TRAITS["growsdown"]),)
        above += (Segment(1, prot, 3 - sealed, traits | TRAITS["growsdown"]),) if sealed < 3 else ()
        touch = Step(write, low - 1, 1, 0x31) if prot == RW else Step(read, low - 1, 1)
        further = touch._replace(start=0)
        steps = [Step(FORK), touch] if how == 1 else [touch, further] if how == 2 else [touch]
        last = (Step(munmap, low, 1), Step(MSEAL, 0, AFTER))
        refused = (Step(by_name("mprotect").number, low, sealed, NONE), Step(MREMAP, low, sealed, 0))
        yield Program((Segment(0, 0, low), *above), (*steps, *refused, *last), 0, PLACES.index("4gib"))


def hindered() -> Iterator[Program]:
    """Memory that may grow down and must not, sealed or above what is sealed: the kernel keeps a gap below it."""
    write, read, grows = WRITE, by_name("read").number, WRITTEN | TRAITS["growsdown"]
    for (under, over), prot in itertools.product(((SEALED, 0), (0, SEALED), (SEALED, SEALED)), (RW, R)):
        near = (Segment(1, prot, 1, WRITTEN | under), Segment(0, 0, 2), Segment(1, RW, 2, grows | over))
        touches = (Step(write, 2, 1, 0x31), Step(write, 1, 1, 0x31), Step(read, 2, 1))
        yield Program(near, touches, 0, PLACES.index("4gib"))


def filling() -> Iterator[Program]:
    """A hole beside sealed memory, or between it and plain memory, is filled exactly: by something new, by the mapping
    before it, which grows, by something that moves there, and by the heap. What is new may merge with either side; what
    moves, only where nothing has touched it yet."""
    mmap, to, grow = by_name("mmap").number, MOVES.index("to"), MOVES.index("grow")
    for (left, right), width, traits in itertools.product(((0, 1), (1, 0), (1, 1)), (1, 2), (WRITTEN, 0)):
        before, behind = (Segment(1, RW, 1, traits | SEALED * sealed) for sealed in (left, right))
        row, flags = (before, Segment(0, 0, width), behind), 0 if traits else FLAGS["quiet"]
        yield Program(row, (Step(mmap, 1, width, 1, RW, 1),), flags=flags)
        heap = (before, Segment(0, 0, width + 1), behind)  # which keeps a page away from what is behind it
        yield Program(heap, (Step(BRK, 1, width, 1),), flags=flags)
        if not left:
            yield Program(row, (Step(MREMAP, 0, 1, grow, 1 + width),), flags=flags)
        moved = (Segment(0, 0, 1), Segment(1, RW, width, traits))
        yield Program((*row, *moved), (Step(MREMAP, width + 3, width, to, 1),), flags=flags)
        for kind in (2, 3, 4):  # what continues a file beside a sealed part of it
            parts = [Step(mmap, i, 1, kind, RW) for i, seal in ((0, left), (width + 1, right)) if seal]
            seals = [Step(MSEAL, part.start, 1) for part in parts]
            ends = Segment(1, RW, 1, traits)
            steps = (*parts, *seals, Step(mmap, 1, width, kind, RW, 1))
            yield Program((ends, Segment(0, 0, width), ends), steps, flags=flags)


def attached() -> Iterator[Program]:
    """A segment of shared memory, all of it or a part sealed, is detached, and then has to be refused what must be."""
    shmat, shmdt, munmap = (by_name(name).number for name in ("shmat", "shmdt", "munmap"))
    for (start, units), by in itertools.product(((1, 3), (2, 1), (0, AFTER)), (0, 1)):
        for first, count in ((start, units), (start, 1), (start + units - 1, 1)):
            steps = (Step(shmat, start, units), Step(MSEAL, first, count), Step(shmdt, start, units, by=by))
            yield Program(
                (Segment(1, RW, AFTER, WRITTEN),), (*steps, Step(MREMAP, first, count, 0), Step(munmap, first, 1))
            )


def keyed() -> Iterator[Program]:
    """Sealed memory that could be written but for a protection key, whose rights the program has taken away: discarding
    it has to be refused, of all of it and of a part. And with its rights again it may be discarded."""
    closed, advice = by_name("rights").number, sorted(DISCARDS - {ADVICE["remove"]})
    for i, (prot, rights, by, written) in enumerate(itertools.product((RW, RWX), (1, 2), (0, 1), (0, WRITTEN))):
        steps = [Step(PKEY_MPROTECT, 0, 3, prot, 1 + i % 3 % 2), Step(MSEAL, 0, 3), Step(closed, a=rights)]
        steps += [Step(MADVISE, a, u, which, c=by) for which in advice for a, u in ((0, 3), (1, 1))]
        yield Program(
            (Segment(1, prot, 3, written),), (*steps, Step(closed), Step(MADVISE, 0, 3, ADVICE["dontneed"], c=by))
        )


def holes() -> Iterator[Program]:
    """Every layout of three units with a hole in it and something sealed, under ranges that cover both: what is said of
    a hole must not stand for what comes behind it."""
    munmap, mmap, mprotect, mlock = (by_name(name).number for name in ("munmap", "mmap", "mprotect", "mlock"))
    sorts = (
        Segment(0, 0, 1),
        Segment(1, R, 1, WRITTEN | SEALED),
        Segment(1, RW, 1, WRITTEN | SEALED),
        Segment(1, R, 1, WRITTEN),
    )
    for row in itertools.product(sorts, repeat=3):
        if all(s.kind for s in row) or not any(s.sealed for s in row):
            continue
        window = merged(row)
        spans = [(a, u) for a, u in ((0, 3), (0, 2), (1, 2)) if any(s.sealed for s in row[a : a + u])]
        whole = [step for a, u in spans for step in (Step(munmap, a, u), Step(mmap, a, u, 1, RW), Step(mlock, a, u))]
        yield Program(window, (*whole, *(Step(mprotect, a, u, NONE) for a, u in spans)))
        for by in (0, 1):
            steps = [Step(MADVISE, a, u, advice, c=by) for advice in sorted(DISCARDS) for a, u in spans]
            yield Program(window, tuple(steps))


def whole_tables() -> Iterator[Program]:
    """Sealed memory that is exactly what one page of a page table maps, or half of it: as long as a huge page, and
    where one fits; and several times as much that nothing has touched."""
    places = PLACES.index("tables")
    rows = [
        (prot, written, scale, 1 << (9 - scale))
        for prot in (R, NONE, RW)
        for written in (WRITTEN, 0)
        for scale in (9, 8)
    ]
    rows += [(prot, 0, 9, units) for prot in (R, NONE) for units in (2, 5, UNITS_MAX)]
    for prot, written, scale, units in rows:
        row = (Segment(1, prot, units, written | SEALED),)
        refused = [Step(MREMAP, 0, units, MOVES.index("elsewhere")), Step(by_name("mprotect").number, 0, units, X)]
        refused += [Step(by_name("munmap").number, 0, units), Step(by_name("mmap").number, 0, units, 1, RW)]
        refused += [Step(MADVISE, 0, units, advice) for advice in sorted(DISCARDS)] if prot != RW else []
        yield Program(row, tuple(refused), scale, places, 0 if written else FLAGS["quiet"])


def files() -> Iterator[Program]:
    """Shared and private memory of a file, all of it sealed or a part; everything that has to be refused, and
    remap_file_pages to what is there already and to another part."""
    remap, munmap = by_name("remap_file_pages").number, by_name("munmap").number
    for kind, prot, sealed in itertools.product((2, 3, 4), (RW, R), ((0, 4), (1, 2), (0, 2), (2, 2))):
        inside = range(sealed[0], sum(sealed))
        row = merged([Segment(kind, prot, 1, WRITTEN | (SEALED if i in inside else 0)) for i in range(4)])
        first, last = inside[0], inside[-1]
        steps = [Step(remap, a, u, to) for a, u in ((last, 1), (first, 1), sealed) for to in (a, (a + 1) % 4)]
        steps += [Step(MREMAP, first, 1, MOVES.index("elsewhere")), Step(by_name("mprotect").number, last, 1, NONE)]
        yield Program(row, (*steps, Step(munmap, last, 1), Step(munmap, 0, 4)))


def lengths() -> Iterator[Program]:
    """Every number of units from 1 to 16: so many are sealed of one mapping, and everything that has to be refused is
    asked of so many."""
    munmap, mmap, mprotect = (by_name(name).number for name in ("munmap", "mmap", "mprotect"))
    for units, prot in itertools.product(range(1, UNITS_MAX + 1), (RW, R)):
        start = (UNITS_MAX - units) // 2 if prot == R else 0
        yield Program((Segment(1, prot, UNITS_MAX, WRITTEN),), (Step(MSEAL, start, units),))
        refused = [Step(munmap, start, units), Step(mmap, start, units, 1, RW), Step(mprotect, start, units, NONE)]
        refused += [Step(MREMAP, start, units, MOVES.index(how)) for how in ("elsewhere", "same", "elsewhere-keep")]
        refused += [Step(MADVISE, start, units, advice) for advice in sorted(DISCARDS)] if prot == R else []
        yield Program((Segment(1, prot, UNITS_MAX, WRITTEN | SEALED),), tuple(refused))
