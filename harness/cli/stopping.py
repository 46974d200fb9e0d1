"""Ctrl-C, SIGTERM and SIGHUP: the first one ends what we started and says what that was doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable
from types import FrameType
from typing import Any, Final

from harness.cli.entry import NUMBERS, at_once
from harness.processes.children import stop_all

_TOGETHER_SECONDS: Final = 1.0
"""Signals that come closer together are one: a terminal and a supervisor both pass a Ctrl-C on, or `timeout` tells the
group what the program was told already."""
_THREADS_SECONDS: Final = 0.3


def leave_alone(_number: int, _handler: Any) -> None:
    """Install nothing: for whoever calls the command line from a program that has signals of its own."""


class Signals:
    """What a signal does while a command works, while its last lines are written, and after that."""

    def __init__(
        self,
        install: Callable[[int, Any], object] = signal.signal,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._install, self._clock = install, clock
        self._answered: float | None = None

    def working(self) -> None:
        """From now on a signal ends our programs and raises ``KeyboardInterrupt`` in the main thread."""
        self._each(self._stop)

    def ending(self) -> None:
        """From now on a signal ends this process: nothing of ours runs any more, and only lines are left to write."""
        self._each(self._end)

    def over(self) -> None:
        """From now on a signal changes nothing: all is written, and the process ends with the status of its command."""
        self._each(signal.SIG_IGN)

    def _each(self, handler: Any) -> None:
        for number in NUMBERS:
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1), and a shell's background jobs
                self._install(number, handler)

    def _first(self) -> bool:
        """Whether this is a signal of its own, and not the second half of one that has been answered."""
        now, before = self._clock(), self._answered
        if before is not None and now - before < _TOGETHER_SECONDS:
            return False
        self._answered = now
        return True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        if self._first():
            raise KeyboardInterrupt(*stop_all())

    def _end(self, number: int, frame: FrameType | None) -> None:
        if self._first():
            at_once(number, frame)


def leave(code: int) -> None:
    """End the process. A thread that is still unpacking something is not waited for: what is kept is kept whole."""
    end = time.monotonic() + _THREADS_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
