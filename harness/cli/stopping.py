"""Ctrl-C, SIGTERM and SIGHUP: the first one ends what we started and says what that was doing."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from types import FrameType

from harness.processes.children import stop_all

_THREADS_SECONDS = 0.3


def on_signals() -> None:
    """From now on each of these signals ends our programs and raises ``KeyboardInterrupt`` in the main thread."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup(1), and a shell's background jobs
            signal.signal(number, _stop)


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt(*stop_all())


def doing(asked: BaseException) -> str:
    """ " while building the kernel of linux": what a ``KeyboardInterrupt`` of ours ended; "" for nothing."""
    return f" while {' and '.join(map(str, asked.args))}" if asked.args else ""


def leave(code: int) -> None:
    """End the process. A thread that is still unpacking something is not waited for: what is kept is kept whole."""
    end = time.monotonic() + _THREADS_SECONDS
    for thread in threading.enumerate():
        if thread is not threading.current_thread() and not thread.daemon:
            thread.join(max(0.0, end - time.monotonic()))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
