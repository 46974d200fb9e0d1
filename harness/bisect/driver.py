"""Making trials: what is common to searches over builds and over commits."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.bisect.search import Answer
from harness.bisect.session import Session
from harness.bisect.trial_log import Purpose, Trial, TrialLog
from harness.bisect.trial_runner import MakeTrials, TrialRequest
from harness.kernels.model import Kernel


@dataclass(frozen=True)
class BisectProgress:
    """A progress event: something is going on, or a ``trial`` was made and says ``answer``.

    ``told`` is what it showed. ``left`` more rounds are expected (None: nobody knows), which take about ``seconds``.
    """

    doing: str
    trial: Trial | None = None
    answer: Answer | None = None
    left: int | None = None
    seconds: float | None = None
    told: str = ""


OnBisectProgress = Callable[[BisectProgress], None]


class Driver:
    """Asks kernels, enters the answers into book and session, and says how long the rest will take."""

    def __init__(
        self,
        session: Session,
        book: TrialLog,
        ask: MakeTrials,
        on_progress: OnBisectProgress,
        name: Callable[[str], str] = str,
    ) -> None:
        self.session, self.book, self.on_progress = session, book, on_progress
        self._ask, self._name = ask, name
        self._begun = time.monotonic()
        self._rounds = 0

    def say(self, doing: str, left: int | None = None) -> None:
        """Tell what is being done now."""
        self.on_progress(BisectProgress(doing, None, None, left, self._seconds(left)))

    def note(self, trial: Trial, left: int | None = None) -> None:
        """Enter a trial that was no boot."""
        self._enter([trial], left)

    def make(
        self, kernels: Mapping[str, Kernel], boots: Mapping[str, int], purpose: Purpose, left: int, spent: float = 0.0
    ) -> None:
        """Have each point answer as often as it must: from what is stored, unless the answers are being checked, and
        by booting it. ``spent`` seconds went into the kernel before."""
        wanted = []
        for point, kernel in kernels.items():
            met = self.meet(point, kernel, purpose, left)
            times = self.missing(point) if met and purpose != "check" else boots[point]
            if times and purpose != "check" and not self.session.task.fresh:
                recalled = self._recalled(TrialRequest(point, kernel, times, purpose))
                self._enter(recalled, left)
                times -= len(recalled)
            if times > 0:
                wanted.append(TrialRequest(point, kernel, times, purpose))
        if wanted:
            self.say("booting " + ", ".join(self._name(want.point) for want in wanted), left)
            first, *others = self._ask.boot(wanted)
            self._enter([replace(first, seconds=round(first.seconds + spent, 3)), *others], left)
        self._rounds += 1

    def missing(self, point: str) -> int:
        """How many more boots a point needs."""
        return self.book.tally(point).missing(self.book.repeat, self.book.required)

    def _recalled(self, want: TrialRequest) -> list[Trial]:
        """What is stored and not in the book: a round that was interrupted may have finished some of its boots."""
        known = {(Path(trial.run).resolve(), trial.cell) for trial in self.book.trials if trial.run}
        found = self._ask.recall(want)
        return [t for t in found if (Path(t.run).resolve(), t.cell) not in known][: want.boots]

    def meet(self, point: str, kernel: Kernel, purpose: Purpose, left: int | None) -> bool:
        """Remark that a point's kernel is another one than before, or the very same as another point's; either way the
        point's answers are others now. False when there is nothing to remark."""
        image, known = kernel.sha256, self.book.image(point)
        if known == image:
            return False
        remarks = []
        if known:
            said = f"the kernel has changed (sha256 {image[:16]}); the answer of {known[:16]} does not count"
            remarks.append(Trial(point, image, purpose, "changed", reason=said, version=kernel.version))
        others = (t.point for t in self.book.trials if t.image == image and t.seen is not None and t.point != point)
        if twin := next(others, ""):
            said = f"its kernel is identical to that of {self._name(twin)}"
            remarks.append(Trial(point, image, purpose, "same", reason=said, version=kernel.version))
        self._enter(remarks, left)
        return bool(remarks)

    def _enter(self, trials: Sequence[Trial], left: int | None) -> None:
        self.session.keep(list(trials))
        self.book.add(trials)
        for trial in trials:
            answer = None if trial.is_remark else self.book.answer(trial)
            self.on_progress(BisectProgress("", trial, answer, left, self._seconds(left), self.book.told(trial)))

    def _seconds(self, left: int | None) -> float | None:
        if left is None or not self._rounds:
            return None
        return left * (time.monotonic() - self._begun) / self._rounds
