"""The same programs on two kernels: what the model permits both and they do otherwise, in classes."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from harness.errors import GuestError, InfrastructureError
from harness.explore.difference import ProgramDifference, first_difference
from harness.explore.executor import CHUNK
from harness.explore.exploration import Exploration
from harness.explore.program import Program
from harness.explore.session import Explorer, OnMessage
from harness.explore.shrink import SHRINK_SECONDS, shrink
from harness.explore.source import BATCH, ProgramSource
from harness.explore.wire import ProgramFacts


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
    """Runs programs on two kernels, one after the other; ``on_progress`` is told how far it came."""

    def __init__(self, here: Explorer, there: Explorer, on_progress: OnMessage) -> None:
        self._here, self._there, self._on_progress = here, there, on_progress

    def explore(
        self, source: ProgramSource, seconds: float, compared: Compared, corpus: Sequence[Program] = ()
    ) -> Compared:
        """Until ``seconds`` are over; what was found is made small then. Why a kernel gave no answer is told of it."""
        sides = ((self._here, compared.here), (self._there, compared.there))
        for explorer, outcome in sides:
            with _told_of(explorer, (), outcome):
                explorer.executor()
        begun = time.monotonic()
        first, programs = list(corpus), list[Program]()
        while not (compared.here.lost or compared.there.lost) and (first or time.monotonic() - begun < seconds):
            programs, first = first or source.batch(BATCH, CHUNK), []
            try:
                self._batch(programs, source, compared)
            finally:
                for _, outcome in sides:
                    outcome.reached(source, time.monotonic() - begun)
            self._on_progress(f"{compared.there.programs} programs on both, {len(compared.classes)} differences")
        for number, (sort, known) in enumerate(compared.classes.items(), 1):
            self._on_progress(f"making the program of difference {number} of {len(compared.classes)} small")
            compared.classes[sort] = self._shrunk(known, compared)
        for explorer, outcome in sides:
            with _told_of(explorer, programs, outcome):
                explorer.finish(programs, outcome)
        return compared

    def _batch(self, programs: Sequence[Program], source: ProgramSource, compared: Compared) -> None:
        sides: list[Sequence[ProgramFacts | None]] = []
        for explorer, outcome, learns in ((self._here, compared.here, source), (self._there, compared.there, None)):
            with _told_of(explorer, programs, outcome):
                sides.append(explorer.batch(programs, learns, outcome))
        if len(sides) < 2:
            return
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

    def _differences(self, programs: Sequence[Program], compared: Compared) -> list[ProgramDifference | None]:
        sides = []
        for explorer, outcome in ((self._here, compared.here), (self._there, compared.there)):
            with _told_of(explorer, programs, outcome):
                sides.append([facts for _, facts in explorer.run(programs, chunk=1)])
        if len(sides) < 2:
            return [None] * len(programs)
        return [
            first_difference(program, mine, theirs) if mine is not None and theirs is not None else None
            for program, mine, theirs in zip(programs, *sides, strict=True)
        ]

    def _shrunk(self, known: DifferenceClass, compared: Compared) -> DifferenceClass:
        until = time.monotonic() + SHRINK_SECONDS

        def shows(candidates: Sequence[Program]) -> list[bool]:
            if time.monotonic() > until:
                return [False] * len(candidates)
            return [d is not None and d.same == known.difference.same for d in self._differences(candidates, compared)]

        small = shrink(known.program, shows)
        (difference,) = self._differences([small], compared)
        if difference is None or difference.same != known.difference.same:
            return known
        return replace(known, program=small, difference=difference)


@contextmanager
def _told_of(explorer: Explorer, programs: Sequence[Program], outcome: Exploration) -> Iterator[None]:
    """What keeps a kernel from answering is that kernel's, whichever is asked beside it."""
    try:
        yield
    except GuestError as lost:
        explorer.lost(programs, lost, outcome)
    except InfrastructureError as problem:
        outcome.lost = outcome.lost or str(problem)
