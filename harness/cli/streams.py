"""The environment a program is started in: descriptors 0 to 2, readers that go away, and the width of the screen.

Whoever starts us may have closed standard input, output or error (daemons and CI agents do), may stop reading (``| head
-1``), or may have a full disk behind our output. None of that is allowed to change what a run comes to.
"""

from __future__ import annotations

import contextlib
import errno
import io
import os
import select
import signal
import sys
from pathlib import Path
from typing import Any, Final, TextIO

import click

from harness.errors import Interrupted, SealmatrixError, StoreError

_NO_READER: Final = 128 + signal.SIGPIPE


def open_missing() -> None:
    """Open /dev/null on each of the descriptors 0, 1 and 2 that is closed, for us and for the programs we start.

    To be called before anything else is opened: the first file opened otherwise takes such a number, and becomes
    somebody's standard output.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError as problem:
            if problem.errno != errno.EBADF:
                raise
            opened = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free: this one
            os.set_inheritable(opened, True)


class _Output(io.RawIOBase):
    """A descriptor that we write to. After the first error it leads to /dev/null, and ``problem`` says what happened.

    So a run whose reader went away ends as it would have ended, and is not cut off in the middle of something.
    """

    def __init__(self, descriptor: int) -> None:
        super().__init__()
        self._descriptor = descriptor
        self._terminal = os.isatty(descriptor)
        self.problem: OSError | None = None

    def fileno(self) -> int:
        return self._descriptor

    @property
    def closed_terminal(self) -> bool:
        """Whether it was a terminal, and somebody has closed that."""
        return self._terminal and self.problem is not None and self.problem.errno == errno.EIO

    def isatty(self) -> bool:
        return os.isatty(self._descriptor)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        try:
            while True:
                with contextlib.suppress(BlockingIOError):
                    return os.write(self._descriptor, data)
                select.select([], [self._descriptor], [])
        except OSError as problem:
            self.problem = problem
            with Path(os.devnull).open("wb") as nothing:
                os.dup2(nothing.fileno(), self._descriptor)
            return memoryview(data).nbytes


class Streams:
    """Standard output and standard error, watched. Streams that somebody has replaced (a test) are left alone."""

    def __init__(self) -> None:
        self._output = _Output(1)
        if sys.stdin is None:
            sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        if sys.stdout is sys.__stdout__:
            sys.stdout = _text(self._output, sys.stdout, "strict")
        if sys.stderr is sys.__stderr__:
            sys.stderr = _text(_Output(2), sys.stderr, "backslashreplace")

    def finish(self) -> SealmatrixError | None:
        """Write what is still buffered; return what is to be said of output that was lost.

        That the reader went away is no error, and whoever closes a terminal interrupts what is running there. What was
        meant for standard error cannot be complained of anywhere.
        """
        sys.stdout.flush()
        sys.stderr.flush()
        return _lost(self._output)


def write_through(stream: TextIO, data: bytes) -> None:
    """Write bytes at once, for whoever copies another program's output.

    Raises click's ``Exit`` when that cannot be done, for otherwise that program would be read for ever: with the status
    of a program that SIGPIPE ended when the reader went away, else with that of an error, which ``finish`` tells.
    """
    stream.buffer.write(data)
    stream.buffer.flush()
    output = getattr(stream.buffer, "raw", None)
    if isinstance(output, _Output) and output.problem is not None:
        lost = _lost(output)
        raise click.exceptions.Exit(_NO_READER if lost is None else lost.exit_code)


def _text(output: _Output, like: TextIO | None, errors: str) -> TextIO:
    """The text stream that takes the place of Python's own, which is None where the descriptor was closed."""
    return io.TextIOWrapper(
        io.BufferedWriter(output),
        encoding=like.encoding if like else "utf-8",
        errors=like.errors if like else errors,
        line_buffering=output.isatty() or output.fileno() == 2,
        write_through=getattr(like, "write_through", False),
    )


def _lost(output: _Output) -> SealmatrixError | None:
    problem = output.problem
    if problem is None or problem.errno == errno.EPIPE:
        return None
    if output.closed_terminal:
        return Interrupted("interrupted; the terminal was closed")
    name = {1: "standard output", 2: "standard error"}[output.fileno()]
    return StoreError(f"{name} cannot be written: {problem.strerror}; some output is lost")


def forget_empty_sizes() -> None:
    """Drop sizes of the screen that are none (``COLUMNS=0``): a screen is then as wide as if nobody had said so."""
    for name in ("COLUMNS", "LINES"):
        try:
            sensible = int(os.environ.get(name, "1")) > 0
        except ValueError:
            sensible = False
        if not sensible:
            del os.environ[name]
