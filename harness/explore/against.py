"""The same programs on two kernels: what the model permits both and they do otherwise, in classes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from harness.errors import GuestError
from harness.explore.difference import ProgramDifference, first_difference
from harness.explore.executor import CHUNK
from harness.explore.exploration import Exploration
from harness.explore.program import Program
from harness.explore.session import Explorer
from harness.explore.shrink import shrink
from harness.explore.source import BATCH, ProgramSource

_SHRINK_SECONDS = 30.0


@dataclass(frozen=True)
class DifferenceClass:
    """Programs that two kernels do otherwise in the same way; ``program`` is the smallest found."""

    difference: ProgramDifference
    program: Program
    count: int = 1


@dataclass
class Compared:
    """What came of it; the outcomes are those of each kernel alone."""

    here: Exploration
    there: Exploration
    classes: dict[tuple[str, str], DifferenceClass] = field(default_factory=dict)


class Against:
    """Runs programs on two kernels, one after the other."""

    def __init__(self, here: Explorer, there: Explorer) -> None:
        self._here, self._there = here, there

    def explore(
        self, source: ProgramSource, seconds: float, compared: Compared, corpus: Sequence[Program] = ()
    ) -> Compared:
        """Until ``seconds`` are over; what was found is made small then."""
        self._here.executor(), self._there.executor()
        begun = time.monotonic()
        first = list(corpus)
        while first or time.monotonic() - begun < seconds:
            programs = first or source.batch(BATCH, CHUNK)
            first = []
            if not self._batch(programs, source, compared):
                break
            for outcome in (compared.here, compared.there):
                outcome.reached(source, time.monotonic() - begun)
        for sort, known in compared.classes.items():
            compared.classes[sort] = self._shrunk(known)
        compared.here.plan, compared.there.plan = self._here.plan, self._there.plan
        return compared

    def _batch(self, programs: Sequence[Program], source: ProgramSource, compared: Compared) -> bool:
        sides = []
        for explorer, outcome, learns in ((self._here, compared.here, source), (self._there, compared.there, None)):
            try:
                sides.append(explorer.batch(programs, learns, outcome))
            except GuestError as lost:
                explorer.lost(programs, lost, outcome)
                return not outcome.lost
        for program, here, there in zip(programs, *sides, strict=True):
            if here is None or there is None or (found := first_difference(program, here, there)) is None:
                continue
            known = compared.classes.get(found.same)
            if known is None:
                compared.classes[found.same] = DifferenceClass(found, program)
            else:
                smallest = min(known.program, program, key=lambda p: (len(p.steps), p.units, str(p)))
                shown = known.difference if smallest is known.program else found
                compared.classes[found.same] = DifferenceClass(shown, smallest, known.count + 1)
        return True

    def _differences(self, programs: Sequence[Program]) -> list[ProgramDifference | None]:
        here = self._here.run(programs, chunk=1)
        there = self._there.run(programs, chunk=1)
        return [
            first_difference(program, mine, theirs) if mine is not None and theirs is not None else None
            for program, (_, mine), (_, theirs) in zip(programs, here, there, strict=True)
        ]

    def _shrunk(self, known: DifferenceClass) -> DifferenceClass:
        until = time.monotonic() + _SHRINK_SECONDS

        def shows(candidates: Sequence[Program]) -> list[bool]:
            if time.monotonic() > until:
                return [False] * len(candidates)
            return [d is not None and d.same == known.difference.same for d in self._differences(candidates)]

        small = shrink(known.program, shows)
        (difference,) = self._differences([small])
        if difference is None or difference.same != known.difference.same:
            return known
        return replace(known, program=small, difference=difference)
