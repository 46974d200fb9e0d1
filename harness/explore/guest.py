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
    """What a console says that it did not say before: the reports that count, and whether the kernel dropped messages,
    among which there may have been another."""

    reports: tuple[Crash, ...] = ()
    dropped: bool = False


class ProgramGuest:
    """One guest at a time; ``boot`` gives one that has booted."""

    def __init__(self, boot: BootGuest, payload: bytes, deadline_ms: int) -> None:
        self._boot, self._payload, self._deadline_ms = boot, payload, deadline_ms
        self._guest: Guest | None = None
        self._executor: Executor | None = None
        self._read = 0  # bytes of its console

    def stop(self) -> ConsoleNews:
        """End the guest. Returns its last words."""
        guest, self._guest, self._executor = self._guest, None, None
        if guest is None:
            return ConsoleNews()
        guest.stop()
        return self._news(guest.console, whole=True)

    def executor(self) -> Executor:
        """One that is alive."""
        if self._executor is None:
            self._guest = self._boot()
            self._executor = Executor(self._guest, self._payload, deadline_ms=self._deadline_ms)
            self._read = 0
            self._news(self._guest.console)  # what it said when it booted
        return self._executor

    def news(self, *, whole: bool = False) -> ConsoleNews:
        """What the console says in lines that have ended; with ``whole`` in the one that has not, too."""
        return self._news(self._guest.console, whole=whole) if self._guest else ConsoleNews()

    def _news(self, console: Path | None, *, whole: bool = False) -> ConsoleNews:
        said = b""
        if console is not None:
            with suppress(FileNotFoundError), console.open("rb") as file:
                file.seek(self._read)
                said = file.read()
        said = said if whole else said[: said.rfind(b"\n") + 1]
        self._read += len(said)
        text = said.decode("utf-8", "replace")
        reports = tuple(crash for crash in find_crashes(text) if counts(crash))
        return ConsoleNews(reports, DROPPED.search(text) is not None)


def counts(crash: Crash) -> bool:
    """Whether a report is the kernel's fault in what is explored: every crash, and warnings of memory management."""
    if crash.fatal:
        return True
    return crash.kind == "warning" and any(word in line for line in (crash.title, *crash.lines[:3]) for word in _MM)
