"""One cell: boot a guest, push the payload, journal what it says, and say how it ended."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import GuestError, InfrastructureError, LostGuest
from harness.guests.console import Crash, find_crashes
from harness.guests.model import Booted, Exited, Guest, Output
from harness.observations.journal import Collector, Journal, Journalled
from harness.observations.model import Garbage, Observation, Plan
from harness.observations.stream import StreamParser, printable
from harness.runs.model import Cell, Stage, Tell, Told, Workload

# A payload that writes this many lines that are no records is not going to write a useful one.
MAX_GARBAGE = 1000
_STDERR_LINES = 5


@dataclass
class CellOutcome:
    """How a cell went. ``lost`` is why its stream is not whole, "" when it is; ``interrupted`` that we ended it."""

    cell: Cell
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    journalled: Journalled | None = None
    booted: Booted | None = None
    lost: str = ""
    interrupted: bool = False
    exited: Exited | None = None
    crashes: tuple[Crash, ...] = ()
    seconds: dict[str, float] = field(default_factory=dict)


class CellWorker:
    """Runs one cell from one thread; ``interrupt`` may be called from another."""

    def __init__(self, cell: Cell, workload: Workload, folder: Path, guest: Guest, tell: Tell) -> None:
        self._cell, self._workload, self._folder, self._guest, self._tell = cell, workload, folder, guest, tell
        self._begun = time.monotonic()
        self._collector = Collector()
        self._interrupted = threading.Event()

    def interrupt(self) -> None:
        """End the guest now; ``run`` then returns with what had been seen."""
        self._interrupted.set()
        self._guest.stop()

    def run(self) -> CellOutcome:
        """Run the cell to its end. Never raises for what a guest does; ``StoreError`` when the disk refuses."""
        outcome = CellOutcome(self._cell)
        with ExitStack() as stack:
            stack.callback(self._guest.stop)
            journal = stack.enter_context(Journal(self._folder / "observations.jsonl"))
            try:
                self._go(outcome, journal)
            except GuestError as problem:
                outcome.interrupted = self._interrupted.is_set()
                outcome.lost = "interrupted" if outcome.interrupted else str(problem)
            except InfrastructureError as problem:
                outcome.lost = str(problem)
            self._guest.stop()
            outcome.crashes = self._read_console()
            if outcome.lost:
                outcome.lost = _with_crash(outcome.lost, outcome.crashes)
                journal.note("lost", reason=outcome.lost)
        outcome.journalled = self._collector.journalled()
        return outcome

    def _go(self, outcome: CellOutcome, journal: Journal) -> None:
        self._say("booting")
        with _timed(outcome.seconds, "boot"):
            outcome.booted = self._guest.boot()
        self._say("pushing")
        with _timed(outcome.seconds, "push"):
            path = self._guest.push(f"payload-{self._workload.name}", self._workload.content)
        with _timed(outcome.seconds, "payload"):
            outcome.exited, said = self._probe([path, *self._workload.arguments], journal)
        outcome.lost = _why_incomplete(self._workload, self._collector, outcome.exited, said)

    def _probe(self, argv: Sequence[str], journal: Journal) -> tuple[Exited, bytes]:
        """Run the payload. Returns how it ended and the tail of what it wrote on standard error."""
        parser = StreamParser()
        errors = bytearray()
        exited: Exited | None = None
        self._say("probing")
        for event in self._guest.run(argv):
            match event:
                case Output("out", data):
                    for line, record in parser.feed(data):
                        self._take(line, record, journal)
                case Output(_, data):
                    errors += data
                    del errors[:-4096]
                case Exited():
                    exited = event
        for line, record in parser.close():
            self._take(line, record, journal)
        if exited is None:
            raise LostGuest("the guest ended the payload without saying how")
        return exited, bytes(errors)

    def _take(self, line: bytes, record: object, journal: Journal) -> None:
        if isinstance(record, Garbage):
            if len(self._collector.garbage) < MAX_GARBAGE:
                journal.note("garbage", offset=record.offset, excerpt=record.excerpt, reason=record.reason)
                self._collector.add(record)
                return
            raise LostGuest(
                f"the payload wrote more than {MAX_GARBAGE} lines that are no records; the last: {record.excerpt}"
            )
        journal.line(line)
        self._collector.add(record)  # type: ignore[arg-type]
        if isinstance(record, Plan):
            self._check_plan(record)
        if isinstance(record, Observation):
            self._say("probing")

    def _check_plan(self, plan: Plan) -> None:
        """The guest must be about to do what we shall judge, with the payload we pushed."""
        if plan.id != self._workload.id:
            raise LostGuest(f"the payload says it is {plan.id}, but {self._workload.id} was pushed")
        if plan.probes != tuple(probe.id for probe in self._workload.planned):
            raise LostGuest("the payload plans other probes than it lists on the host")

    def _read_console(self) -> tuple[Crash, ...]:
        if self._guest.console is None or not self._guest.console.exists():
            return ()
        return find_crashes(self._guest.console.read_bytes().decode("utf-8", "replace"))

    def _say(self, stage: Stage) -> None:
        seen = len(self._collector.observations)
        self._tell(Told(self._cell.id, stage, time.monotonic() - self._begun, seen, len(self._workload.planned)))


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
