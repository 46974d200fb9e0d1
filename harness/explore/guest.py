"""The guest that programs run in: booted when it is needed, replaced when it is lost, its console read as it grows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from harness.explore.executor import Executor
from harness.guests.console import Crash, find_crashes
from harness.guests.console_lines import DROPPED
from harness.guests.model import Guest

BootGuest = Callable[[], Guest]
_MM = ("mm/", "mseal", "vma", "mmap", "mremap", "mprotect", "madvise", "mlock", "munmap", "fork.c", "maple")


@dataclass(frozen=True)
class ConsoleNews:
    """What consoles have said: the reports that count, and whether the kernel dropped messages, among which there may
    have been another."""

    reports: tuple[Crash, ...] = ()
    dropped: bool = False

    def __bool__(self) -> bool:
        return bool(self.reports) or self.dropped

    def __add__(self, other: ConsoleNews) -> ConsoleNews:
        return ConsoleNews(self.reports + other.reports, self.dropped or other.dropped)


class ProgramGuest:
    """One guest at a time; ``boot`` gives one that has booted. What its console says, also when it ends, is kept until
    somebody takes it."""

    def __init__(self, boot: BootGuest, payload: bytes, deadline_ms: int) -> None:
        self._boot, self._payload, self._deadline_ms = boot, payload, deadline_ms
        self._guest: Guest | None = None
        self._executor: Executor | None = None
        self._read = 0  # bytes of its console
        self._in_line = False  # the last line that is not news has not ended
        self._heard = ConsoleNews()
        self.has_console = True

    def stop(self) -> None:
        """End the guest, and hear its last words."""
        guest, self._guest, self._executor = self._guest, None, None
        if guest is not None:
            guest.stop()
            self._hear(guest.console, whole=True)

    def executor(self) -> Executor:
        """One that is alive."""
        if self._executor is None:
            self._guest = self._boot()
            self._executor = Executor(self._guest, self._payload, deadline_ms=self._deadline_ms)
            self.has_console = self._guest.console is not None
            said = _said(self._guest.console, 0)  # when it booted
            self._read, self._in_line = len(said), not said.endswith(b"\n") and bool(said)
        return self._executor

    def take(self, *, whole: bool = False) -> ConsoleNews:
        """What consoles have said since this was asked last, in lines that have ended; with ``whole`` in the one that
        has not, too."""
        if self._guest is not None:
            self._hear(self._guest.console, whole=whole)
        heard, self._heard = self._heard, ConsoleNews()
        return heard

    def keep(self, news: ConsoleNews) -> None:
        """Have somebody else take this."""
        self._heard = news + self._heard

    def _hear(self, console: Path | None, *, whole: bool) -> None:
        said = _said(console, self._read)
        said = said if whole else said[: said.rfind(b"\n") + 1]
        self._read += len(said)
        if self._in_line:
            _, ended, said = said.partition(b"\n")
            self._in_line = not ended
        text = said.decode("utf-8", "replace")
        reports = tuple(crash for crash in find_crashes(text) if counts(crash))
        self._heard += ConsoleNews(reports, DROPPED.search(text) is not None)


def _said(console: Path | None, since: int) -> bytes:
    if console is not None:
        with suppress(FileNotFoundError), console.open("rb") as file:  # nothing was said yet
            file.seek(since)
            return file.read()
    return b""


def counts(crash: Crash) -> bool:
    """Whether a report is the kernel's fault in what is explored: every crash, and warnings of memory management."""
    if crash.serious:
        return True
    return crash.kind == "warning" and any(word in line for line in (crash.title, *crash.lines[:3]) for word in _MM)
