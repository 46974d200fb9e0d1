"""The guest that programs run in: booted when it is needed, replaced when it is lost, its console read as it grows."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from harness.explore.executor import Executor
from harness.guests.console import DROPPED, Crash, find_crashes
from harness.guests.model import Guest

BootGuest = Callable[[], Guest]
_MM = ("mm/", "mseal", "vma", "mmap", "mremap", "mprotect", "madvise", "mlock", "munmap", "fork.c", "maple")


class ProgramGuest:
    """One guest at a time; ``boot`` gives one that has booted."""

    def __init__(self, boot: BootGuest, payload: bytes, deadline_ms: int) -> None:
        self._boot, self._payload, self._deadline_ms = boot, payload, deadline_ms
        self._guest: Guest | None = None
        self._executor: Executor | None = None
        self._read = 0
        self.dropped = False  # messages of the kernel, when the console was read last

    def stop(self) -> None:
        """End the guest."""
        if self._guest is not None:
            self._guest.stop()
        self._guest = self._executor = None

    def executor(self) -> Executor:
        """One that is alive."""
        if self._executor is None:
            self._guest = self._boot()
            self._executor = Executor(self._guest, self._payload, deadline_ms=self._deadline_ms)
            self._read = len(self._console())
        return self._executor

    def reports(self) -> list[Crash]:
        """What the console says that it did not say before, and that counts."""
        text = self._console()
        news, self._read = text[self._read :], len(text)
        self.dropped = DROPPED.search(news) is not None
        return [crash for crash in find_crashes(news) if counts(crash)]

    def _console(self) -> str:
        path: Path | None = self._guest.console if self._guest else None
        if path is None:
            return ""
        with suppress(OSError):
            return path.read_text(encoding="utf-8", errors="replace")
        return ""


def counts(crash: Crash) -> bool:
    """Whether a report is the kernel's fault in what is explored: every crash, and warnings of memory management."""
    if crash.fatal:
        return True
    return crash.kind == "warning" and any(word in line for line in (crash.title, *crash.lines[:3]) for word in _MM)
