"""The entry point. It answers signals before anything that takes time to import is imported."""

from __future__ import annotations

import os
import signal
from types import FrameType

NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_INTERRUPTED = 130  # errors.Interrupted.exit_code; nothing of ours is imported here


def at_once(_number: int, _frame: FrameType | None) -> None:
    """End the process. Nothing has begun, or all has ended."""
    try:
        os.write(2, b"sealmatrix: interrupted\n")
    finally:
        os._exit(_INTERRUPTED)


def main() -> None:
    """Entry point of the console script. SIGTERM and SIGHUP end it the way Ctrl-C does."""
    for number in NUMBERS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, at_once)

    from harness.cli.main import main as called  # noqa: PLC0415  it takes a while, and signals are answered meanwhile
    from harness.cli.stopping import Signals  # noqa: PLC0415

    called(Signals())
