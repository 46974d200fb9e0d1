"""Every program that is started is started here: it ends when we do, however we end, and at the first signal.

A program has a session of its own, so that the terminal's Ctrl-C does not reach it: ``stop_all``, which the handler of
our signals calls, ends it and all it has started. When we are killed outright, nothing is left either: its keeper ends
it (``keeper.py``). Without a keeper are QEMU, which has no children and dies with the thread that started it
(``emulator``), and questions that a program answers in milliseconds (``ask``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

from harness.errors import Interrupted, ToolMissing

DEVNULL, PIPE, MERGED = subprocess.DEVNULL, subprocess.PIPE, subprocess.STDOUT
_KEEPER = Path(__file__).with_name("keeper.py")
_END_SECONDS = 10.0  # for a keeper to end what it keeps; it is killed then

Stream = int | IO[bytes]


class OutOfTime(Exception):
    """A program was ended because it took longer than it was given."""


@dataclass(frozen=True)
class Done:
    """A program that ended. ``status`` is -N when signal N ended it."""

    status: int
    out: bytes = b""
    err: bytes = b""


class RunningProgram:
    """A running program."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        """Of the program itself."""
        return self._process.pid

    @property
    def stdout(self) -> IO[bytes]:
        """The pipe that was asked for."""
        assert self._process.stdout is not None
        return self._process.stdout

    @property
    def stderr(self) -> IO[bytes]:
        """The pipe that was asked for."""
        assert self._process.stderr is not None
        return self._process.stderr

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status (-N: signal N) once it has ended; None when it has not within ``seconds``."""
        try:
            return self._process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """Send it SIGKILL."""
        self._process.kill()


class Child(RunningProgram):
    """A running program and its keeper; made by ``start``. ``pid`` is the keeper's, which ends when the program has
    ended, and the way it did. ``end`` may be called from any thread, any number of times."""

    def __init__(self, process: subprocess.Popen[bytes], line: socket.socket, what: str) -> None:
        super().__init__(process)
        self._line, self.what = line, what
        self._ending = threading.Lock()

    def communicate(self, given: bytes | None, seconds: float | None) -> Done:
        """Feed it, and read all it says. Raises ``OutOfTime``."""
        try:
            out, err = self._process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            raise OutOfTime(f"no end within {seconds:g} s") from None
        return Done(self._process.returncode, out or b"", err or b"")

    def hang_up(self) -> None:
        """Have the keeper end the program and all it started, without waiting for that."""
        with contextlib.suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)

    def end(self) -> None:
        """End it, and all it has started; returns when they are gone."""
        self.hang_up()
        with self._ending:
            if self.wait(_END_SECONDS) is None:
                self.kill()
                self.wait()

    def started(self) -> None:
        """Wait until the keeper has started the program. Raises ``OSError`` when that cannot be."""
        code = self._line.recv(16)
        if code not in (b"0", b""):
            raise OSError(int(code), os.strerror(int(code)))

    def close(self) -> None:
        """Close our ends of its pipes."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                with contextlib.suppress(OSError):
                    pipe.close()
        self._line.close()


class _Ended(Protocol):
    """What a signal ends."""

    @property
    def what(self) -> str: ...

    def hang_up(self) -> None: ...


@dataclass(frozen=True)
class _Question:
    process: subprocess.Popen[bytes]
    what: str = ""

    def hang_up(self) -> None:
        self.process.kill()


@dataclass(frozen=True)
class _Work:
    what: str

    def hang_up(self) -> None:
        """Its thread is told by an exception, or asks with ``go_on``."""


class _Living:
    """The programs of this process that a signal ends. Signals concern the whole process, and so does this."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a signal's handler runs in the main thread, whatever that is doing
        self._children: dict[int, _Ended] = {}
        self.stopped = threading.Event()

    @contextmanager
    def having(self, child: _Ended) -> Iterator[None]:
        with self._lock:
            self._children[id(child)] = child
        try:
            go_on()
            yield
        finally:
            with self._lock:
                del self._children[id(child)]

    def stop(self) -> tuple[str, ...]:
        self.stopped.set()
        with self._lock:
            ended = list(self._children.values())
            for child in ended:
                child.hang_up()
        return tuple(dict.fromkeys(child.what for child in ended if child.what))


_LIVING = _Living()


def stop_all() -> tuple[str, ...]:
    """End the programs and return what they were doing.

    From now on ``go_on`` raises in every thread but the main one, which has an exception of its own from its handler
    of signals, and still has a run to write down.
    """
    return _LIVING.stop()


def doing(asked: BaseException) -> str:
    """ " while building the kernel of linux": what a ``KeyboardInterrupt`` ended that has what ``stop_all`` returned as
    its arguments; "" for nothing."""
    return f" while {' and '.join(map(str, asked.args))}" if asked.args else ""


def go_on(seconds: float = 0.0) -> None:
    """Wait for so long. Raises ``Interrupted`` in a thread whose work is not wanted any more, as soon as it is not."""
    if threading.current_thread() is not threading.main_thread():
        if _LIVING.stopped.wait(seconds):
            raise Interrupted("interrupted")
    elif seconds:
        threading.Event().wait(seconds)


@contextmanager
def working(what: str) -> Iterator[None]:
    """Set the message for an interrupt while this process itself works; it asks ``go_on`` now and then."""
    with _LIVING.having(_Work(what)):
        yield


@contextmanager
def start(
    argv: Sequence[str],
    *,
    what: str = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: Stream = DEVNULL,
    stdout: Stream = DEVNULL,
    stderr: Stream = DEVNULL,
    after: Literal["end", "leave"] = "end",
    by_signal: bool = True,
) -> Iterator[Child]:
    """Start a program; when the block is left it has ended, with all it started.

    ``what`` says what it does, should it be interrupted ("building the kernel of linux"). ``after="leave"`` leaves
    alone what still runs when the program ends by itself, with success. ``by_signal=False`` is for those of a guest,
    which its pool ends. Raises ``OSError`` when it cannot be run, ``Interrupted`` when a signal ended it.
    """
    if by_signal:
        go_on()
    ours, theirs = socket.socketpair()
    with theirs:
        try:
            process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_KEEPER), str(theirs.fileno()), after, *argv],
                cwd=folder, env=environment, stdin=stdin, stdout=stdout, stderr=stderr,
                pass_fds=(theirs.fileno(),), start_new_session=True,
            )  # fmt: skip
        except BaseException:
            ours.close()
            raise
    child = Child(process, ours, what)
    try:
        with _LIVING.having(child) if by_signal else contextlib.nullcontext():
            child.started()
            yield child
    finally:
        try:
            child.end()
        finally:
            child.close()
    if by_signal:
        go_on()


def run(
    argv: Sequence[str],
    *,
    what: str = "",
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    given: bytes | None = None,
    output: Stream = PIPE,
    merged: bool = False,
    seconds: float | None = None,
) -> Done:
    """Run a program to its end. ``output`` is where its standard output and error go; ``merged`` makes them one.

    Raises ``OSError`` when it cannot be run, ``OutOfTime`` after ``seconds``, ``Interrupted``.
    """
    stdin = DEVNULL if given is None else PIPE
    stderr = MERGED if merged else output
    with start(
        argv, what=what, folder=folder, environment=environment, stdin=stdin, stdout=output, stderr=stderr
    ) as child:
        return child.communicate(given, seconds)


def ask(
    argv: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    given: bytes = b"",
    seconds: float | None = 30.0,
) -> Done:
    """Ask a program something; it has no children and answers at once. Raises ``OSError``, ``OutOfTime``."""
    go_on()
    with subprocess.Popen(
        argv, env=environment, stdin=PIPE, stdout=PIPE, stderr=PIPE, start_new_session=True
    ) as process:
        try:
            with _LIVING.having(_Question(process)):
                out, err = process.communicate(given, seconds)
        except subprocess.TimeoutExpired:
            raise OutOfTime(f"no answer within {seconds:g} s") from None
        finally:
            process.kill()
    go_on()
    return Done(process.returncode, out, err)


def emulator(argv: Sequence[str], inherited: Sequence[int]) -> RunningProgram:
    """Start QEMU: it dies with the *thread* that started it. Raises ``OSError``, ``ToolMissing``."""
    wrapper = shutil.which("setpriv")
    if wrapper is None:
        raise ToolMissing("setpriv", "util-linux")
    argv = [wrapper, "--pdeathsig", "KILL", "--", *argv]
    return RunningProgram(
        subprocess.Popen(argv, stdin=DEVNULL, stdout=DEVNULL, stderr=PIPE, pass_fds=inherited, start_new_session=True)
    )
