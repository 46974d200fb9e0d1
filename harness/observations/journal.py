"""The journal: every record of a cell on disk as it arrives, so that nothing that was seen is lost.

One JSON object a line: the payload's own lines, verbatim, and ours, whose ``type`` begins with ``harness-``.
What has come is handed to the operating system before more is read, so that killing the harness loses nothing, and
is forced to the disk every ``SYNC_SECONDS`` and at the end, so that a power cut loses at most that much.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import StoreError, UsageError
from harness.model.json_text import parse_json
from harness.model.stored_files import JOURNAL_LIMIT, is_stored, open_stored, too_long
from harness.observations.collector import Collector, Journalled
from harness.observations.model import Plan
from harness.observations.stream import LineCutter, StreamLine

SYNC_SECONDS = 1.0
_CHUNK = 1 << 20


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
        self.lines([data])

    def lines(self, lines: Sequence[bytes]) -> None:
        """Keep lines that came together, as ``line`` does."""
        view = memoryview(b"".join(line + b"\n" for line in lines))
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


def journal_lines(path: Path) -> Iterator[StreamLine]:
    """Read a cell's journal line by line, as far as it is asked for: every reader of one comes here.

    Raises ``UsageError`` where it is not there, cannot be read, or is longer than any run writes.
    """
    cutter, read = LineCutter(), 0
    try:
        with open_stored(path) as file:
            while data := file.read(_CHUNK):
                if (read := read + len(data)) > JOURNAL_LIMIT:
                    raise UsageError(f"{path}: cannot be read: {too_long(JOURNAL_LIMIT)}")
                yield from cutter.feed(data)
    except OSError as problem:
        raise UsageError(f"{problem.filename or path}: cannot be read: {problem.strerror}") from problem
    yield from cutter.close()


def read_plan_of(path: Path) -> Plan | None:
    """The plan a journal begins with, without reading the rest; None when it has none. Raises ``UsageError``."""
    plans = (line.record for line in journal_lines(path) if b'"plan"' in line.data)
    return next((record for record in plans if isinstance(record, Plan)), None)


def stored_journal(path: Path) -> Journalled | None:
    """Read a cell's journal; None where there is none. Raises ``UsageError``."""
    return read_journal(path) if is_stored(path) else None


def read_journal(path: Path) -> Journalled:
    """Read a cell's journal. A last line that was cut off (we were killed) counts as garbage, not as an error."""
    collector = Collector()
    for line in journal_lines(path):
        if (note := _note(line)) is None:
            collector.add(line.record)
            continue
        collector.notes.append(note)
        match note:
            case {"type": "harness-guest"}:
                collector.next_guest()
            case {"type": "harness-again", "probes": [*probes]}:
                collector.again(map(str, probes))
    return collector.journalled()


def journal_notes(path: Path) -> Iterator[Mapping[str, object]]:
    """The lines of ours, without parsing those of the payload. Raises ``UsageError``."""
    return (note for line in journal_lines(path) if (note := _note(line)) is not None)


def _note(line: StreamLine) -> Mapping[str, object] | None:
    """A line of ours; None for any other, and for one that was cut off."""
    if line.wrong or not line.data.startswith(b'{"type": "harness-'):
        return None
    try:
        note: dict[str, object] = parse_json(line.data)
    except ValueError:
        return None
    return note
