"""Programs in order: bounded-exhaustive sorts, each from small to large. Pure.

What comes by chance is in ``random_programs``.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator
from functools import cache

from harness.explore.operations import ADVICE, MOVES, by_name
from harness.explore.program import BY, FLAGS, PLACES, STEPS_MAX, TRAITS, Program, Segment, Step
from harness.explore.refusal import refusal_of as refusal
from harness.explore.state import TO, initial
from harness.explore.templates import (
    AFTER,
    COSTLY,
    FORBIDDEN,
    FORK,
    MADVISE,
    MREMAP,
    MSEAL,
    NONE,
    OTHERWISE,
    PKEY_MPROTECT,
    RW,
    SEALED,
    TEMPLATES,
    WRITE,
    WRITTEN,
    R,
    Template,
    merged,
    placed,
    ranges,
    variants,
    variants_at,
)
from harness.explore.wire import GOES_ON

_SORTS = tuple(
    Segment(1, prot, 1, (SEALED if sealed else 0) | WRITTEN) for sealed in (False, True) for prot in (RW, R, NONE)
)


@cache
def _layouts(n: int) -> tuple[tuple[Segment, ...], ...]:
    """All of n units with at least one sealed, of two that mirror each other the first."""
    found = []
    for layout in itertools.product(range(len(_SORTS)), repeat=n):
        if layout <= layout[::-1] and any(_SORTS[i].sealed for i in layout):
            found.append(merged(tuple(_SORTS[i] for i in layout)))
    return tuple(found)


def exhaustive(n: int, rng: random.Random) -> Iterator[Program]:
    """All layouts of n units with all ranges and operations."""
    layouts = list(_layouts(n))
    rng.shuffle(layouts)
    steps = [step for t in TEMPLATES if t.op not in COSTLY for step in variants(t, n)]
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


@cache
def battery_of(prot: int, by: int) -> tuple[Step, ...]:
    """What has to be refused of sealed memory in units 1 to 3, whatever has happened to it. All of it may be
    ``unrounded``."""
    munmap, mmap, mprotect = (by_name(name).number for name in ("munmap", "mmap", "mprotect"))
    steps = [
        Step(MREMAP, 1, 3, MOVES.index("elsewhere")),
        Step(MREMAP, 2, 1, MOVES.index("same")),
        Step(mprotect, 1, 3, NONE),
        Step(mprotect, 2, 1, R if prot == RW else RW),
        Step(munmap, 2, 1),
        Step(mmap, 1, 2, 1, RW),
        Step(munmap, 0, AFTER),
    ]
    if prot != RW:
        steps[2:2] = [Step(MADVISE, 1, 3, ADVICE["dontneed-locked"]), Step(MADVISE, 2, 1, ADVICE["dontfork"])]
    return tuple(step._replace(by=by) for step in steps)


_LASTING = tuple(
    t
    for t in TEMPLATES
    if (t.op == MADVISE and not t.c and t.a not in (3, 4, 8, 9, 20, 21, 22, 23, 24, 25, 102, 103))
    or Step(t.op).operation.name
    in (
        "mlock",
        "mlockall",
        "fork",
        "mbind",
        "name",
        "write",
        "mseal",
        "clear_refs",
        "userfaultfd",
        "personality",
        "merge_all",
    )
)
"""What leaves something behind in a mapping or a process that a later check may stumble over."""


def _happened(template: Template, start: int, units: int) -> Step:
    step = Step(template.op, start, units, template.a, template.b, template.c)
    if not step.operation.ranged:
        return step._replace(start=0, units=0)
    return step._replace(a=0x21) if template.op == WRITE else step


def consequences(rng: random.Random) -> Iterator[Program]:
    """One thing that happens to sealed memory, to all of it or to its middle, alone or beside a fork, somebody else who
    asks, or another trait, at every place; then everything that has to be refused. After that, two things that
    happen."""
    made: list[Program] = []
    for i, (t, (start, units), prot, how) in enumerate(
        itertools.product(_LASTING, ((1, 3), (2, 1), (0, AFTER)), (RW, R), range(6))
    ):
        before = (Step(FORK, a=1), Step(WRITE, 1, 3, 0x11)) if how == 2 else ()
        after = (Step(FORK, a=GOES_ON[i // 6 % 2], by=BY["by-thread"] * (i // 12 % 2)),) if how == 1 else ()
        traits = WRITTEN | (TRAITS["locked"] if how in (4, 5) else 0) | (TRAITS["named"] if how == 5 else 0)
        end = Segment(1, prot, 1, WRITTEN | (SEALED if i % 2 else 0))
        window = merged((end, Segment(1, prot, 3, traits | SEALED), end))
        steps = (
            *before,
            _happened(t, start, units),
            *after,
            *battery_of(prot, OTHERWISE[i // 6 % len(OTHERWISE)] if how == 3 else 0),
        )
        made.append(Program(window, steps, (0, 0, 0, 2, 4)[i % 5], i % len(PLACES)))
    rng.shuffle(made)
    yield from made
    twice = list(itertools.product(_LASTING, repeat=2))
    rng.shuffle(twice)
    for i, (first, second) in enumerate(twice):
        prot = (RW, R)[i % 2]
        window = (Segment(1, prot, AFTER, WRITTEN | SEALED),)
        steps = (_happened(first, 1, 3), _happened(second, *rng.choice(((1, 3), (2, 1), (0, AFTER)))))
        yield Program(window, (*steps, *battery_of(prot, 0)))


_THERE, _CHAIN = 4, 9  # units of such a window, and how often something is done and taken back in it


def _advice(name: str) -> Step:
    return Step(MADVISE, a=ADVICE[name])


def _way(name: str, a: int) -> Step:
    return Step(by_name(name).number, a=a)


# What can be done to sealed memory, and what takes it back, or makes it something else.
THERE_AND_BACK: tuple[tuple[Step, Step], ...] = (
    *((_advice(there), _advice(back)) for there, back in (
        ("random", "normal"), ("sequential", "random"), ("dontdump", "dodump"), ("wipeonfork", "keeponfork"),
        ("dontfork", "dofork"), ("hugepage", "nohugepage"), ("mergeable", "unmergeable"))),
    *((_way(name, there), _way(name, back)) for name, there, back in (
        ("mbind", 1, 0), ("mbind", 1, 3), ("mlock", 0, 2), ("mlock", 1, 0), ("mlock", 2, 0), ("mlock", 1, 2),
        ("name", 1, 0), ("name", 1, 2), ("mbind", 4, 0), ("mbind", 5, 1), ("userfaultfd", 0, 2), ("userfaultfd", 1, 2),
        ("userfaultfd", 0, 3), ("userfaultfd", 4, 2), ("name", 3, 1),
        ("mbind", 7, 3), ("mbind", 6, 0))),
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
    made = list(itertools.product(THERE_AND_BACK, near))
    rng.shuffle(made)
    for at in range(0, len(made), _CHAIN):
        for locked in (0, TRAITS["locked"]):
            steps: list[Step] = []
            for (there, back), (first, second) in made[at : at + _CHAIN]:
                spans = (first, second, (0, _THERE))
                steps += [s.over(a, u) for s, (a, u) in zip((there, back, back), spans, strict=True)]
                if rng.random() < 0.3:
                    steps[-2] = steps[-2].unrounded()
            steps = [step for step in steps if not (locked and step.op == by_name("mlock").number)]
            traits = WRITTEN | SEALED | locked | (TRAITS["named"] if rng.random() < 0.3 else 0)
            prot, draw = rng.choice((RW, RW, R)), rng.random()
            window: tuple[Segment, ...] = (Segment(1, prot, _THERE, traits),)
            if draw < 0.4:  # a part is plain, and merges with no other
                units = range(_THERE)
                plain = rng.choice(((0,), (1,), (3,), (0, 1), (2, 3), (0, 2)))
                window = merged([Segment(1, prot, 1, traits & ~(SEALED if i in plain else 0)) for i in units])
            flags = 0
            if draw < 0.1 or draw > 0.9:  # nothing has touched it: what merges need not agree on what is there
                window, flags = tuple(s._replace(traits=s.traits & ~WRITTEN) for s in window), FLAGS["quiet"]
            yield Program(window, (*steps, Step(by_name("munmap").number, 0, _THERE)), flags=flags)


_TOGETHER = 480  # of such programs, before what is random has more of them
# What memory can be at the same time; of each at most one, and as often none.
_SORTS_OF_TRAITS: tuple[tuple[Step, ...], ...] = (
    (_advice("random"), _advice("sequential")),
    (_advice("dontdump"),),
    (_advice("wipeonfork"), _advice("dontfork")),
    (_advice("hugepage"), _advice("nohugepage")),
    (_advice("mergeable"),),
    (_way("mlock", 0), _way("mlock", 1)),
    (_way("name", 1), _way("name", 3)),
    (_way("mbind", 1), _way("mbind", 3), _way("mbind", 4), _way("mbind", 5)),
    (_way("userfaultfd", 0), _way("userfaultfd", 1), _way("userfaultfd", 4)),
    (Step(PKEY_MPROTECT, a=RW, b=1), Step(PKEY_MPROTECT, a=RW, b=2)),
    (_advice("guard-install"),),
    (_way("fork", 1), _way("fork", 0), _way("fork", 3)),
    (_way("mseal", 0),),
    (_way("mlockall", 2), _way("mlockall", 5), _way("mlockall", 0)),
    (_way("merge_all", 0),),
    (_way("personality", 1),),
)


def together(rng: random.Random) -> Program:
    """Memory that is many things at once, each by the toss of a coin, some before it is sealed and some after; then
    everything that has to be refused. A defect that asks for two things, or for one without another, shows in one of
    four such programs, for three in one of eight."""
    n, prot = AFTER, rng.choice((RW, RW, RW, R, R, NONE))
    before: list[Step] = []
    after: list[Step] = []
    for sort in rng.sample(_SORTS_OF_TRAITS, len(_SORTS_OF_TRAITS)):
        if rng.random() < 0.5:
            continue
        step = rng.choice(sort)
        if step.operation.ranged:
            start, units = rng.choice(((0, n), (0, n), (1, 3), (2, 1)))
            step = step.over(start, units)
        keyed = step.op == PKEY_MPROTECT
        if keyed and prot != RW:
            continue
        (before if keyed or rng.random() < 0.4 else after).append(step)
        if step.op == MADVISE and step.a == ADVICE["guard-install"]:
            (before if before[-1:] == [step] else after).append(step._replace(a=ADVICE["guard-remove"]))
        if step.op == FORK:
            (before if before[-1:] == [step] else after).append(Step(WRITE, 0, n, 0x21))
    traits = WRITTEN if rng.random() < 0.8 else 0
    for name, often in (("noreserve", 0.3), ("growsdown", 0.3), ("comb", 0.15)):
        traits |= TRAITS[name] if rng.random() < often else 0
    by = rng.choice(OTHERWISE) if rng.random() < 0.25 else 0
    forbidden = battery_of(prot, by)
    more = [_refusable(rng, *rng.choice(((1, 3), (2, 1), (1, 1), (3, 1), (1, 2), (2, 2)))) for _ in range(8)]
    steps = [*before, Step(MSEAL, 1, 3), *after, *forbidden[:-1], *more, forbidden[-1]][-STEPS_MAX:]
    place = rng.choice((0, 0, 0, *range(1, len(PLACES))))
    return placed(Program((Segment(1, prot, n, traits),), tuple(steps), rng.choice((0, 0, 0, 0, 1, 2, 4)), place))


def _refusable(rng: random.Random, start: int, units: int) -> Step:
    """Something that has to be refused, on a range inside sealed memory."""
    step = rng.choice(FORBIDDEN)
    if step.op == MREMAP and (step.a in TO or (step.b and units == 1)):
        step = step._replace(a=0, b=0)
    elif step.op == MREMAP and step.b:
        step = step._replace(b=units - 1)
    return step.over(start, units)


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


def pairs(n: int, rng: random.Random) -> Iterator[Program]:
    """All pairs of operations over n units, on a layout drawn for each."""
    layouts = _layouts(n)
    number = list(range(len(TEMPLATES) ** 2))
    rng.shuffle(number)
    for i in number:
        first, second = divmod(i, len(TEMPLATES))
        for segments in rng.sample(layouts, 3):
            yield Program(segments, (rng.choice(variants_at(first, n)), rng.choice(variants_at(second, n))))
