"""One cell: boot a guest, push the payload, journal what it says, and say how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import InfrastructureError
from harness.guests.console import Crash
from harness.guests.model import Booted, Exited, Guest, Queues
from harness.model.verdict import INTERRUPTED
from harness.observations.collector import Journalled
from harness.observations.journal import Journal
from harness.runs.execution.doubt import alone, doubtful
from harness.runs.execution.explorer import CellExplorer
from harness.runs.execution.leaks import look_for_leaks, looks_for_leaks
from harness.runs.execution.payload_stream import Listener, probe, push, read_console
from harness.runs.execution.suite_runner import run_suites
from harness.runs.model import JOURNAL, SECOND_JOURNAL, Cell, OnProgress, ProgressEvent, Stage, Workload
from harness.verdicts.judge import Findings


@dataclass
class CellOutcome:
    """How a cell went. ``lost`` is why its stream is not whole, "" when it is; ``interrupted`` that we ended it.

    ``second`` is what the other payload saw, where there was one. ``host`` are facts of the machine that ran it where
    that is another than ours, ``lost_on`` those that were lost with it before. ``findings`` has what was judged while
    the cell ran.
    """

    cell: Cell
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    journalled: Journalled | None = None
    booted: Booted | None = None
    lost: str = ""
    interrupted: bool = False
    exited: Exited | None = None
    crashes: tuple[Crash, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)
    second: Journalled | None = None
    host: dict[str, str] = field(default_factory=dict)
    lost_on: tuple[str, ...] = ()
    findings: Findings | None = None


class CellWorker:
    """Runs one cell from one thread; ``interrupt`` may be called from others.

    ``another`` makes one more guest of the same kernel, for a cell that is explored.
    """

    def __init__(
        self,
        cell: Cell,
        workload: Workload,
        folder: Path,
        guest: Guest,
        on_progress: OnProgress,
        *,
        another: Callable[[Path], Guest] | None = None,
    ) -> None:
        self._cell, self._workload, self._folder, self._guest, self._on_progress = (
            cell,
            workload,
            folder,
            guest,
            on_progress,
        )
        self._another = another
        self._begun = time.monotonic()
        self._planned = len(workload.planned) + (len(workload.second.planned) if workload.second else 0)
        self._planned += workload.suites.programs if workload.suites else 0
        self._seen = 0
        self._interrupted = threading.Event()
        self._exploring: CellExplorer | None = None

    def interrupt(self) -> None:
        """End the guest now; ``run`` then returns with what had been seen."""
        self._interrupted.set()
        if self._exploring is not None:
            self._exploring.interrupt()
        self._guest.stop()

    def run(self) -> CellOutcome:
        """Run the cell to its end. Never raises for what a guest does; ``StoreError`` when the disk refuses."""
        outcome = CellOutcome(self._cell)
        listeners = {}
        with ExitStack() as stack:
            stack.callback(self._guest.stop)
            for name, workload in ((JOURNAL, self._workload), (SECOND_JOURNAL, self._workload.second)):
                if workload is not None:
                    journal = stack.enter_context(Journal(self._folder / name))
                    listeners[name] = Listener(workload, journal, self._observed)
            try:
                self._go(outcome, *listeners.values())
            except InfrastructureError as problem:
                outcome.lost = str(problem)
            self._guest.stop()
            outcome.crashes, unsure = read_console(self._guest, self._workload)
            asked = listeners[JOURNAL].collector.observations or self._workload.suites
            outcome.lost = outcome.lost or (unsure if asked else "")
            if outcome.lost:
                outcome.interrupted = self._interrupted.is_set()
                outcome.lost = INTERRUPTED if outcome.interrupted else outcome.lost
                outcome.lost = _with_crash(outcome.lost, outcome.crashes)
                listeners[JOURNAL].journal.note("lost", reason=outcome.lost)
        outcome.journalled = listeners[JOURNAL].collector.journalled()
        if SECOND_JOURNAL in listeners:
            outcome.second = listeners[SECOND_JOURNAL].collector.journalled()
        self._explore(outcome)
        return outcome

    def _explore(self, outcome: CellOutcome) -> None:
        """Run generated programs in a guest of their own where that was asked, unless the cell has failed already."""
        explore, another = self._cell.explore, self._another
        if outcome.lost or explore is None or another is None:
            return
        self._exploring = CellExplorer(self._cell, explore, self._workload.content, self._folder, another)
        if self._interrupted.is_set():
            self._exploring.interrupt()
        self._say("exploring")
        with _timed(outcome.seconds, "explore"):
            self._exploring.run(lambda note: self._say("exploring", note))
        if self._interrupted.is_set():
            outcome.interrupted, outcome.lost = True, INTERRUPTED

    def _go(self, outcome: CellOutcome, first: Listener, second: Listener | None = None) -> None:
        self._say("booting")
        if isinstance(self._guest, Queues):
            self._guest.waits = self._waits
        with _timed(outcome.seconds, "boot"):
            outcome.booted = self._guest.boot()
        if not first.workload.content:
            self._run_suites(outcome, first)
            return
        with _timed(outcome.seconds, "push"):
            self._say("pushing")
            argv = push(self._guest, first.workload)
        with _timed(outcome.seconds, "payload"):
            outcome.exited, outcome.lost = self._probe(argv, first)
            if not outcome.lost:
                self._probe_again(argv, first, outcome)
        if second is not None and not outcome.lost:
            with _timed(outcome.seconds, "crosscheck"):
                _, lost = self._probe(push(self._guest, second.workload), second)
            outcome.lost = f"in the second payload: {lost}" if lost else ""
        if not outcome.lost and looks_for_leaks(self._cell, self._guest, first.workload):
            with _timed(outcome.seconds, "leaks"):
                self._say("probing", "looking for lost memory")
                outcome.lost = look_for_leaks(self._guest, argv[0])
        if not outcome.lost:
            self._run_suites(outcome, first)

    def _run_suites(self, outcome: CellOutcome, listener: Listener) -> None:
        """Run foreign suites, if there are any, in the same guest; what they print goes into the cell's journal."""
        if (load := listener.workload.suites) is None:
            return
        with _timed(outcome.seconds, "suites"):
            self._say("pushing")
            run_suites(self._guest, load, listener.note, self._observed)

    def _probe(self, argv: Sequence[str], listener: Listener) -> tuple[Exited, str]:
        self._say("probing")
        return probe(self._guest, argv, listener)

    def _probe_again(self, argv: Sequence[str], listener: Listener, outcome: CellOutcome) -> None:
        """Ask again, alone, what was not as usual among others. A sample of the rest the payload asked both ways."""
        second = doubtful(self._cell, listener.workload, listener.collector)
        outcome.findings = second.findings
        for probes in second.again:
            listener.again(probes)
            outcome.exited, outcome.lost = self._probe(alone(argv, probes), listener)
            if outcome.lost:
                break

    def _observed(self) -> None:
        self._seen += 1
        self._say("probing")

    def _waits(self, reason: str) -> None:
        self._say("waiting" if reason else "booting", reason)

    def _say(self, stage: Stage, note: str = "") -> None:
        self._on_progress(
            ProgressEvent(self._cell.id, stage, time.monotonic() - self._begun, self._seen, self._planned, note)
        )


def _with_crash(lost: str, crashes: Sequence[Crash]) -> str:
    """Put the kernel's own words first where it has any."""
    fatal = [crash for crash in crashes if crash.fatal]
    return f"{fatal[-1].title} ({lost})" if fatal and fatal[-1].title not in lost else lost


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Keep the seconds a block took, also when it raises."""
    begun = time.monotonic()
    try:
        yield
    finally:
        seconds[name] = round(time.monotonic() - begun, 3)
