"""Which program makes the kernel report something: tried in guests of their own, for it may report once a boot only."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress

from harness.errors import GuestError, LostGuest
from harness.explore.executor import CHUNK
from harness.explore.exploration import ExploreFinding
from harness.explore.guest import ConsoleNews, ProgramGuest
from harness.explore.oracles import StepProblem
from harness.explore.program import Program
from harness.explore.shrink import SHRINK_SECONDS, shrink
from harness.guests.console import Crash, plain_title
from harness.guests.console_lines import DROPPED_WORDS

_CULPRITS = 8  # of the programs that ran, how many are tried alone
RunAlone = Callable[[Sequence[Program]], object]


class ReportTrials:
    """``run`` runs programs in ``guest``, each in a process of its own."""

    def __init__(self, guest: ProgramGuest, run: RunAlone, *, first_only: bool) -> None:
        self._guest, self._run, self._first_only = guest, run, first_only

    def blame(self, programs: Sequence[Program], crash: Crash) -> ExploreFinding | None:
        """The program that makes the kernel say it: the chunk that ran, then one after another in processes of their
        own. None where it does not come again; ``GuestError`` where nobody knows."""
        chunks = [programs[place : place + CHUNK] for place in _places(crash)]
        suspects = [program for chunk in chunks for program in chunk] or list(programs)
        trial = self.trial(suspects, crash.title)
        if trial is None:
            return None
        again, mark = trial
        culprits = [suspects[i] for i in mark if i < len(suspects)] or suspects
        for culprit in culprits[:_CULPRITS]:
            if self.trial([culprit], crash.title) is None:
                continue
            if self._first_only:
                return ExploreFinding(StepProblem("console", -1, "program", again.title, ("O8",)), culprit, culprit)
            small = self._shrunk(culprit, crash.title)
            step = max(0, len(small.steps) - 1)
            name = small.steps[step].operation.name if small.steps else "mseal"
            problem = StepProblem("console", step, name, again.title, ("O8",))
            return ExploreFinding(problem, small, culprit, quote=again.lines)
        return None

    def trial(self, programs: Sequence[Program], like: str) -> tuple[Crash, list[int]] | None:
        """Run programs in a guest of their own: the first report like the title ``like``, and the programs that ran
        then. Whatever else is said is kept for others. Raises ``GuestError`` where nobody knows whether there was one.
        """
        self._guest.stop()
        before = self._guest.take()
        self._guest.executor()
        with suppress(LostGuest):
            self._run(programs)
        self._guest.stop()
        news = self._guest.take()
        mine = [crash for crash in news.reports if plain_title(crash.title) == plain_title(like)]
        others = tuple(crash for crash in news.reports if crash not in mine)
        self._guest.keep(before + ConsoleNews(others, news.dropped))
        if not mine and news.dropped:
            raise GuestError(DROPPED_WORDS)
        if not mine:
            return None
        return mine[0], _places(mine[0])

    def _shrunk(self, culprit: Program, title: str) -> Program:
        until = time.monotonic() + SHRINK_SECONDS
        return shrink(culprit, lambda candidates: self._first_that_reports(candidates, title, until), rounds=40)

    def _first_that_reports(self, candidates: Sequence[Program], title: str, until: float) -> list[bool]:
        """Of many candidates, each in a process of its own, the first that the report falls on: one trial for all,
        then one for that alone."""
        shown = [False] * len(candidates)
        if time.monotonic() > until:
            return shown
        with suppress(GuestError):  # then nobody knows, and what is known to show it stays
            trial = self.trial(candidates, title)
            for i in trial[1] if trial else ():
                if i < len(candidates) and self.trial([candidates[i]], title) is not None:
                    shown[i] = True
                    break
        return shown


def _places(crash: Crash) -> list[int]:
    """The places in their batch of the programs, or the first ones of the chunks, that ran when it was reported."""
    places = (suspect.rpartition("/")[2] for suspect in crash.suspects)
    return [int(place) for place in places if place.isdigit()]
