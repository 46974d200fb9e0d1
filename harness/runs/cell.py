"""One cell: boot a guest, push the payload, journal what it says, and say how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import GuestError, InfrastructureError, LostGuest
from harness.guests.console import Crash, find_crashes, unplaced
from harness.guests.model import Booted, Exited, Guest, Output
from harness.observations.journal import Collector, Journal, Journalled
from harness.observations.model import Garbage, Observation, Outcome, Plan, Record
from harness.observations.stream import StreamParser, printable
from harness.runs.model import Cell, Stage, Tell, Told, Workload

# A payload that writes this many lines that are no records is not going to write a useful one.
MAX_GARBAGE = 1000
_STDERR_LINES = 5


JOURNAL = "observations.jsonl"
SECOND_JOURNAL = "crosscheck.jsonl"


@dataclass
class CellOutcome:
    """How a cell went. ``lost`` is why its stream is not whole, "" when it is; ``interrupted`` that we ended it.

    ``second`` is what the other payload saw, where there was one. ``host`` are facts of the machine that ran it where
    that is another than ours, ``lost_on`` those that were lost with it before.
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


class CellWorker:
    """Runs one cell from one thread; ``interrupt`` may be called from another."""

    def __init__(self, cell: Cell, workload: Workload, folder: Path, guest: Guest, tell: Tell) -> None:
        self._cell, self._workload, self._folder, self._guest, self._tell = cell, workload, folder, guest, tell
        self._begun = time.monotonic()
        self._planned = len(workload.planned) + (len(workload.second.planned) if workload.second else 0)
        self._seen = 0
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End the guest now; ``run`` then returns with what had been seen."""
        self._interrupted.set()
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
                    listeners[name] = _Listener(workload, journal, self._observed)
            try:
                self._go(outcome, *listeners.values())
            except GuestError as problem:
                outcome.interrupted = self._interrupted.is_set()
                outcome.lost = "interrupted" if outcome.interrupted else str(problem)
            except InfrastructureError as problem:
                outcome.lost = str(problem)
            self._guest.stop()
            console = self._read_console()
            outcome.crashes = find_crashes(console)
            if self._marks() and self._seen and not outcome.lost:
                outcome.lost = unplaced(console, outcome.crashes)
            if outcome.lost:
                outcome.lost = _with_crash(outcome.lost, outcome.crashes)
                listeners[JOURNAL].journal.note("lost", reason=outcome.lost)
        outcome.journalled = listeners[JOURNAL].collector.journalled()
        if SECOND_JOURNAL in listeners:
            outcome.second = listeners[SECOND_JOURNAL].collector.journalled()
        return outcome

    def _go(self, outcome: CellOutcome, first: _Listener, second: _Listener | None = None) -> None:
        self._say("booting")
        with _timed(outcome.seconds, "boot"):
            outcome.booted = self._guest.boot()
        with _timed(outcome.seconds, "push"):
            argv = self._push(first.workload)
        with _timed(outcome.seconds, "payload"):
            outcome.exited, outcome.lost = self._probe(argv, first)
        if second is None or outcome.lost:
            return
        with _timed(outcome.seconds, "crosscheck"):
            _, lost = self._probe(self._push(second.workload), second)
        outcome.lost = f"in the second payload: {lost}" if lost else ""

    def _push(self, workload: Workload) -> list[str]:
        """Push a payload and its files. Returns the command that runs it."""
        self._say("pushing")
        path = self._guest.push(f"payload-{workload.name}", workload.content)
        for name, content in workload.files:
            self._guest.push(name, content, 0o644)
        # Where there is no console of its own, the kernel's log is somebody else's: it is not written into.
        unwanted = () if self._guest.console else ("--kmsg",)
        return [path, *(word for word in workload.arguments if word not in unwanted)]

    def _probe(self, argv: Sequence[str], listener: _Listener) -> tuple[Exited, str]:
        """Run a payload. Returns how it ended, and why its stream is not whole ("" when it is)."""
        errors = bytearray()
        exited: Exited | None = None
        self._say("probing")
        for event in self._guest.run(argv):
            match event:
                case Output("out", data):
                    listener.feed(data)
                case Output(_, data):
                    errors += data
                    del errors[:-4096]
                case Exited():
                    exited = event
        listener.close()
        if exited is None:
            raise LostGuest("the guest ended the payload without saying how")
        return exited, _why_incomplete(listener.workload, listener.collector, exited, bytes(errors))

    def _observed(self) -> None:
        self._seen += 1
        self._say("probing")

    def _marks(self) -> bool:
        """Whether the payload was to name its probes on a console."""
        return self._guest.console is not None and "--kmsg" in self._workload.arguments

    def _read_console(self) -> str:
        if self._guest.console is None or not self._guest.console.exists():
            return ""
        return self._guest.console.read_bytes().decode("utf-8", "replace")

    def _say(self, stage: Stage) -> None:
        self._tell(Told(self._cell.id, stage, time.monotonic() - self._begun, self._seen, self._planned))


class _Listener:
    """Takes one payload's stream: every record to the journal, and together in the collector."""

    def __init__(self, workload: Workload, journal: Journal, observed: Callable[[], None]) -> None:
        self.workload, self.journal, self.collector = workload, journal, Collector()
        self._parser, self._observed = StreamParser(), observed

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream."""
        for line, record in self._parser.feed(data):
            self._take(line, record)

    def close(self) -> None:
        """The stream has ended."""
        for line, record in self._parser.close():
            self._take(line, record)

    def _take(self, line: bytes, record: Record | Garbage) -> None:
        if isinstance(record, Garbage):
            if len(self.collector.garbage) < MAX_GARBAGE:
                self.journal.note("garbage", offset=record.offset, excerpt=record.excerpt, reason=record.reason)
                self.collector.add(record)
                return
            raise LostGuest(
                f"the payload wrote more than {MAX_GARBAGE} lines that are no records; the last: {record.excerpt}"
            )
        self.journal.line(line)
        self.collector.add(record)
        if isinstance(record, Plan):
            self._check_plan(record)
        if isinstance(record, Observation | Outcome):
            self._observed()

    def _check_plan(self, plan: Plan) -> None:
        """The guest must be about to do what we shall judge, with the payload we pushed."""
        if plan.id != self.workload.id:
            raise LostGuest(f"the payload says it is {plan.id}, but {self.workload.id} was pushed")
        if plan.probes != tuple(probe.id for probe in self.workload.planned):
            raise LostGuest("the payload plans other probes than it lists on the host")


def _why_incomplete(workload: Workload, collector: Collector, exited: Exited, errors: bytes) -> str:
    """Why the stream cannot be taken as whole, or "" when it can."""
    if collector.plan is not None and collector.ended and exited.status == 0:
        return ""
    if exited.signal is not None:
        ending = f"the payload was killed by signal {exited.signal}"
    elif exited.status:
        ending = f"the payload exited with status {exited.status}"
    else:
        ending = f"the payload ended after {len(collector.observations)} of {len(workload.planned)} observations"
    tail = [printable(line) for line in errors.splitlines() if line.strip()][-_STDERR_LINES:]
    return f"{ending}: {' | '.join(tail)}" if tail else ending


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
