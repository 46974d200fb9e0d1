"""What a step of a generated program may be: templates by operation, with all their ranges. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache

from harness.explore.operations import ADVICE, DISCARDS, MOVES, OPERATIONS, SEALINGS, by_name
from harness.explore.program import BY, PLACES, TRAITS, UNROUNDED, Program, Segment, Step
from harness.explore.state import REMAP_FILE, TO, arriving

EXHAUSTIVE_UNITS = 5
AFTER = 5  # units of a window in which something happens and then everything is forbidden
PAGES_MAX = 512  # of a window
KEPT = 4096  # programs that were worth keeping
SEALED, WRITTEN = TRAITS["sealed"], TRAITS["written"]
NONE, R, W, RW, X, RX, RWX = 0, 1, 2, 3, 4, 5, 7


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
        (1, RW, 0, 3), (1, R, 0, 2), (1, NONE, 0, 1), (2, RW, 0, 1), (3, RW, 0, 2), (4, R, 0, 1), (4, RW, 0, 1),
        (5, RW, 0, 0.5), (1, RW, 1, 1), (1, RW, 2, 0.5), (1, NONE, 3, 0.3),
        (1, RW, 4, 0.3), (1, R, 5, 0.3))]  # fmt: skip
    found += [
        Template(number["mprotect"], prot, weight=w)
        for prot, w in ((0, 3), (1, 5), (3, 6), (5, 1), (7, 1), (2, 0.3), (4, 0.3))
    ]
    found += [
        Template(number["pkey_mprotect"], prot, b, weight=w)
        for prot, b, w in ((3, 1, 1.2), (1, 1, 0.7), (3, 0, 0.4), (3, 2, 0.4))
    ]
    found += [Template(number["mremap"], a, weight=w) for a, w in enumerate((0.7, 2, 2, 1, 3, 1, 1, 1, 1, 0.7, 0.7))]
    found += [Template(number["madvise"], advice, 0, c, (1.0 if advice in DISCARDS else 0.5) * (0.3 if c else 1))
              for advice in ADVICE.values() for c in (0, 1)]  # fmt: skip
    found += [
        Template(number["madvise"], ADVICE[name], 0, 2, 0.15)
        for name in ("cold", "dontneed", "free", "wipeonfork", "dontfork")
    ]
    found += [
        Template(number["madvise"], ADVICE[name], 0, 3, 0.15) for name in ("cold", "dontneed", "free", "dontfork")
    ]
    found += [Template(number["mseal"], a, weight=12 if a == 0 else 0.35) for a in range(len(SEALINGS))]
    found += [Template(number["mlock"], a, weight=w) for a, w in ((0, 2), (1, 1), (2, 2.5))]
    found += [Template(number["mlockall"], a, weight=0.09) for a in (0, 1, 2, 3, 5, 6, 7)]
    found += [Template(number["fork"], a, weight=w) for a, w in ((0, 0.3), (1, 0.2), (2, 0.2), (3, 0.1))]
    found += [Template(number["write"], 0, 0, c, w) for c, w in ((0, 6), (1, 0.7))]
    found += [Template(number["read"], weight=0.5)]
    found += [Template(number["mbind"], a, weight=w) for a, w in enumerate((0.4, 0.4, 0.4, 0.4, 0.3, 0.3, 0.2, 0.2))]
    found += [Template(number["msync"], a, weight=0.3) for a in (1, 2, 4, 6)]
    found += [Template(number["name"], a, weight=w) for a, w in enumerate((0.5, 0.5, 0.5, 0.3))]
    found += [Template(number["mincore"], weight=0.3)]
    found += [Template(number["rights"], a, weight=0.6) for a in (0, 1, 2)]
    found += [Template(number["clear_refs"], a, weight=0.05) for a in (0, 3)]
    found += [
        Template(number["remap_file_pages"], 1, weight=1),
        Template(number["remap_file_pages"], weight=0.5),
        Template(number["shmat"], weight=0.5),
        Template(number["shmat"], 1, weight=0.2),
        Template(number["shmat"], 2, weight=0.1),
    ]
    found += [Template(number["userfaultfd"], a, weight=w) for a, w in enumerate((0.4, 0.4, 0.4, 0.4, 0.3))]
    found += [Template(number["merge_all"], a, weight=0.1) for a in (0, 1)]
    found += [Template(number["shmdt"], weight=0.4)]
    found += [Template(number["move_pages"], a, weight=0.3) for a in (0, 1)]
    found += [Template(number["brk"], a, weight=w) for a, w in ((0, 2), (1, 1))]
    found += [Template(number["personality"], a, weight=0.2) for a in (0, 1)]
    found += [Template(number["mprotect"], prot, weight=0.1) for prot in (9, 11)]
    found += [Template(number["mprotect"], prot, 0, 1, 0.2) for prot in (R, RW)]
    return tuple(found)


TEMPLATES = _templates()
CUMULATIVE = tuple(itertools.accumulate(t.weight for t in TEMPLATES))
MREMAP, WRITE, MADVISE = by_name("mremap").number, by_name("write").number, by_name("madvise").number
FORK, _MLOCKALL, MSEAL = by_name("fork").number, by_name("mlockall").number, by_name("mseal").number
COSTLY = frozenset({FORK, _MLOCKALL, by_name("clear_refs").number, by_name("shmat").number})


BY_ANOTHER = (BY["by-thread"], BY["by-thread"], BY["by-process"], BY["without-privilege"])
OTHERWISE = (*BY_ANOTHER, UNROUNDED)
PKEY_MPROTECT, BRK = by_name("pkey_mprotect").number, by_name("brk").number
# What has to be refused, wherever it lies; ranges come later.
FORBIDDEN: tuple[Step, ...] = (
    *[Step(by_name("munmap").number)] * 4,
    *(Step(by_name("mmap").number, a=kind, b=prot) for kind, prot in ((1, RW), (1, NONE), (3, RW), (4, R))),
    *(Step(by_name("mmap").number, a=1, b=prot, c=how) for prot, how in ((NONE, 3), (RW, 4), (R, 5))),
    *(Step(by_name("mprotect").number, a=prot) for prot in (NONE, R, RW, RX, W, X)),
    *(Step(by_name("mprotect").number, a=prot, c=1) for prot in (R, RW)),
    *(Step(PKEY_MPROTECT, a=RW, b=key) for key in (1, 2)),
    *(Step(MREMAP, a=how, b=int(MOVES[how] == "shrink")) for how in range(len(MOVES)) if "grow" not in MOVES[how]),
    *(Step(MADVISE, a=advice) for advice in sorted(DISCARDS)),
    Step(by_name("shmat").number),
    Step(by_name("shmat").number, a=1),
    Step(by_name("brk").number),
)
# What may happen to sealed memory; a fork as often as all of an operation's ways together.
HAPPENINGS: tuple[int, ...] = tuple(
    i
    for i, t in enumerate(TEMPLATES)
    for _ in range(4 if t.op == FORK else 3 if t.op == by_name("mlock").number else 1)
    if (Step(t.op).operation.nature in ("harmless", "process", "writes") and (t.op != _MLOCKALL or t.a in (2, 5)))
    or (t.op == MADVISE and not t.c and t.a not in (4, 8, 9, 24, 102))
    or (t.op == MSEAL and t.a == 0)
    or t.op == by_name("mprotect").number
)


@cache
def ranges(n: int) -> tuple[tuple[int, int], ...]:
    """All (start, units) in a window of n units."""
    return tuple((start, units) for start in range(n) for units in range(1, n - start + 1))


def variants(template: Template, n: int) -> tuple[Step, ...]:
    """A template on every range of a window, with every place to go to."""
    return variants_at(TEMPLATES.index(template), n)


@cache
def variants_at(index: int, n: int) -> tuple[Step, ...]:
    """The same of a template by its place in ``TEMPLATES``."""
    t = TEMPLATES[index]
    operation = Step(t.op).operation
    if not operation.ranged:
        return (Step(t.op, a=t.a, b=t.b, c=t.c),)
    steps = []
    for start, units in ranges(n):
        if t.op != MREMAP:
            own = {WRITE: 1 + start, REMAP_FILE: start}  # a value of its own; what is mapped there already
            steps.append(Step(t.op, start, units, t.a or own.get(t.op, 0), t.b, t.c))
        elif t.a in TO:
            steps += [
                Step(t.op, start, units, t.a, to)
                for to in range(n - arriving(t.a, units) + 1)
                if to != start and arriving(t.a, units)
            ]
        elif t.a == MOVES.index("shrink"):
            steps += [Step(t.op, start, units, t.a, new) for new in range(1, units)]
        elif t.a in (MOVES.index("grow"), MOVES.index("grow-or-move")):
            steps += [Step(t.op, start, units, t.a, new) for new in range(units + 1, min(units + 3, n - start + 1))]
        else:
            steps.append(Step(t.op, start, units, t.a))
    return tuple(steps) or (Step(t.op, 0, 1, 0),)


def merged(segments: Sequence[Segment]) -> tuple[Segment, ...]:
    """Neighbours of one sort as one segment."""
    out: list[Segment] = []
    for s in segments:
        last = out[-1] if out else None
        if last is not None and (last.kind, last.prot, last.traits) == (s.kind, s.prot, s.traits):
            out[-1] = Segment(s.kind, s.prot, last.units + s.units, s.traits)
        else:
            out.append(s)
    return tuple(out)


def placed(program: Program) -> Program:
    """Where a segment may grow down, nothing but the program may lie near: at a place of its own, with no hole but
    below it."""
    bit = TRAITS["growsdown"]
    if not any(s.traits & bit for s in program.segments):
        return program
    if {s.kind for s in itertools.dropwhile(lambda s: s.kind == 0, program.segments)} == {1}:
        return replace(program, place=PLACES.index("4gib"))
    plain = tuple(s._replace(traits=s.traits & ~bit) for s in program.segments)
    return replace(program, segments=merged(plain))
