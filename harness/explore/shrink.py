"""Making a program smaller as long as it shows the same finding: fewer steps, fewer units, plainer memory. Pure.

``smaller`` gives every program that is one change simpler, the simplest first; ``shrink`` has all of them tried at
once, takes the best that still shows it, and begins again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from harness.explore.operations import by_name
from harness.explore.program import BY, FLAGS, KINDS, TRAITS, Program, Segment, Step
from harness.explore.state import TO
from harness.explore.templates import merged

_MREMAP, _MSEAL = by_name("mremap").number, by_name("mseal").number
_RW = 3
SHRINK_SECONDS = 30.0  # for one finding, at most


def size(program: Program) -> tuple[int, ...]:
    """What is made small, the most important first."""
    return (
        len(program.steps),
        program.units,
        program.scale,
        program.place + 2 * program.flags,
        len(program.segments),
        sum(s.times + 3 * s.by for s in program.steps),
        sum(s.kind + 2 * bin(s.traits).count("1") + (s.prot != _RW) for s in program.segments),
        sum(s.units for s in program.steps),
    )


def smaller(program: Program) -> Iterator[Program]:
    """Every program that is one change simpler."""
    steps = program.steps
    for i in range(len(steps)):
        yield program.with_steps(steps[:i] + steps[i + 1 :])
    if steps and steps[0].op == _MSEAL:
        yield replace(program, segments=_sealed(program, steps[0]), steps=steps[1:])
    for i in range(program.units):
        if program.units > 1 and (cut := _without_unit(program, i)) is not None:
            yield cut
    if program.scale:
        yield replace(program, scale=0)
        yield replace(program, scale=program.scale - 1)
    if program.place and not any(s.traits & TRAITS["growsdown"] for s in program.segments):  # it needs the room
        yield replace(program, place=0)
    for bit in FLAGS.values():
        if program.flags & bit:
            yield replace(program, flags=program.flags & ~bit)
    for i, segment in enumerate(program.segments):
        for plainer in _plainer(segment):
            changed = (*program.segments[:i], plainer, *program.segments[i + 1 :])
            yield replace(program, segments=merged(changed))
    for i, step in enumerate(steps):
        for plainer_step in _plainer_steps(step):
            yield program.with_steps((*steps[:i], plainer_step, *steps[i + 1 :]))


def _sealed(program: Program, step: Step) -> tuple[Segment, ...]:
    """The window as a first step seals it."""
    units = [segment._replace(units=1) for segment in program.segments for _ in range(segment.units)]
    for i in (i for i in range(step.start, step.start + step.units) if units[i].kind):
        units[i] = units[i]._replace(traits=units[i].traits | TRAITS["sealed"])
    return merged(units)


def _plainer(segment: Segment) -> Iterator[Segment]:
    if segment.kind == 0:
        yield Segment(1, _RW, segment.units, TRAITS["written"])
        return
    last = ("sealed", "written")
    for bit in (*(b for name, b in TRAITS.items() if name not in last), *(TRAITS[name] for name in last)):
        if segment.traits & bit:
            yield segment._replace(traits=segment.traits & ~bit)
    if segment.kind != KINDS.index("anon"):
        yield segment._replace(kind=KINDS.index("anon"))
    if segment.prot != _RW:
        yield segment._replace(prot=_RW)


def _plainer_steps(step: Step) -> Iterator[Step]:
    if step.times > 1:
        yield step._replace(times=1)
        yield step._replace(times=step.times // 2)
        yield step._replace(times=step.times - 1)
    for bit in BY.values():
        if step.by & bit:
            yield step._replace(by=step.by & ~bit)
    if step.operation.ranged and step.units > 1:
        yield step._replace(units=step.units - 1)
        yield step._replace(start=step.start + 1, units=step.units - 1)


def _without_unit(program: Program, unit: int) -> Program | None:
    """The window without one unit; None where a step would be left without a range."""
    segments, at = [], 0
    for segment in program.segments:
        units = segment.units - (at <= unit < at + segment.units)
        at += segment.units
        if units:
            segments.append(segment._replace(units=units))
    steps = []
    for step in program.steps:
        cut = _step_without(step, unit)
        if cut is None:
            return None
        steps.append(cut)
    return replace(program, segments=merged(segments), steps=tuple(steps))


def _step_without(step: Step, unit: int) -> Step | None:
    if not step.operation.ranged:
        return step
    start, units = step.start, step.units
    if start <= unit < start + units:
        units -= 1
    elif unit < start:
        start -= 1
    if not units:
        return None
    b = step.b
    if step.op == _MREMAP and step.a in TO:
        b -= unit < b
        if b == start:
            return None
    elif step.op == _MREMAP and b:
        b = max(1, b - (step.start <= unit < step.start + step.units))
    return step._replace(start=start, units=units, b=b)


def shrink(program: Program, shows: Callable[[Sequence[Program]], list[bool]], *, rounds: int = 60) -> Program:
    """The smallest program found that still shows it. ``shows`` says of each of many programs whether it does."""
    for _ in range(rounds):
        candidates = sorted({c for c in smaller(program) if size(c) < size(program)}, key=lambda c: (size(c), str(c)))
        if not candidates:
            break
        kept = [c for c, shown in zip(candidates, shows(candidates), strict=True) if shown]
        if not kept:
            break
        program = kept[0]
    return program
