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
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import StoreError, UsageError
from harness.model.stored_files import JOURNAL, open_stored, read_stored
from harness.observations.collector import Collector, Journalled
from harness.observations.model import Plan
from harness.observations.stream import MAX_LINE, StreamParser, parse_line

SYNC_SECONDS = 1.0


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


def read_plan_of(path: Path) -> Plan | None:
    """The plan a journal begins with, without reading the rest; None when it has none."""
    try:
        with open_stored(path) as file:
            for line in iter(lambda: file.readline(MAX_LINE) if file.tell() <= JOURNAL else b"", b""):
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
        data = read_stored(path, JOURNAL)
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from problem
    for line, record in (*parser.feed(data), *parser.close()):
        note = _note(line)
        if note is None:
            collector.add(record)
            continue
        collector.notes.append(note)
        match note:
            case {"type": "harness-guest"}:
                collector.next_guest()
            case {"type": "harness-again", "probes": [*probes]}:
                collector.again(map(str, probes))
    return collector.journalled()


def _note(line: bytes) -> Mapping[str, object] | None:
    """A line of ours; None for any other, and for one that was cut off."""
    if not line.startswith(b'{"type": "harness-'):
        return None
    try:
        note: dict[str, object] = json.loads(line)
    except ValueError:
        return None
    return note
