"""A terminal of a guest's own on ours, and following a console, for interactive use."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import termios
import threading
import tty
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

_CHUNK = 16 << 10
_LOOK_SECONDS = 0.1  # between two looks at a console that is followed
ESCAPE = b"\x1d"  # Ctrl-], as telnet and virsh have it


@dataclass(frozen=True)
class Screen:
    """The terminal we are on."""

    rows: int
    columns: int
    kind: str


def our_screen(stdin: int = 0, stdout: int = 1) -> Screen | None:
    """Look at the terminal we are on; None when we are on none."""
    if not os.isatty(stdin) or not os.isatty(stdout):
        return None
    size = os.get_terminal_size(stdin)
    return Screen(size.lines, size.columns, os.environ.get("TERM", "dumb"))


@contextlib.contextmanager
def bridge(ours: socket.socket, on_escape: Callable[[], None], stdin: int = 0, stdout: int = 1) -> Iterator[None]:
    """Join our terminal with a guest's; ``ours`` is our end of that.

    Our terminal is in raw mode meanwhile; Ctrl-] there calls ``on_escape`` and ends input. Leaving waits for the other
    end to be closed, so that nothing written there is lost: whoever holds it closes it first.
    """
    closing, wake = os.pipe()
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, closing)
        waking = stack.enter_context(contextlib.ExitStack())
        waking.callback(os.close, wake)
        before = termios.tcgetattr(stdin)
        stack.callback(termios.tcsetattr, stdin, termios.TCSADRAIN, before)
        tty.setraw(stdin)
        inward = threading.Thread(target=_inward, args=(ours, stdin, closing, on_escape), name="terminal-in")
        outward = threading.Thread(target=_outward, args=(ours, stdout), name="terminal-out")
        inward.start()
        outward.start()
        try:
            yield
        finally:
            waking.close()
            inward.join()
            outward.join()


def _inward(ours: socket.socket, stdin: int, closing: int, on_escape: Callable[[], None]) -> None:
    while True:
        ready, _, _ = select.select([stdin, closing], [], [])
        if closing in ready:
            return
        data = os.read(stdin, _CHUNK)
        if ESCAPE in data or not data:  # or our terminal was hung up
            on_escape()
            return
        try:
            ours.sendall(data)
        except OSError:
            return  # the guest has gone


def _outward(ours: socket.socket, stdout: int) -> None:
    while True:
        try:
            data = ours.recv(_CHUNK)
        except OSError:
            return
        if not data:
            return
        view = memoryview(data)
        while view:
            view = view[os.write(stdout, view) :]


@contextlib.contextmanager
def followed(console: Path, into: int = 2) -> Iterator[None]:
    """Copy to a descriptor what is written to ``console`` meanwhile, to its end, or until nobody reads it any more."""
    done = threading.Event()

    def follow() -> None:
        at = 0
        while True:
            last = done.wait(_LOOK_SECONDS)
            try:
                at += _copy(console, at, into)
            except OSError:  # the reader went away, or the disk is full
                return
            if last:
                return

    thread = threading.Thread(target=follow, name="console")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _copy(console: Path, at: int, into: int) -> int:
    """Write what a file holds from ``at`` on; returns how much that was. A console that began anew is shown anew."""
    try:
        with console.open("rb") as file:
            if os.fstat(file.fileno()).st_size < at:
                return -at
            file.seek(at)
            data = file.read()
    except FileNotFoundError:
        return 0
    view = memoryview(data)
    while view:
        view = view[os.write(into, view) :]
    return len(data)
