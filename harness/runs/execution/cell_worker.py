"""One cell: boot a guest, push the payload, journal what it says, and say how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from harness.errors import InfrastructureError
from harness.guests.console import Crash
from harness.guests.model import Booted, Exited, Guest, Queues
from harness.observations.collector import Journalled
from harness.observations.journal import Journal
from harness.runs.execution.doubt import alone, doubtful
from harness.runs.execution.explorer import CellExplorer
from harness.runs.execution.extra_guest import Helped, help_out
from harness.runs.execution.payload_stream import HandedOver, Listener, anything_may_begin, probe, push, read_console
from harness.runs.execution.probe_split import Pace, Shares
from harness.runs.model import JOURNAL, SECOND_JOURNAL, Cell, OnProgress, ProgressEvent, Stage, Workload


@dataclass
class CellOutcome:
    """How a cell went. ``lost`` is why its stream is not whole, "" when it is; ``interrupted`` that we ended it.

    ``second`` is what the other payload saw, where there was one. ``host`` are facts of the machine that ran it where
    that is another than ours, ``lost_on`` those that were lost with it before. ``helped`` are the further guests that
    took over a share of the probes.
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
    helped: tuple[Helped, ...] = ()


class CellWorker:
    """Runs one cell from one thread; ``interrupt`` and ``help`` may be called from others.

    ``freed`` is told when the cell's own guest is gone, which is before the cell has ended if others help it.
    ``another`` makes one more guest of the same kernel, for a cell that is explored.
    """

    def __init__(
        self,
        cell: Cell,
        workload: Workload,
        folder: Path,
        guest: Guest,
        on_progress: OnProgress,
        freed: Callable[[], None] = lambda: None,
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
        self._freed, self._another = freed, another
        self._begun = time.monotonic()
        self._planned = len(workload.planned) + (len(workload.second.planned) if workload.second else 0)
        self._seen = 0
        self._interrupted = threading.Event()
        self._exploring: CellExplorer | None = None
        self._pace = Pace(Shares([probe.id for probe in workload.planned]))
        # Guards the helpers: no further one may come once the cell has begun to put together what was seen.
        # A helper that ends at once may bring the next one while its own start still goes on: reentrant.
        self._lock = threading.RLock()
        self._helping: list[tuple[Guest, Future[Helped]]] = []
        self._closed = False

    @property
    def cell(self) -> Cell:
        """What it runs."""
        return self._cell

    @property
    def pace(self) -> Pace:
        """How fast the cell gets on, and what is left to do."""
        return self._pace

    def interrupt(self) -> None:
        """End the guests now; ``run`` then returns with what had been seen."""
        self._interrupted.set()
        if self._exploring is not None:
            self._exploring.interrupt()
        with self._lock:
            guests = [self._guest, *(guest for guest, _ in self._helping)]
        for guest in guests:
            guest.stop()

    def help(self, guest: Guest, folder: Path, start: Callable[[Callable[[], Helped]], Future[Helped]]) -> None:
        """Have one more guest of the same kernel take over half of what is left, in a thread that ``start`` gives."""
        with self._lock:
            if not self._closed and not self._interrupted.is_set():
                self._pace.shares.invite()
                work = partial(help_out, guest, folder, self._workload, self._pace.shares, self._observed)
                self._helping.append((guest, start(work)))

    def run(self) -> CellOutcome:
        """Run the cell to its end. Never raises for what a guest does; ``StoreError`` when the disk refuses."""
        outcome = CellOutcome(self._cell)
        listeners = {}
        with ExitStack() as stack:
            stack.callback(self._guest.stop)
            for name, workload in ((JOURNAL, self._workload), (SECOND_JOURNAL, self._workload.second)):
                if workload is not None:
                    journal = stack.enter_context(Journal(self._folder / name))
                    begins = self._pace.begins if name == JOURNAL else anything_may_begin
                    listeners[name] = Listener(workload, journal, self._observed, begins)
            try:
                self._go(outcome, *listeners.values())
            except InfrastructureError as problem:
                outcome.lost = str(problem)
            self._guest.stop()
            if not self._explores:
                self._freed()
            outcome.crashes, unplaced = read_console(self._guest, self._workload)
            outcome.lost = outcome.lost or (unplaced if listeners[JOURNAL].collector.observations else "")
            self._gather(outcome, listeners[JOURNAL])
            if outcome.lost:
                outcome.interrupted = self._interrupted.is_set()
                outcome.lost = "interrupted" if outcome.interrupted else outcome.lost
                outcome.lost = _with_crash(outcome.lost, outcome.crashes)
                listeners[JOURNAL].journal.note("lost", reason=outcome.lost)
        outcome.journalled = listeners[JOURNAL].collector.journalled()
        if SECOND_JOURNAL in listeners:
            outcome.second = listeners[SECOND_JOURNAL].collector.journalled()
        if self._explores:
            self._explore(outcome)
        return outcome

    @property
    def _explores(self) -> bool:
        return self._cell.explore is not None and self._another is not None

    def _explore(self, outcome: CellOutcome) -> None:
        """Run generated programs in a guest of their own, unless the cell has come to grief already."""
        explore, another = self._cell.explore, self._another
        if outcome.lost or explore is None or another is None:
            self._freed()
            return
        self._exploring = CellExplorer(self._cell, explore, self._workload.content, self._folder, another)
        if self._interrupted.is_set():
            self._exploring.interrupt()
        self._say("exploring")
        with _timed(outcome.seconds, "explore"):
            self._exploring.run(lambda note: self._say("exploring", note))
        self._freed()
        if self._interrupted.is_set():
            outcome.interrupted, outcome.lost = True, "interrupted"

    def _go(self, outcome: CellOutcome, first: Listener, second: Listener | None = None) -> None:
        self._say("booting")
        if isinstance(self._guest, Queues):
            self._guest.waits = self._waits
        with _timed(outcome.seconds, "boot"):
            outcome.booted = self._guest.boot()
        with _timed(outcome.seconds, "push"):
            self._say("pushing")
            argv = push(self._guest, first.workload)
        self._pace.starts(outcome.seconds["boot"] + outcome.seconds["push"])
        with _timed(outcome.seconds, "payload"):
            outcome.exited, outcome.lost = self._probe(argv, first)
            if outcome.exited is not None and not outcome.lost:
                outcome.exited, outcome.lost = self._probe_again(argv, first, outcome.exited)
        if second is None or outcome.lost:
            return
        with _timed(outcome.seconds, "crosscheck"):
            _, lost = self._probe(push(self._guest, second.workload), second)
        outcome.lost = f"in the second payload: {lost}" if lost else ""

    def _probe(self, argv: Sequence[str], listener: Listener) -> tuple[Exited | None, str]:
        self._say("probing")
        try:
            return probe(self._guest, argv, listener)
        except HandedOver:
            return None, ""

    def _probe_again(self, argv: Sequence[str], listener: Listener, exited: Exited | None) -> tuple[Exited | None, str]:
        """Ask again, alone, what was not as usual among others. A sample of the rest the payload asked both ways."""
        lost = ""
        for probes in doubtful(self._cell, listener.workload, listener.collector):
            listener.again(probes)
            exited, lost = self._probe(alone(argv, probes), listener)
            if lost:
                break
        return exited, lost

    def _gather(self, outcome: CellOutcome, listener: Listener) -> None:
        """Wait for the guests that help, and put what they saw behind what the cell's own guest saw."""
        self._pace.shares.end(self._pace.shares.first)
        with self._lock:
            self._closed = True
            helping = [future for _, future in self._helping]
        begun = time.monotonic()
        outcome.helped = tuple(sorted((future.result() for future in helping), key=lambda one: one.begin))
        sharing = [one for one in outcome.helped if one.shares]
        for one in sharing:
            listener.take_over(one.journal, one.number, one.garbage)
            outcome.crashes += one.crashes
            outcome.exited = one.exited
        if sharing or outcome.exited is None:
            outcome.seconds["payload"] = round(outcome.seconds.get("payload", 0.0) + time.monotonic() - begun, 3)
            lost = next((f"in guest {one.number}: {one.lost}" for one in sharing if one.lost), "")
            outcome.lost = outcome.lost or lost or listener.unseen()

    def _observed(self) -> None:
        with self._lock:
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
