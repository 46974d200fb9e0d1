"""The journal: every record of a cell on disk as it arrives, so that nothing that was seen is lost.

One JSON object a line: the payload's own lines, verbatim, and ours, whose ``type`` begins with ``harness-``.
A line is handed to the operating system before the next is read, so that killing the harness loses nothing, and
is forced to the disk every ``SYNC_SECONDS`` and at the end, so that a power cut loses at most that much.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import StoreError, UsageError
from harness.observations.model import (
    Begin,
    End,
    Fact,
    Garbage,
    Observation,
    Outcome,
    Plan,
    Printed,
    Record,
)
from harness.observations.stream import MAX_LINE, StreamParser, parse_line

SYNC_SECONDS = 1.0


@dataclass(frozen=True)
class Journalled:
    """All that a journal holds. ``notes`` are our own lines in order; ``begun`` keeps the order of beginning.

    ``doubts`` says by probe why what is told of it cannot be believed: it stands where no payload writes it.
    ``facts``, ``printed`` and ``outcome`` are a scenario's; of facts of one name all are kept (see ``named``).
    """

    plan: Plan | None
    begun: tuple[str, ...]
    observations: Mapping[str, Observation]
    garbage: tuple[Garbage, ...]
    ended: bool
    notes: tuple[Mapping[str, object], ...]
    facts: tuple[Fact, ...] = ()
    printed: tuple[str, ...] = ()
    outcome: Outcome | None = None
    doubts: Mapping[str, str] = field(default_factory=dict)

    def lacks(self) -> str:
        """What a journal that is whole has and this one has not, "" for nothing."""
        if self.plan is None:
            return "it has no plan"
        seen = sum(probe in self.observations for probe in self.plan.probes) + (self.outcome is not None)
        if seen < len(self.plan.probes):
            return f"it has {seen} of {len(self.plan.probes)} observations"
        # Where several guests shared a plan none of them came to its end.
        shared = any(note.get("type") == "harness-guest" for note in self.notes)
        return "" if self.ended or shared else "it has no end"


class Journal:
    """Appends to one cell's ``observations.jsonl``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o644)
        except OSError as problem:
            raise StoreError(f"{path}: cannot be written: {problem.strerror}") from problem
        self._synced = time.monotonic()

    def line(self, data: bytes) -> None:
        """Keep one line of the stream, verbatim. Raises ``StoreError`` when the disk refuses."""
        view = memoryview(data + b"\n")
        try:
            while view:
                view = view[os.write(self._fd, view) :]
            if time.monotonic() - self._synced > SYNC_SECONDS:
                os.fdatasync(self._fd)
                self._synced = time.monotonic()
        except OSError as problem:
            raise StoreError(f"{self.path}: cannot be written: {problem.strerror}") from problem

    def note(self, kind: str, **facts: object) -> None:
        """Keep a fact of our own: how the guest ended, garbage that was passed over."""
        self.line(json.dumps({"type": f"harness-{kind}", **facts}, ensure_ascii=True).encode())

    def close(self) -> None:
        """Force everything to the disk."""
        if self._fd >= 0:
            try:
                os.fdatasync(self._fd)
            except OSError as problem:
                raise StoreError(f"{self.path}: cannot be written: {problem.strerror}") from problem
            finally:
                os.close(self._fd)
                self._fd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        elif self._fd >= 0:
            # Whatever went wrong comes first; a disk that is full would only refuse once more.
            os.close(self._fd)
            self._fd = -1


class Collector:
    """Puts records together as they come, live or from a journal."""

    def __init__(self) -> None:
        self.plan: Plan | None = None
        self.begun: dict[str, None] = {}
        self.observations: dict[str, Observation] = {}
        self.garbage: list[Garbage] = []
        self.ended = False
        self.notes: list[Mapping[str, object]] = []
        self.facts: list[Fact] = []
        self.printed: list[str] = []
        self.outcome: Outcome | None = None
        self.doubts: dict[str, str] = {}
        self._over = False
        self._places: Mapping[str, int] = {}
        self._lanes: dict[int | None, str] = {}

    def add(self, record: Record | Garbage) -> None:
        """Take one record. A second plan, or a second observation of a probe, is garbage: the first one stands, and is
        in doubt."""
        for probe, why in self._doubtful(record):
            self.doubts.setdefault(probe, why)
        match record:
            case Plan() if self.plan is None:
                self.plan = record
                self._places = {probe: place for place, probe in enumerate(record.probes)}
            case Begin():
                if why := self._out_of_turn(record):
                    self.garbage.append(Garbage(0, record.probe, why))
                self.begun.setdefault(record.probe)
                self._lanes[record.lane] = record.probe
            case Observation() if record.probe not in self.observations:
                self.observations[record.probe] = record
            case Fact():
                self.facts.append(record)
            case Printed():
                self.printed.append(record.text)
            case Outcome() if self.outcome is None:
                self.outcome = record
            case End() if not self._over:
                self._over = True
                self.ended = record.probes == len(self.observations) + (self.outcome is not None)
            case Garbage():
                self.garbage.append(record)
            case _:
                self.garbage.append(Garbage(0, record.type, "said a second time"))

    def next_guest(self) -> None:
        """What follows comes from another guest, which has been given the rest of the plan, or a part of that."""
        self._lanes.clear()

    def _doubtful(self, record: Record | Garbage) -> Iterator[tuple[str, str]]:
        """The probes of which a record says something where no payload says it, and what is wrong."""
        planned = self.plan.probes if self.plan else ()
        running = next(reversed(self._lanes.values()), planned[0] if planned else "")
        match record:
            case Plan() if self.plan is not None or self.begun:
                yield from ((probe, "the plan stands in the middle") for probe in (*planned, *record.probes))
            case End() if not self._over:
                seen = (*self.observations, self.outcome.probe if self.outcome else "")
                yield from ((probe, "the end stands before it") for probe in planned if probe not in seen)
            case End():
                yield from ((probe, "there is a second end") for probe in planned)
            case Begin() if record.probe in self.begun:
                yield record.probe, "it begins a second time"
            case Begin() if why := self._out_of_turn(record):
                yield record.probe, why
            case Observation() if record.probe in self.observations:
                yield record.probe, "it is observed a second time"
            case Observation() if record.probe not in self._lanes.values():
                yield record.probe, "it is observed without running"
            case Outcome() if self.outcome is not None or record.probe not in self._lanes.values():
                yield record.probe, "its outcome stands where it does not run"
            case Fact() | Printed() if self.outcome is not None or not self._lanes:
                yield running, "something is said where it does not run"
        if self._over and isinstance(record, Begin | Observation | Outcome | Fact | Printed):
            yield getattr(record, "probe", running), "it stands behind the end"

    def _out_of_turn(self, begin: Begin) -> str:
        """Why this probe may not begin now, or "": a lane keeps to the plan's order and ends one before the next."""
        last = self._lanes.get(begin.lane)
        if self.plan is None or begin.probe not in self._places:
            return "begun without having been planned"
        if begin.lane is not None and not 0 <= begin.lane < self.plan.lanes:
            return f"begun in lane {begin.lane} of {self.plan.lanes}"
        if last is not None and self._places[begin.probe] <= self._places.get(last, -1):
            return f"begun after {last}, which the plan has later"
        if last is not None and last not in self.observations:
            return f"begun before {last} was observed"
        return ""

    def journalled(self) -> Journalled:
        """Everything so far, frozen."""
        return Journalled(
            self.plan,
            tuple(self.begun),
            dict(self.observations),
            tuple(self.garbage),
            self.ended,
            tuple(self.notes),
            tuple(self.facts),
            tuple(self.printed),
            self.outcome,
            dict(self.doubts),
        )


def read_plan_of(path: Path) -> Plan | None:
    """The plan a journal begins with, without reading the rest; None when it has none."""
    try:
        with path.open("rb") as file:
            for line in iter(lambda: file.readline(MAX_LINE), b""):
                if b'"plan"' in line and isinstance(record := parse_line(line.rstrip(b"\n")), Plan):
                    return record
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from problem
    return None


def read_journal(path: Path) -> Journalled:
    """Read a cell's journal. A last line that was cut off (we were killed) counts as garbage, not as an error."""
    collector = Collector()
    parser = StreamParser()
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from problem
    for line, record in (*parser.feed(data), *parser.close()):
        if line.startswith(b'{"type": "harness-'):
            note = json.loads(line)
            collector.notes.append(note)
            if note["type"] == "harness-guest":
                collector.next_guest()
        else:
            collector.add(record)
    return collector.journalled()
