"""What is said over a channel once a guest is up, whatever carries the frames: files, programs, how they end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Protocol

from harness.errors import BootFailed, LostGuest, UsageError
from harness.guests.channel import FRAME_LIMIT, Frame, Gone, ProtocolError
from harness.guests.handshake import Hello, parse_hello, read_object
from harness.guests.model import FLOOD, Deadlines, Event, Exited, Output


class FrameLine(Protocol):
    """Carries frames to a guest and back. Both raise ``Gone``, and ``receive`` ``ProtocolError``."""

    def send(self, frame: Frame, seconds: float) -> None:
        """Send a frame within so many seconds."""
        ...

    def receive(self, deadline: float, late: str) -> Frame:
        """Return the next frame; past the ``deadline`` (of ``time.monotonic()``) ``late`` says why it is gone."""
        ...


def file_frame(name: str, content: bytes, mode: int) -> Frame:
    """The frame that puts a file into a guest. Raises ``UsageError`` for a name or size that cannot be."""
    body = b"%s\0%o\0%s" % (os.fsencode(name), mode, content)
    if not name or name[0] == "." or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
        raise UsageError(f"{name!r} cannot be the name of a file in a guest; use a plain file name")
    if len(body) > FRAME_LIMIT:
        raise UsageError(f"{name}: {len(content)} bytes do not fit into a guest; the limit is {FRAME_LIMIT} bytes")
    return Frame("file", body)


def run_frame(argv: Sequence[str]) -> Frame:
    """The frame that starts a program. Raises ``UsageError`` for arguments that cannot be."""
    words = [os.fsencode(word) for word in argv]
    if not words or any(b"\0" in word for word in words):
        raise UsageError("a program's arguments must be at least one word, without NUL bytes")
    return Frame("run", b"".join(word + b"\0" for word in words))


class Dialogue:
    """The host's side of the protocol after hello. Used from one thread; ``work`` is the guest's work directory."""

    def __init__(self, line: FrameLine, limits: Deadlines, flood: int = FLOOD, work: str = "/work") -> None:
        self._line, self._limits, self._flood, self._work = line, limits, flood, work

    def push(self, name: str, file: Frame) -> str:
        """Put a file into the work directory and return its path there."""
        late = f"the guest did not take {name} within {self._limits.boot:g} s"
        with telling_as(LostGuest):
            self._line.send(file, self._limits.boot)
            answer = self._line.receive(time.monotonic() + self._limits.boot, late)
        if answer.kind != "done":
            raise LostGuest(f"the guest could not take {name}: {_said(answer)}")
        return f"{self._work}/{name}"

    def run(self, program: Frame) -> Iterator[Event]:
        """See ``Guest.run``."""
        line, limits = self._line, self._limits
        written = frames = 0
        with telling_as(LostGuest):
            line.send(program, limits.silence)
            end = time.monotonic() + limits.total
            while not isinstance(event := _event(frame := _next(line, limits, end)), Exited):
                written += len(event.data)
                frames += 1
                if written > self._flood:
                    raise LostGuest(f"flooded: the payload wrote more than {self._flood} bytes")
                yield event
            _check_count(frame, frames, written)
        self._see_it_still()
        yield event

    def _see_it_still(self) -> None:
        """Whoever says that a program has ended must be idle now. Only PID 1 knows: a program that wrote to the channel
        itself is still running, and PID 1 ends a guest that is talked to meanwhile."""
        try:
            self._line.send(Frame("still"), self._limits.boot)
            answer = self._line.receive(time.monotonic() + self._limits.boot, "it did not answer")
            why = "" if answer.kind == "done" else f"it sent {answer.kind!r}"
        except (Gone, ProtocolError) as problem:
            why = str(problem)
        if why:
            raise LostGuest(f"the channel reported the end of the program, but the guest was not idle: {why}")


@contextmanager
def telling_as(kind: type[BootFailed] | type[LostGuest]) -> Iterator[None]:
    """Tell what ends a link as the error callers know."""
    try:
        yield
    except Gone as gone:
        raise kind(str(gone), gone.console) from gone
    except ProtocolError as error:
        raise kind(f"the guest broke the channel's protocol: {error}") from error


def await_hello(line: FrameLine, deadline: float, late: str) -> Hello:
    """Return what the guest says when it is up. Raises ``Gone`` and ``ProtocolError``."""
    frame = line.receive(deadline, late)
    if frame.kind != "hello":
        raise ProtocolError(f"{frame.kind!r} instead of 'hello'")
    return parse_hello(frame.body)


def _next(line: FrameLine, limits: Deadlines, end: float) -> Frame:
    silent = time.monotonic() + limits.silence
    if silent < end:
        return line.receive(silent, f"the payload was silent for {limits.silence:g} s")
    return line.receive(end, f"the payload did not end within {limits.total:g} s")


def _event(frame: Frame) -> Event:
    """What a frame of a running program means. Raises ``ProtocolError``; ``Gone`` when it could not be run."""
    match frame.kind:
        case "out" | "err":
            return Output(frame.kind, frame.body)
        case "exit":
            how = read_object("exit", frame.body)
            status, number = how.get("status"), how.get("signal")
            if isinstance(status, int) is isinstance(number, int):
                raise ProtocolError(f"'exit' holds neither a status nor a signal: {frame.body[:80]!r}")
            return Exited(status, number)
        case "fail":
            raise Gone(f"the guest could not run the payload: {_said(frame)}")
        case _:
            raise ProtocolError(f"{frame.kind!r} while a program runs")


def _check_count(frame: Frame, frames: int, written: int) -> None:
    """Hold what came against what PID 1 says it sent. Raises ``ProtocolError``: somebody else wrote to the channel."""
    told = read_object("exit", frame.body)
    if (told.get("frames"), told.get("bytes")) != (frames, written):
        raise ProtocolError(
            f"{frames} frames with {written} bytes came, and PID 1 says it sent {told.get('frames')!r} with "
            f"{told.get('bytes')!r}; another process writes to the channel"
        )


def _said(frame: Frame) -> str:
    return frame.body.decode("utf-8", "replace")[:300] if frame.kind == "fail" else f"it answered {frame.kind!r}"
