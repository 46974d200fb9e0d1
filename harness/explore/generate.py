"""Which programs are run, in which order. Everything follows from the seed, and from what the programs before it saw.

*Exhaustive*: everything that can be taken back is done to sealed memory and taken back, on every pair of ranges;
everything that lasts happens to it, alone and two at a time, and then everything that has to be refused is tried;
every layout of up to ``EXHAUSTIVE_UNITS`` units over {plain, sealed} x {rw, r, none}, mirrored ones once, with every
range and every operation; in an order shuffled by the seed, so that a short run sees a fair part of it. What the
model says is refused leaves no trace, so several such steps share a program. *Random*: windows and steps by weight,
often on ranges that have to do with one another; *guided*: those that came through abstract states not seen before
are kept and changed further.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache

from harness.explore.operations import ADVICE, DISCARDS, MOVES, OPERATIONS, SEALINGS, by_name
from harness.explore.program import FLAGS, PLACES, STEPS_MAX, TRAITS, UNITS_MAX, Program, Segment, Step
from harness.explore.refusal import refusal_of as refusal
from harness.explore.state import initial

EXHAUSTIVE_UNITS = 5
_PAGES_MAX = 512  # of a window
_KEPT = 4096  # programs that were worth keeping
_SEALED, _WRITTEN = TRAITS["sealed"], TRAITS["written"]
_NONE, _R, _RW, _RX, _RWX = 0, 1, 3, 5, 7


@dataclass(frozen=True)
class Template:
    """An operation with its own arguments, and how often it is drawn."""

    op: int
    a: int = 0
    b: int = 0
    c: int = 0
    weight: float = 1.0


def _templates() -> tuple[Template, ...]:
    number = {operation.name: operation.number for operation in OPERATIONS.values()}
    found = [Template(number["munmap"], weight=9)]
    found += [Template(number["mmap"], kind, prot, c, w) for kind, prot, c, w in (
        (1, _RW, 0, 3), (1, _R, 0, 2), (1, _NONE, 0, 1), (2, _RW, 0, 1), (3, _RW, 0, 2), (4, _R, 0, 1), (4, _RW, 0, 1),
        (5, _RW, 0, 0.5), (1, _RW, 1, 1), (1, _RW, 2, 0.5))]  # fmt: skip
    found += [Template(number["mprotect"], prot, weight=w) for prot, w in ((0, 3), (1, 5), (3, 6), (5, 1), (7, 1))]
    found += [
        Template(number["pkey_mprotect"], prot, b, weight=w) for prot, b, w in ((3, 1, 1.5), (1, 1, 0.7), (3, 0, 0.4))
    ]
    found += [Template(number["mremap"], a, weight=w) for a, w in enumerate((0.7, 2, 2, 1, 3, 1, 1, 1, 1))]
    found += [Template(number["madvise"], advice, 0, c, (1.0 if advice in DISCARDS else 0.5) * (0.3 if c else 1))
              for advice in ADVICE.values() for c in (0, 1)]  # fmt: skip
    found += [
        Template(number["madvise"], ADVICE[name], 0, 2, 0.15)
        for name in ("cold", "dontneed", "free", "wipeonfork", "dontfork")
    ]
    found += [Template(number["mseal"], a, weight=12 if a == 0 else 0.35) for a in range(len(SEALINGS))]
    found += [Template(number["mlock"], a, weight=w) for a, w in ((0, 2), (1, 1), (2, 2.5))]
    found += [Template(number["mlockall"], a, weight=0.12) for a in (0, 1, 2, 3, 6)]
    found += [Template(number["fork"], a, weight=w) for a, w in ((0, 0.35), (1, 0.25), (2, 0.25))]
    found += [Template(number["write"], 0, 0, c, w) for c, w in ((0, 6), (1, 0.7))]
    found += [Template(number["read"], weight=0.5)]
    found += [Template(number["mbind"], a, weight=0.4) for a in range(4)]
    found += [Template(number["msync"], a, weight=0.3) for a in (1, 2, 4)]
    found += [Template(number["name"], a, weight=0.5) for a in range(3)]
    found += [Template(number["mincore"], weight=0.3)]
    found += [Template(number["rights"], a, weight=0.6) for a in (0, 1, 2)]
    found += [Template(number["clear_refs"], a, weight=0.05) for a in (0, 3)]
    found += [Template(number["remap_file_pages"], 1, weight=1), Template(number["shmat"], weight=0.6)]
    found += [Template(number["userfaultfd"], a, weight=0.4) for a in (0, 1, 2)]
    found += [Template(number["shmdt"], weight=0.4)]
    found += [Template(number["move_pages"], a, weight=0.3) for a in (0, 1)]
    found += [Template(number["brk"], a, weight=w) for a, w in ((0, 2), (1, 1))]
    found += [Template(number["personality"], a, weight=0.2) for a in (0, 1)]
    found += [Template(number["mprotect"], prot, weight=0.1) for prot in (9, 11)]
    return tuple(found)


TEMPLATES = _templates()
_CUMULATIVE = tuple(itertools.accumulate(t.weight for t in TEMPLATES))
_MREMAP, _WRITE, _MADVISE = by_name("mremap").number, by_name("write").number, by_name("madvise").number
_FORK, _MLOCKALL, _MSEAL = by_name("fork").number, by_name("mlockall").number, by_name("mseal").number
_COSTLY = frozenset({_FORK, _MLOCKALL, by_name("clear_refs").number, by_name("shmat").number})
_TO = frozenset(MOVES.index(name) for name in ("to", "to-keep", "double"))


_PKEY_MPROTECT, _BRK = by_name("pkey_mprotect").number, by_name("brk").number
# What has to be refused, wherever it lies; ranges come later.
_FORBIDDEN: tuple[Step, ...] = (
    *[Step(by_name("munmap").number)] * 4,
    *(Step(by_name("mmap").number, a=kind, b=prot) for kind, prot in ((1, _RW), (1, _NONE), (3, _RW), (4, _R))),
    *(Step(by_name("mprotect").number, a=prot) for prot in (_NONE, _R, _RW, _RX)),
    Step(_PKEY_MPROTECT, a=_RW, b=1),
    *(Step(_MREMAP, a=how, b=int(MOVES[how] == "shrink")) for how in range(len(MOVES)) if "grow" not in MOVES[how]),
    *(Step(_MADVISE, a=advice) for advice in sorted(DISCARDS)),
    Step(by_name("shmat").number),
    Step(by_name("brk").number),
)
# What may happen to sealed memory; a fork as often as all of an operation's ways together.
_HAPPENINGS: tuple[int, ...] = tuple(
    i
    for i, t in enumerate(TEMPLATES)
    for _ in range(4 if t.op == _FORK else 3 if t.op == by_name("mlock").number else 1)
    if (Step(t.op).operation.nature in ("harmless", "process", "writes") and (t.op != _MLOCKALL or t.a == 2))
    or (t.op == _MADVISE and not t.c and t.a not in (4, 8, 9, 24, 102))
    or (t.op == _MSEAL and t.a == 0)
    or t.op == by_name("mprotect").number
)


@cache
def ranges(n: int) -> tuple[tuple[int, int], ...]:
    """All (start, units) in a window of n units."""
    return tuple((start, units) for start in range(n) for units in range(1, n - start + 1))


def variants(template: Template, n: int) -> tuple[Step, ...]:
    """A template on every range of a window, with every place to go to."""
    return _variants(TEMPLATES.index(template), n)


@cache
def _variants(index: int, n: int) -> tuple[Step, ...]:
    t = TEMPLATES[index]
    operation = Step(t.op).operation
    if not operation.ranged:
        return (Step(t.op, a=t.a, b=t.b, c=t.c),)
    steps = []
    for start, units in ranges(n):
        if t.op != _MREMAP:
            steps.append(Step(t.op, start, units, t.a or (0 if t.op != _WRITE else 1 + start), t.b, t.c))
        elif t.a in _TO:
            steps += [Step(t.op, start, units, t.a, to) for to in range(n - units + 1) if to != start]
        elif t.a == MOVES.index("shrink"):
            steps += [Step(t.op, start, units, t.a, new) for new in range(1, units)]
        elif t.a in (MOVES.index("grow"), MOVES.index("grow-or-move")):
            steps += [Step(t.op, start, units, t.a, new) for new in range(units + 1, min(units + 3, n - start + 1))]
        else:
            steps.append(Step(t.op, start, units, t.a))
    return tuple(steps) or (Step(t.op, 0, 1, 0),)


# ---------------------------------------------------------------------- exhaustive

_SORTS = tuple(
    Segment(1, prot, 1, (_SEALED if sealed else 0) | _WRITTEN) for sealed in (False, True) for prot in (_RW, _R, _NONE)
)


@cache
def _layouts(n: int) -> tuple[tuple[Segment, ...], ...]:
    """All of n units with at least one sealed, of two that mirror each other the first."""
    found = []
    for layout in itertools.product(range(len(_SORTS)), repeat=n):
        if layout <= layout[::-1] and any(_SORTS[i].sealed for i in layout):
            found.append(merged(tuple(_SORTS[i] for i in layout)))
    return tuple(found)


def merged(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Neighbours of one sort as one segment."""
    out: list[Segment] = []
    for s in segments:
        if out and replace(out[-1], units=1) == replace(s, units=1):
            out[-1] = replace(s, units=out[-1].units + s.units)
        else:
            out.append(s)
    return tuple(out)


def exhaustive(n: int, rng: random.Random) -> Iterator[Program]:
    """All layouts of n units with all ranges and operations."""
    layouts = list(_layouts(n))
    rng.shuffle(layouts)
    steps = [step for t in TEMPLATES if t.op not in _COSTLY for step in variants(t, n)]
    for segments in layouts:
        state = initial(segments)
        seen = b"".join(bytes([1 | s.prot << 1]) * s.units for s in segments)
        look = b"\0\0" + seen + bytes(n)
        refused: list[Step] = []
        for step in steps:
            if refusal(step.to_bytes(), state, look) == "must":
                refused.append(step)
                if len(refused) == 16:
                    yield Program(segments, tuple(refused))
                    refused = []
            else:
                yield Program(segments, (step,))
        if refused:
            yield Program(segments, tuple(refused))


_AFTER = 5  # units of a window in which something happens and then everything is forbidden


@cache
def _battery_of(prot: int, thread: int) -> tuple[Step, ...]:
    """What has to be refused of sealed memory in units 1 to 3, whatever has happened to it."""
    munmap, mmap, mprotect = (by_name(name).number for name in ("munmap", "mmap", "mprotect"))
    steps = [
        Step(_MREMAP, 1, 3, MOVES.index("elsewhere")),
        Step(_MREMAP, 2, 1, MOVES.index("same")),
        Step(mprotect, 1, 3, _NONE),
        Step(mprotect, 2, 1, _R if prot == _RW else _RW),
        Step(munmap, 2, 1),
        Step(mmap, 1, 2, 1, _RW),
        Step(munmap, 0, _AFTER),
    ]
    if prot != _RW:
        steps[2:2] = [Step(_MADVISE, 1, 3, ADVICE["dontneed-locked"]), Step(_MADVISE, 2, 1, ADVICE["dontfork"])]
    return tuple(replace(step, by=thread) for step in steps)


_LASTING = tuple(
    t
    for t in TEMPLATES
    if (t.op == _MADVISE and not t.c and t.a not in (3, 4, 8, 9, 20, 21, 22, 23, 24, 25, 102, 103))
    or Step(t.op).operation.name
    in ("mlock", "mlockall", "fork", "mbind", "name", "write", "mseal", "clear_refs", "userfaultfd", "personality")
)
"""What leaves something behind in a mapping or a process that a later check may stumble over."""


def _happened(template: Template, start: int, units: int) -> Step:
    step = Step(template.op, start, units, template.a, template.b, template.c)
    if not step.operation.ranged:
        return replace(step, start=0, units=0)
    return replace(step, a=0x21) if template.op == _WRITE else step


def consequences(rng: random.Random) -> Iterator[Program]:
    """One thing that happens to sealed memory, to all of it or to its middle, alone or beside a fork, a second thread
    or another trait, at every place; then everything that has to be refused. After that, two things that happen."""
    fork = Step(_FORK)
    made: list[Program] = []
    for i, (t, (start, units), prot, how) in enumerate(
        itertools.product(_LASTING, ((1, 3), (2, 1), (0, _AFTER)), (_RW, _R), range(6))
    ):
        before = (Step(_FORK, a=1), Step(_WRITE, 1, 3, 0x11)) if how == 2 else ()
        after = (fork,) if how == 1 else ()
        traits = _WRITTEN | (TRAITS["locked"] if how in (4, 5) else 0) | (TRAITS["named"] if how == 5 else 0)
        end = Segment(1, prot, 1, _WRITTEN | (_SEALED if i % 2 else 0))
        window = merged((end, Segment(1, prot, 3, traits | _SEALED), end))
        steps = (*before, _happened(t, start, units), *after, *_battery_of(prot, int(how == 3)))
        made.append(Program(window, steps, (0, 0, 0, 2, 4)[i % 5], i % len(PLACES)))
    rng.shuffle(made)
    yield from made
    twice = list(itertools.product(_LASTING, repeat=2))
    rng.shuffle(twice)
    for i, (first, second) in enumerate(twice):
        prot = (_RW, _R)[i % 2]
        window = (Segment(1, prot, _AFTER, _WRITTEN | _SEALED),)
        steps = (_happened(first, 1, 3), _happened(second, *rng.choice(((1, 3), (2, 1), (0, _AFTER)))))
        yield Program(window, (*steps, *_battery_of(prot, 0)))


_THERE, _CHAIN = 4, 9  # units of such a window, and how often something is done and taken back in it


def _advice(name: str) -> Step:
    return Step(_MADVISE, a=ADVICE[name])


def _way(name: str, a: int) -> Step:
    return Step(by_name(name).number, a=a)


# What can be done to sealed memory, and what takes it back, or makes it something else.
_THERE_AND_BACK: tuple[tuple[Step, Step], ...] = (
    *((_advice(there), _advice(back)) for there, back in (
        ("random", "normal"), ("sequential", "random"), ("dontdump", "dodump"), ("wipeonfork", "keeponfork"),
        ("dontfork", "dofork"), ("hugepage", "nohugepage"), ("mergeable", "unmergeable"))),
    *((_way(name, there), _way(name, back)) for name, there, back in (
        ("mbind", 1, 0), ("mbind", 1, 0), ("mlock", 0, 2), ("mlock", 1, 0), ("mlock", 2, 0), ("name", 1, 0),
        ("name", 1, 2), ("userfaultfd", 0, 2), ("userfaultfd", 1, 2))),
)  # fmt: skip


def there_and_back(rng: random.Random) -> Iterator[Program]:
    """Something is done to a part of sealed memory and taken back on a part that has to do with that, on every pair of
    ranges: so mappings are split, and merge to the left, to the right and on both sides, for every reason there is to
    split one, whatever else they have in common. Many such pairs share a program."""
    near = [
        (first, second)
        for first, second in itertools.product(ranges(_THERE), repeat=2)
        if first[0] <= sum(second) and second[0] <= sum(first)
    ]
    made = list(itertools.product(_THERE_AND_BACK, near))
    rng.shuffle(made)
    for at in range(0, len(made), _CHAIN):
        for locked in (0, TRAITS["locked"]):
            steps: list[Step] = []
            for (there, back), (first, second) in made[at : at + _CHAIN]:
                spans = (first, second, (0, _THERE))
                steps += [replace(s, start=a, units=u) for s, (a, u) in zip((there, back, back), spans, strict=True)]
            steps = [step for step in steps if not (locked and step.op == by_name("mlock").number)]
            traits = _WRITTEN | _SEALED | locked | (TRAITS["named"] if rng.random() < 0.3 else 0)
            window = (Segment(1, rng.choice((_RW, _RW, _R)), _THERE, traits),)
            yield Program(window, (*steps, Step(by_name("munmap").number, 0, _THERE)))


_TOGETHER = 480  # of such programs, before what is random has more of them
# What memory can be at the same time; of each at most one, and as often none.
_SORTS_OF_TRAITS: tuple[tuple[Step, ...], ...] = (
    (_advice("random"), _advice("sequential")),
    (_advice("dontdump"),),
    (_advice("wipeonfork"), _advice("dontfork")),
    (_advice("hugepage"), _advice("nohugepage")),
    (_advice("mergeable"),),
    (_way("mlock", 0), _way("mlock", 1)),
    (_way("name", 1),),
    (_way("mbind", 1), _way("mbind", 3)),
    (_way("userfaultfd", 0), _way("userfaultfd", 1)),
    (Step(_PKEY_MPROTECT, a=_RW, b=1),),
    (_advice("guard-install"),),
    (_way("fork", 1), _way("fork", 0)),
    (_way("mseal", 0),),
    (_way("mlockall", 2),),
    (_way("personality", 1),),
)


def together(rng: random.Random) -> Program:
    """Memory that is many things at once, each by the toss of a coin, some before it is sealed and some after; then
    everything that has to be refused. A defect that asks for two things, or for one without another, shows in one of
    four such programs, for three in one of eight."""
    n, prot = _AFTER, rng.choice((_RW, _RW, _R))
    before: list[Step] = []
    after: list[Step] = []
    for sort in rng.sample(_SORTS_OF_TRAITS, len(_SORTS_OF_TRAITS)):
        if rng.random() < 0.5:
            continue
        step = rng.choice(sort)
        if step.operation.ranged:
            start, units = rng.choice(((0, n), (0, n), (1, 3), (2, 1)))
            step = replace(step, start=start, units=units)
        keyed = step.op == _PKEY_MPROTECT
        if keyed and prot == _R:
            continue
        (before if keyed or rng.random() < 0.4 else after).append(step)
        if step.op == _MADVISE and step.a == ADVICE["guard-install"]:
            (before if before[-1:] == [step] else after).append(replace(step, a=ADVICE["guard-remove"]))
        if step.op == _FORK:
            (before if before[-1:] == [step] else after).append(Step(_WRITE, 0, n, 0x21))
    traits = _WRITTEN if rng.random() < 0.8 else 0
    for name, often in (("noreserve", 0.3), ("growsdown", 0.3), ("comb", 0.15)):
        traits |= TRAITS[name] if rng.random() < often else 0
    thread = int(rng.random() < 0.15)
    forbidden = [replace(step, by=thread) for step in _battery_of(prot, 0)]
    more = [_refusable(rng, *rng.choice(((1, 3), (2, 1), (1, 1), (3, 1), (1, 2), (2, 2)))) for _ in range(8)]
    steps = [*before, Step(_MSEAL, 1, 3), *after, *forbidden[:-1], *more, forbidden[-1]][-STEPS_MAX:]
    place = rng.choice((0, 0, 0, *range(1, len(PLACES))))
    return _placed(Program((Segment(1, prot, n, traits),), tuple(steps), rng.choice((0, 0, 0, 0, 1, 2, 4)), place))


def _refusable(rng: random.Random, start: int, units: int) -> Step:
    """Something that has to be refused, on a range inside sealed memory."""
    step = rng.choice(_FORBIDDEN)
    if step.op == _MREMAP and (step.a in _TO or (step.b and units == 1)):
        step = replace(step, a=0, b=0)
    elif step.op == _MREMAP and step.b:
        step = replace(step, b=units - 1)
    return replace(step, start=start, units=units)


def traits_together(rng: random.Random) -> Iterator[Program]:
    """The share of programs of ``together`` that comes before what is random."""
    yield from (together(rng) for _ in range(_TOGETHER))


def in_turn(*sources: Iterator[Program]) -> Iterator[Program]:
    """One of each, until all have ended: a short run sees something of everything."""
    left = list(sources)
    while left:
        for source in tuple(left):
            try:
                yield next(source)
            except StopIteration:
                left.remove(source)


def positions() -> Iterator[Program]:
    """One sealed unit at each place of a row of many mappings, under ranges that begin before it and end behind, in one
    range or in two; mseal of such a row; and mremap onto a row whose one sealed unit is anywhere in it."""
    munmap, mmap = by_name("munmap").number, by_name("mmap").number
    for n in (4, 8, 16):
        row = [Segment(1, _RW if i % 2 else _R, 1, _WRITTEN) for i in range(n)]
        yield Program(tuple(row), (Step(_MSEAL, 0, n),))
        for k in range(n):
            sealed = replace(row[k], traits=_WRITTEN | _SEALED)
            spans = ((0, n), (0, k + 1), (k, n - k), (max(0, k - 1), min(n, k + 2) - max(0, k - 1)))
            steps = [step for a, u in spans for step in (Step(munmap, a, u), Step(mmap, a, u, 1, _RW))]
            steps += [Step(_MADVISE, a, u, ADVICE["dontneed"], c=by) for a, u in spans for by in (0, 1, 2)]
            yield Program((*row[:k], sealed, *row[k + 1 :]), tuple(steps))
    for units in range(1, UNITS_MAX // 2 + 1):
        for k, how in itertools.product(range(units), (MOVES.index("to"), MOVES.index("to-keep"))):
            onto = [Segment(1, _R, 1, _WRITTEN | (_SEALED if i == k else 0)) for i in range(units)]
            source = Segment(1, _RW, units, _WRITTEN)
            yield Program(merged((source, *onto)), (Step(_MREMAP, 0, units, how, units),))


def growing() -> Iterator[Program]:
    """Sealed memory that may grow down, and does, with nothing below it: by a unit and then to the end of the window,
    in the process and in a child. Then everything that has to be refused of what was sealed."""
    write, read, munmap = _WRITE, by_name("read").number, by_name("munmap").number
    for sealed, prot, traits, how in itertools.product((3, 1, 2), (_RW, _R), (_WRITTEN, 0, _WRITTEN | 4), range(3)):
        low = _AFTER - 3
        above: tuple[Segment, ...] = (Segment(1, prot, sealed, traits | _SEALED | TRAITS["growsdown"]),)
        above += (Segment(1, prot, 3 - sealed, traits | TRAITS["growsdown"]),) if sealed < 3 else ()
        touch = Step(write, low - 1, 1, 0x31) if prot == _RW else Step(read, low - 1, 1)
        further = replace(touch, start=0)
        steps = [Step(_FORK), touch] if how == 1 else [touch, further] if how == 2 else [touch]
        refused = (Step(by_name("mprotect").number, low, sealed, _NONE), Step(_MREMAP, low, sealed, 0))
        yield Program((Segment(0, 0, low), *above), (*steps, *refused, Step(munmap, low, 1)), 0, PLACES.index("4gib"))


def attached() -> Iterator[Program]:
    """A segment of shared memory, all of it or a part sealed, is detached, and then has to be refused what must be."""
    shmat, shmdt, munmap = (by_name(name).number for name in ("shmat", "shmdt", "munmap"))
    for (start, units), by in itertools.product(((1, 3), (2, 1), (0, _AFTER)), (0, 1)):
        for first, count in ((start, units), (start, 1), (start + units - 1, 1)):
            steps = (Step(shmat, start, units), Step(_MSEAL, first, count), Step(shmdt, start, units, by=by))
            yield Program(
                (Segment(1, _RW, _AFTER, _WRITTEN),), (*steps, Step(_MREMAP, first, count, 0), Step(munmap, first, 1))
            )


def keyed() -> Iterator[Program]:
    """Sealed memory that could be written but for a protection key, whose rights the program has taken away: discarding
    it has to be refused, of all of it and of a part. And with its rights again it may be discarded."""
    closed, advice = by_name("rights").number, sorted(DISCARDS - {ADVICE["remove"]})
    for prot, rights, by, written in itertools.product((_RW, _RWX), (1, 2), (0, 1), (0, _WRITTEN)):
        steps = [Step(_PKEY_MPROTECT, 0, 3, prot, 1), Step(_MSEAL, 0, 3), Step(closed, a=rights)]
        steps += [Step(_MADVISE, a, u, which, c=by) for which in advice for a, u in ((0, 3), (1, 1))]
        yield Program(
            (Segment(1, prot, 3, written),), (*steps, Step(closed), Step(_MADVISE, 0, 3, ADVICE["dontneed"], c=by))
        )


def pairs(n: int, rng: random.Random) -> Iterator[Program]:
    """All pairs of operations over n units, on a layout drawn for each."""
    layouts = _layouts(n)
    number = list(range(len(TEMPLATES) ** 2))
    rng.shuffle(number)
    for i in number:
        first, second = divmod(i, len(TEMPLATES))
        for segments in rng.sample(layouts, 3):
            yield Program(segments, (rng.choice(_variants(first, n)), rng.choice(_variants(second, n))))


# ---------------------------------------------------------------------- random and guided

_KIND_WEIGHTS = ((1, 60), (2, 7), (3, 10), (4, 12), (5, 6), (0, 5))
_PROT_WEIGHTS = ((_RW, 45), (_R, 35), (_NONE, 12), (_RX, 8))
_WIDTHS = (2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 6, 7, 8, 10, 12, 16)
_LENGTHS = (3, 4, 5, 6, 6, 6, 6, 7, 8, 9)


def _draw(rng: random.Random, weighted: Sequence[tuple[int, int]]) -> int:
    return rng.choices([value for value, _ in weighted], [weight for _, weight in weighted])[0]


_BACK = {(there.op, there.a): back.a for there, back in _THERE_AND_BACK}


def _placed(program: Program) -> Program:
    """Where a segment may grow down, nothing but the program may lie near: at a place of its own, with no hole but
    below it."""
    bit = TRAITS["growsdown"]
    if not any(s.traits & bit for s in program.segments):
        return program
    if {s.kind for s in itertools.dropwhile(lambda s: s.kind == 0, program.segments)} == {1}:
        return replace(program, place=PLACES.index("4gib"))
    plain = tuple(replace(s, traits=s.traits & ~bit) for s in program.segments)
    return replace(program, segments=merged(plain))


class Random:
    """Programs by weight, and changes to those that were worth keeping."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._rng = random.Random(f"{seed}/0")
        self._windows: dict[int, list[tuple[Segment, ...]]] = {}
        self._kept: list[Program] = []
        self._states: set[int] = set()

    def begin(self, batch: int) -> None:
        """Draw what a batch draws, whatever was drawn before."""
        self._rng.seed(f"{self._seed}/{batch}")

    @property
    def states(self) -> int:
        """How many abstract states have been seen."""
        return len(self._states)

    def learn(self, program: Program, states: Sequence[int]) -> None:
        """Keep a program that came through a state nobody had seen."""
        if self._states.issuperset(states):
            return
        self._states.update(states)
        if len(self._kept) < _KEPT:
            self._kept.append(program)
        else:
            self._kept[self._rng.randrange(_KEPT)] = program

    def program(self) -> Program:
        """The next one."""
        rng, draw = self._rng, self._rng.random()
        if draw < 0.08:
            return together(rng)
        if draw < 0.33:
            return self._battery()
        if self._kept and draw < 0.6:
            return self._changed(rng.choice(self._kept))
        n = rng.choice(_WIDTHS)
        steps: list[Step] = []
        for _ in range(rng.choice(_LENGTHS)):
            steps.append(self._after(steps, self._step(n), n))
        scale, place, flags = self._circumstances(n)
        return _placed(Program(self._window(n), tuple(steps), scale, place, flags))

    def _after(self, steps: Sequence[Step], step: Step, n: int) -> Step:
        """A step, often on a range that has to do with that of one before it, or taking back what that did."""
        rng = self._rng
        before = [s for s in steps if s.operation.ranged]
        if not before or not step.operation.ranged or rng.random() < 0.55:
            return step
        last = rng.choice(before)
        back = _BACK.get((last.op, last.a))
        if back is not None and rng.random() < 0.4:
            step = replace(last, a=back, times=1)
        elif step.op == _MREMAP:
            return step
        start, end = last.start, last.start + last.units
        middle = rng.randrange(start, end)
        around = ((start, end), (start, middle + 1), (middle, end), (middle, middle + 1), (max(0, start - 1), end),
                  (start, min(n, end + 1)), (0, start), (end, n), (0, n))  # fmt: skip
        first, last_one = rng.choice([(a, b) for a, b in around if a < b])
        return replace(step, start=first, units=last_one - first)

    def _battery(self) -> Program:
        """Mostly sealed memory, something that happens to it, and then everything that has to be refused, on ranges of
        every shape: what is refused leaves no trace, so a program holds many such steps."""
        rng, n = self._rng, self._rng.choice(_WIDTHS)
        segments = self._sealed_window(n)
        steps: list[Step] = []
        for _ in range(rng.choice((0, 1, 1, 2, 2, 3, 4))):
            steps.append(self._after(steps, self._happening(n), n))
        draw = rng.random()
        if draw < 0.25:  # something that was there before the seal: a key, advice, a lock, a policy
            segments = tuple(replace(s, traits=s.traits & ~_SEALED) for s in segments)
            key = Step(_PKEY_MPROTECT, 0, n, rng.choice((_RW, _R)), 1)
            before = [key] if draw < 0.1 else [self._happening(n) for _ in range(rng.choice((1, 1, 2)))]
            sealing = (
                [Step(_MSEAL, 0, n)] if draw < 0.18 or n == 1 else [Step(_MSEAL, 0, n - 1), Step(_MSEAL, n - 1, 1)]
            )
            steps[:0] = [*before, *sealing]
        thread = int(rng.random() < 0.08)
        for _ in range(rng.choice((4, 6, 8))):
            start, units = self._shape(n)
            step = rng.choice(_FORBIDDEN)
            if step.op == _MREMAP and step.a in _TO:
                to = rng.randrange(n - units + 1)
                step = replace(step, b=to) if to != start else replace(step, a=0)
            elif step.op == _MREMAP and step.b:
                step = replace(step, b=units - 1) if units > 1 else replace(step, a=0, b=0)
            steps.append(replace(step, start=start, units=units, by=thread))
        scale, place, flags = self._circumstances(n)
        if not scale and rng.random() < 0.15:
            place = rng.randrange(1, len(PLACES))
        return _placed(Program(segments, tuple(steps), scale, place, flags))

    def _happening(self, n: int) -> Step:
        rng = self._rng
        return rng.choice(_variants(rng.choice(_HAPPENINGS), n))

    def _shape(self, n: int) -> tuple[int, int]:
        """A range: all of the window, its head, its tail, its middle, one unit, or any."""
        rng, draw = self._rng, self._rng.random()
        if draw < 0.25:
            return 0, n
        start = rng.randrange(n)
        if draw < 0.4:
            return 0, start + 1
        if draw < 0.55:
            return start, n - start
        if draw < 0.7 and n > 2:
            return 1, n - 2
        if draw < 0.85:
            return start, 1
        return start, rng.randrange(1, n - start + 1)

    def _sealed_window(self, n: int) -> tuple[Segment, ...]:
        rng, segments, left = self._rng, [], n
        kind, prot = rng.choices((1, 2, 3, 4, 5), (70, 6, 8, 12, 4))[0], _draw(rng, _PROT_WEIGHTS)
        base = _WRITTEN if rng.random() < 0.75 else 0
        for name, often in (
            ("locked", 0.15),
            ("named", 0.15),
            ("comb", 0.12),
            ("growsdown", 0.03),
            ("noreserve", 0.04),
        ):
            base |= TRAITS[name] if rng.random() < often else 0
        while left:
            units = min(left, rng.choice((1, 2, 3, 4, 8, 16)))
            sealed = _SEALED if rng.random() < 0.75 else 0
            if rng.random() < 0.3:
                prot = _draw(rng, _PROT_WEIGHTS)
            segments.append(Segment(kind, prot, units, base | sealed))
            left -= units
        return merged(segments)

    def below(self, number: int) -> int:
        """A number below another."""
        return self._rng.randrange(number)

    def _circumstances(self, n: int) -> tuple[int, int, int]:
        rng, scale, place, flags = self._rng, 0, 0, 0
        draw = rng.random()
        if draw < 0.12:
            scale = rng.choice((1, 1, 2, 2, 3, 3, 4, 5, 6, 8, 9))
            while n << scale > _PAGES_MAX:
                scale -= 1
            if scale > 4 and rng.random() < 0.5:  # on borders of page tables, where huge pages fit
                place = PLACES.index("tables")
        elif draw < 0.32:
            place = rng.randrange(1, len(PLACES))
        if rng.random() < 0.08:
            flags |= FLAGS["quiet"]
        return scale, place, flags

    def _step(self, n: int) -> Step:
        rng = self._rng
        index = rng.choices(range(len(TEMPLATES)), cum_weights=_CUMULATIVE)[0]
        step = rng.choice(_variants(index, n))
        draw = rng.random()
        if draw < 0.012 and step.op not in _COSTLY and step.op != _BRK:  # a second brk has nothing left to take
            return replace(step, times=rng.choice((2, 3, 4, 8, 16)))
        if draw < 0.04:
            return replace(step, by=1)
        if step.op == _MSEAL and step.a:
            return replace(step, b=rng.randrange(64))
        if step.op == _WRITE:
            return replace(step, a=rng.randrange(1, 0x50))
        return step

    def _window(self, n: int) -> tuple[Segment, ...]:
        """Drawn anew, or one of those drawn before."""
        rng = self._rng
        known = self._windows.setdefault(n, [])
        if len(known) > 256 and rng.random() < 0.8:
            return rng.choice(known)
        segments = self._new_window(n)
        known.append(segments)
        return segments

    def _new_window(self, n: int) -> tuple[Segment, ...]:
        rng, segments, left = self._rng, [], n
        alike = rng.random() < 0.6
        first = (_draw(rng, _KIND_WEIGHTS[:-1]), _draw(rng, _PROT_WEIGHTS))
        base = _WRITTEN if rng.random() < 0.75 else 0
        while left:
            units = min(left, rng.choice((1, 1, 1, 1, 2, 2, 3, 4, 8)))
            kind, prot = first
            if not alike:
                kind, prot = _draw(rng, _KIND_WEIGHTS), _draw(rng, _PROT_WEIGHTS)
            elif rng.random() < 0.2:
                prot = _draw(rng, _PROT_WEIGHTS)
            traits = base if rng.random() < 0.85 else base ^ _WRITTEN
            traits |= _SEALED if rng.random() < 0.45 else 0
            traits |= TRAITS["locked"] if rng.random() < 0.06 else 0
            traits |= TRAITS["named"] if rng.random() < 0.04 else 0
            traits |= TRAITS["comb"] if rng.random() < 0.03 else 0
            segments.append(Segment(kind, prot, units, traits) if kind else Segment(0, 0, units))
            left -= units
        return merged(segments)

    def _changed(self, program: Program) -> Program:
        rng, n = self._rng, program.units
        steps = list(program.steps)
        for _ in range(rng.choice((1, 1, 2, 3))):
            draw = rng.random()
            if draw < 0.45 and len(steps) < 12:
                steps.append(self._step(n))
            elif draw < 0.65 and len(steps) < 12:
                steps.insert(rng.randrange(len(steps) + 1), self._step(n))
            elif draw < 0.85 and steps:
                steps[rng.randrange(len(steps))] = self._step(n)
            elif len(steps) > 1:
                del steps[rng.randrange(len(steps))]
        changed = program.with_steps(steps[:STEPS_MAX])
        draw = rng.random()
        if draw < 0.15:
            scale, place, flags = self._circumstances(n)
            changed = replace(changed, scale=scale, place=place, flags=flags)
        elif draw < 0.3:
            segments = list(changed.segments)
            i = rng.randrange(len(segments))
            if segments[i].kind:
                bit = rng.choice((_SEALED, _SEALED, _WRITTEN, TRAITS["locked"], TRAITS["comb"]))
                segments[i] = replace(segments[i], traits=segments[i].traits ^ bit)
            changed = replace(changed, segments=tuple(segments))
        return _placed(changed)
