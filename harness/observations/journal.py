"""The journal: every record of a cell on disk as it arrives, so that nothing that was seen is lost.

One JSON object a line: the payload's own lines, verbatim, and ours, whose ``type`` begins with ``harness-``.
A line is handed to the operating system before the next is read, so that killing the harness loses nothing, and
is forced to the disk every ``SYNC_SECONDS`` and at the end, so that a power cut loses at most that much.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
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
from harness.observations.stream import StreamParser

SYNC_SECONDS = 1.0


@dataclass(frozen=True)
class Journalled:
    """All that a journal holds. ``notes`` are our own lines in order; ``begun`` keeps the order of beginning.

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
        self._places: Mapping[str, int] = {}
        self._lanes: dict[int | None, str] = {}

    def add(self, record: Record | Garbage) -> None:
        """Take one record. A second plan, or a second observation of a probe, is garbage: the first one stands."""
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
            case End():
                self.ended = record.probes == len(self.observations) + (self.outcome is not None)
            case Garbage():
                self.garbage.append(record)
            case _:
                self.garbage.append(Garbage(0, record.type, "said a second time"))

    def next_guest(self) -> None:
        """What follows comes from another guest, which has been given the rest of the plan, or a part of that."""
        self._lanes.clear()

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
        )


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
