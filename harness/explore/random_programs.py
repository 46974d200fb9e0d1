"""Programs by weight, guided by the states that others came to. Pure."""

from __future__ import annotations

import random
from bisect import bisect
from collections.abc import Sequence
from dataclasses import replace
from itertools import accumulate
from typing import NamedTuple

from harness.explore.program import BY, FLAGS, KINDS, PLACES, STEPS_MAX, TRAITS, UNROUNDED, Program, Segment, Step
from harness.explore.sorts import THERE_AND_BACK, together
from harness.explore.state import TO, arriving
from harness.explore.templates import (
    BRK,
    BY_ANOTHER,
    COSTLY,
    CUMULATIVE,
    FORBIDDEN,
    HAPPENINGS,
    KEPT,
    MREMAP,
    MSEAL,
    NONE,
    PAGES_MAX,
    PKEY_MPROTECT,
    RW,
    RX,
    SEALED,
    TEMPLATES,
    WRITE,
    WRITTEN,
    R,
    merged,
    placed,
    variants_at,
)

_WIDTHS = (2, 3, 3, 4, 4, 4, 5, 5, 5, 5, 6, 6, 7, 8, 10, 12, 16)
_LENGTHS = (3, 4, 5, 6, 6, 6, 6, 7, 8, 9)


class Weighted(NamedTuple):
    """Values and their weights added up."""

    values: Sequence[int]
    sums: Sequence[float]

    @staticmethod
    def of(*weights: tuple[int, int]) -> Weighted:
        """From pairs of a value and its weight."""
        return Weighted([value for value, _ in weights], list(accumulate(weight for _, weight in weights)))

    def draw(self, rng: random.Random) -> int:
        """One value, the one that ``rng.choices`` would draw."""
        return self.values[bisect(self.sums, rng.random() * self.sums[-1], 0, len(self.values) - 1)]


_MAPPED = ((1, 60), (2, 7), (3, 10), (4, 12), (5, 6))
_KINDS, _KINDS_OR_HOLE = Weighted.of(*_MAPPED), Weighted.of(*_MAPPED, (0, 5))
_SEALED_KINDS = Weighted.of((1, 70), (2, 6), (3, 8), (4, 12), (5, 4))
_PROTS = Weighted.of((RW, 45), (R, 35), (NONE, 12), (RX, 8))
# A process of its own for a step takes as long as a program of six.
_OTHERS = Weighted.of((BY["by-thread"], 9), (BY["by-process"], 1), (BY["without-privilege"], 4), (UNROUNDED, 6))
_TEMPLATES = Weighted(range(len(TEMPLATES)), CUMULATIVE)
_BACK = {(there.op, there.a): back.a for there, back in THERE_AND_BACK}


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
        if not self._states.issuperset(states):
            self._states.update(states)
            self.keep(program)

    def keep(self, program: Program) -> None:
        """Keep a program, to be changed further."""
        if len(self._kept) < KEPT:
            self._kept.append(program)
        else:
            self._kept[self._rng.randrange(KEPT)] = program

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
        return placed(Program(self._window(n), tuple(steps), scale, place, flags))

    def _after(self, steps: Sequence[Step], step: Step, n: int) -> Step:
        """A step, often on a range that has to do with that of one before it, or taking back what that did."""
        rng = self._rng
        before = [s for s in steps if s.operation.ranged]
        if not before or not step.operation.ranged or rng.random() < 0.55:
            return step
        last = rng.choice(before)
        back = _BACK.get((last.op, last.a))
        if back is not None and rng.random() < 0.4:
            step = last._replace(a=back, times=1)
        elif step.op == MREMAP:
            return step
        start, end = last.start, last.start + last.units
        middle = rng.randrange(start, end)
        around = ((start, end), (start, middle + 1), (middle, end), (middle, middle + 1), (max(0, start - 1), end),
                  (start, min(n, end + 1)), (0, start), (end, n), (0, n))  # fmt: skip
        first, last_one = rng.choice([(a, b) for a, b in around if a < b])
        return step.over(first, last_one - first)

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
            segments = tuple(s._replace(traits=s.traits & ~SEALED) for s in segments)
            key = Step(PKEY_MPROTECT, 0, n, rng.choice((RW, R)), rng.choice((1, 2)))
            before = [key] if draw < 0.1 else [self._happening(n) for _ in range(rng.choice((1, 1, 2)))]
            sealing = [Step(MSEAL, 0, n)] if draw < 0.18 or n == 1 else [Step(MSEAL, 0, n - 1), Step(MSEAL, n - 1, 1)]
            steps[:0] = [*before, *sealing]
        by = _OTHERS.draw(rng) if rng.random() < 0.2 else 0
        for _ in range(rng.choice((4, 6, 8))):
            start, units = self._shape(n)
            step = rng.choice(FORBIDDEN)
            if step.op == MREMAP and step.a in TO:
                arrive = arriving(step.a, units)
                to = rng.randrange(n - arrive + 1) if 0 < arrive <= n else start
                step = step._replace(b=to) if to != start else step._replace(a=0)
            elif step.op == MREMAP and step.b:
                step = step._replace(b=units - 1) if units > 1 else step._replace(a=0, b=0)
            steps.append(step.over(start, units)._replace(by=by) if by else step.over(start, units))
        scale, place, flags = self._circumstances(n)
        if not scale and rng.random() < 0.15:
            place = rng.randrange(1, len(PLACES))
        return placed(Program(segments, tuple(steps), scale, place, flags))

    def _happening(self, n: int) -> Step:
        rng = self._rng
        return rng.choice(variants_at(rng.choice(HAPPENINGS), n))

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
        kind, prot = _SEALED_KINDS.draw(rng), _PROTS.draw(rng)
        base = WRITTEN if rng.random() < 0.75 else 0
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
            sealed = SEALED if rng.random() < 0.75 else 0
            if rng.random() < 0.3:
                prot = _PROTS.draw(rng)
            unwritable = TRAITS["unwritable"] if KINDS[kind] == "shared-file" and rng.random() < 0.4 else 0
            segments.append(Segment(kind, prot, units, base | sealed | unwritable))
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
            while n << scale > PAGES_MAX:
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
        index = _TEMPLATES.draw(rng)
        step = rng.choice(variants_at(index, n))
        draw = rng.random()
        if draw < 0.012 and step.op not in COSTLY and step.op != BRK:  # a second brk has nothing left to take
            return step._replace(times=rng.choice((2, 3, 4, 8, 16)))
        if draw < 0.04:
            return step._replace(by=rng.choice(BY_ANOTHER))
        if draw < 0.055 and step.operation.rounds_up:
            return step.unrounded()
        if step.op == MSEAL and step.a:
            return step._replace(b=rng.randrange(64))
        if step.op == WRITE:
            return step._replace(a=rng.randrange(1, 0x50))
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
        first = (_KINDS.draw(rng), _PROTS.draw(rng))
        base = WRITTEN if rng.random() < 0.75 else 0
        while left:
            units = min(left, rng.choice((1, 1, 1, 1, 2, 2, 3, 4, 8)))
            kind, prot = first
            if not alike:
                kind, prot = _KINDS_OR_HOLE.draw(rng), _PROTS.draw(rng)
            elif rng.random() < 0.2:
                prot = _PROTS.draw(rng)
            traits = base if rng.random() < 0.85 else base ^ WRITTEN
            traits |= SEALED if rng.random() < 0.45 else 0
            traits |= TRAITS["locked"] if rng.random() < 0.06 else 0
            traits |= TRAITS["named"] if rng.random() < 0.04 else 0
            traits |= TRAITS["comb"] if rng.random() < 0.03 else 0
            traits |= TRAITS["unwritable"] if KINDS[kind] == "shared-file" and rng.random() < 0.3 else 0
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
                bit = rng.choice((SEALED, SEALED, WRITTEN, TRAITS["locked"], TRAITS["comb"]))
                segments[i] = segments[i]._replace(traits=segments[i].traits ^ bit)
            changed = replace(changed, segments=tuple(segments))
        return placed(changed)
