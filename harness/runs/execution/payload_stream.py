"""What a guest says while it runs a payload: into the journal, record by record, and put together."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from harness.errors import LostGuest
from harness.guests.bounds import TOO_LONG, beginning_of
from harness.guests.console import Crash, find_crashes, unplaced
from harness.guests.console_lines import dropped
from harness.guests.model import Exited, Guest, Output
from harness.observations.collector import Collector
from harness.observations.journal import Journal
from harness.observations.model import End, Garbage, Observation, Plan, Record, ScenarioEnd
from harness.observations.stream import StreamParser, printable
from harness.rules.warnings import is_allowed
from harness.runs.model import Workload

# A payload that writes this many lines that are no records is not going to write a useful one.
MAX_GARBAGE = 1000
_STDERR_LINES = 5
# A half that runs takes milliseconds, and has seconds; a kernel on which calls hang would take that long for each of
# thousands. One deadline may be a probe's own trouble, and two lanes meet theirs together; a third in a row came after
# another. Where it is not in a row, the fourth is: docs/internals/guests.md has what that costs.
DEADLINES_IN_A_ROW = 3
DEADLINES_IN_ALL = 4


def push(guest: Guest, workload: Workload) -> list[str]:
    """Push a payload and its files. Returns the command that runs it."""
    path = guest.push(f"payload-{workload.name}", workload.content)
    for name, content in workload.files:
        guest.push(name, content, 0o644)
    # Where there is no console of its own, the kernel's log is somebody else's: it is not written into.
    unwanted = () if guest.console else ("--kmsg",)
    return [path, *(word for word in workload.arguments if word not in unwanted)]


def probe(guest: Guest, argv: Sequence[str], listener: Listener) -> tuple[Exited, str]:
    """Run a payload. Returns how it ended, and why its stream is not whole ("" when it is)."""
    errors = bytearray()
    exited: Exited | None = None
    for event in guest.run(argv):
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
        raise LostGuest("the guest did not report how the payload ended")
    return exited, why_incomplete(listener.workload, listener.collector, exited, bytes(errors))


def read_console(guest: Guest, workload: Workload) -> tuple[tuple[Crash, ...], str]:
    """What the console of a guest that has been stopped reports, and why that makes a suite no answer ("" when not):
    the payload was to name its probes on it, and a report is none's; the kernel dropped some of it; or there is more
    of it than anybody looks at."""
    if guest.console is None or not guest.console.exists():
        return (), ""
    beginning, whole = beginning_of(guest.console)
    console = beginning.decode("utf-8", "replace")
    planned = [probe.id for probe in workload.planned]
    suites = workload.suites.works if workload.suites else ()
    marked = [*planned, *(suite.program_id(program) for suite in suites for program in suite.programs)]
    crashes = find_crashes(console, planned)
    if not whole:
        return crashes, TOO_LONG
    told = [crash for crash in crashes if crash.fatal or not is_allowed(crash.title, None)]
    return crashes, (unplaced(console, told) if "--kmsg" in workload.arguments else "") or dropped(console, marked)


class Patience:
    """How many halves of probes may run into their deadlines before a guest is given up."""

    def __init__(self) -> None:
        self._row = self._all = 0

    def take(self, seen: Observation) -> None:
        """One more observation. Raises ``LostGuest`` when it is one too many."""
        hung = seen.control.timeout + seen.sealed.timeout
        # The sealed half comes second: one that was in time ends the row, before another probe begins.
        self._row = self._row + hung if hung else 0
        self._all += hung
        if self._row >= DEADLINES_IN_A_ROW:
            raise LostGuest(f"given up after {self._row} deadlines in a row, the last in {seen.probe}")
        if self._all >= DEADLINES_IN_ALL:
            raise LostGuest(f"given up after {self._all} deadlines, the last in {seen.probe}")


class Listener:
    """Takes one payload's stream: every record to the journal, and together in the collector."""

    def __init__(self, workload: Workload, journal: Journal, observed: Callable[[], None]) -> None:
        self.workload, self.journal, self.collector = workload, journal, Collector()
        self._parser, self._observed = StreamParser(), observed
        self._patience = Patience()
        self._lines: list[bytes] = []  # of what is being taken, those not yet in the journal
        self._planned = tuple(probe.id for probe in workload.planned)

    def again(self, probes: Sequence[str]) -> None:
        """The payload is run once more, for these probes of those that it observed among others."""
        self.journal.note("again", probes=list(probes))
        self.collector.again(probes)
        self._planned = tuple(probes)
        self._parser = StreamParser()

    def note(self, kind: str, **facts: object) -> None:
        """Keep a fact of our own, in the journal and beside the records."""
        self.journal.note(kind, **facts)
        self.collector.notes.append({"type": f"harness-{kind}", **facts})

    def feed(self, data: bytes) -> None:
        """Take bytes of the stream."""
        try:
            for line, record in self._parser.feed(data):
                self._take(line, record)
        finally:
            self._flush()

    def close(self) -> None:
        """The stream has ended."""
        for line, record in self._parser.close():
            self._take(line, record)

    def _flush(self) -> None:
        if self._lines:
            self.journal.lines(self._lines)
            self._lines.clear()

    def _take(self, line: bytes, record: Record | Garbage) -> None:
        if isinstance(record, Garbage):
            self._flush()
            if len(self.collector.garbage) < MAX_GARBAGE:
                self.journal.note("garbage", offset=record.offset, excerpt=record.excerpt, reason=record.reason)
                self.collector.add(record)
                return
            raise LostGuest(f"the payload wrote more than {MAX_GARBAGE} malformed lines; last: {record.excerpt}")
        self._lines.append(line)
        self.collector.add(record)
        if isinstance(record, Plan):
            self._check_plan(record)
        if isinstance(record, End):
            self._check_count(record)
        if isinstance(record, Observation | ScenarioEnd):
            self._observed()
        if isinstance(record, Observation):
            self._patience.take(record)

    def _check_count(self, end: End) -> None:
        """All that came before must be what the payload wrote."""
        came = self._parser.began
        if end.bytes is not None and end.bytes != came:
            raise LostGuest(
                f"{came} bytes came before the end of the stream, and the payload says it wrote {end.bytes}; another "
                "process writes to its output"
            )

    def _check_plan(self, plan: Plan) -> None:
        """The guest must be about to do what we shall judge, with the payload we pushed."""
        if plan.id != self.workload.id:
            raise LostGuest(f"the payload reports id {plan.id}, but {self.workload.id} was pushed")
        if plan.probes != self._planned:
            raise LostGuest("the payload plans other probes than it lists on the host")


def why_incomplete(workload: Workload, collector: Collector, exited: Exited, errors: bytes) -> str:
    """Why the stream cannot be taken as whole, or "" when it can."""
    lacks = collector.journalled().lacks()
    if not lacks and exited.status == 0:
        return ""
    if exited.signal is not None:
        ending = f"the payload was killed by signal {exited.signal}"
    elif exited.status:
        ending = f"the payload exited with status {exited.status}"
    else:
        ending = f"the payload ended after {len(collector.observations)} of {len(workload.planned)} observations"
    said = error_tail(errors)
    return f"{ending}: {said}" if said else ending


def error_tail(errors: bytes) -> str:
    """The last lines of what a program wrote about its errors, as one."""
    return " | ".join([printable(line) for line in errors.splitlines() if line.strip()][-_STDERR_LINES:])
