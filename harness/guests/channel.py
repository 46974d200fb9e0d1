"""The host's end of the channel (docs/reference/protocol.md): frames, and reading them against deadlines.

Nothing here trusts the guest: a header has a greatest length, a frame a greatest size, and whatever is not the
protocol is a ``ProtocolError`` that quotes the bytes.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

PORT = "org.sealmatrix.channel"
FRAME_LIMIT = 16 << 20
_HEADER_LIMIT = 32  # "KIND SP LENGTH LF": 15 letters and 8 digits at most
_READ = 256 << 10
_LONGEST_WAIT = 3600.0  # seconds; poll() counts milliseconds in an int, and a deadline may be no deadline at all

FROM_GUEST = frozenset({"hello", "done", "fail", "out", "err", "exit"})


class ProtocolError(Exception):
    """The guest sent something that is no frame, or no frame that may come now."""


class ChannelClosed(Exception):
    """The other end is gone."""


class DeadlinePassed(Exception):
    """Nothing came in time."""


class Gone(Exception):
    """The guest will answer no more. ``console`` quotes its console."""

    def __init__(self, reason: str, console: tuple[str, ...] = ()) -> None:
        self.console = console
        super().__init__(reason)


@dataclass(frozen=True)
class Frame:
    """One message of the channel."""

    kind: str
    body: bytes = b""


def encode(frame: Frame) -> bytes:
    """Return a frame's bytes. Raises ``ValueError`` when the body is larger than the protocol allows."""
    if len(frame.body) > FRAME_LIMIT:
        raise ValueError(f"a frame holds at most {FRAME_LIMIT} bytes, not {len(frame.body)}")
    return b"%s %d\n%s" % (frame.kind.encode(), len(frame.body), frame.body)


class FrameDecoder:
    """Turns bytes, cut anywhere, into frames. Holds one incomplete frame at most."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that ``data`` completes. Raises ``ProtocolError``; use no more after that."""
        self._buffer += data
        frames: list[Frame] = []
        start = 0
        while (header := self._header(start)) is not None:
            kind, length, body = header
            if len(self._buffer) < body + length:
                break
            frames.append(Frame(kind, bytes(self._buffer[body : body + length])))
            start = body + length
        del self._buffer[:start]
        return frames

    def _header(self, start: int) -> tuple[str, int, int] | None:
        """(kind, length, where the body starts), or None while the header is incomplete."""
        head = bytes(self._buffer[start : start + _HEADER_LIMIT])
        line, newline, _ = head.partition(b"\n")
        if not newline:
            if len(head) >= _HEADER_LIMIT:
                raise ProtocolError(f"no frame starts with {head!r}")
            return None
        kind, space, number = line.partition(b" ")
        if not space or not number.isdigit() or kind.decode("latin-1") not in FROM_GUEST:
            raise ProtocolError(f"no frame starts with {line!r}")
        length = int(number)
        if length > FRAME_LIMIT:
            raise ProtocolError(f"a frame of {length} bytes is over the limit of {FRAME_LIMIT}")
        return kind.decode("latin-1"), length, start + len(line) + 1


class Channel:
    """Frames over a connected socket. Used from one thread; ``close`` may come from another."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.setblocking(False)
        self._decoder = FrameDecoder()
        self._ready: deque[Frame] = deque()
        self._poll = select.poll()
        self._poll.register(connection, select.POLLIN)

    def watch(self, fd: int) -> None:
        """Call ``on_other`` of ``receive`` when ``fd`` becomes readable or is hung up."""
        self._poll.register(fd, select.POLLIN)

    def unwatch(self, fd: int) -> None:
        """End ``watch``."""
        self._poll.unregister(fd)

    def receive(self, deadline: float, on_other: Callable[[int], None]) -> Frame:
        """Return the next frame, waiting until ``deadline`` (of ``time.monotonic()``) for it to be complete.

        Raises ``DeadlinePassed``, ``ChannelClosed`` or ``ProtocolError``.
        """
        while not self._ready:
            for fd in self._wait(self._poll, deadline):
                if fd == self._socket.fileno():
                    self._ready.extend(self._decoder.feed(self._read()))
                else:
                    on_other(fd)
        return self._ready.popleft()

    def send(self, frame: Frame, deadline: float) -> None:
        """Send a whole frame. Raises ``DeadlinePassed`` or ``ChannelClosed``."""
        data = memoryview(encode(frame))
        writable = select.poll()
        writable.register(self._socket, select.POLLOUT)
        while data:
            self._wait(writable, deadline)
            try:
                data = data[self._socket.send(data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise ChannelClosed(str(error)) from error

    def close(self) -> None:
        """Hang up: a guest whose host is gone powers off."""
        self._socket.close()

    @staticmethod
    def _wait(poll: select.poll, deadline: float) -> list[int]:
        """Descriptors with something to tell; never empty."""
        while True:
            left = deadline - time.monotonic()
            if left <= 0:
                raise DeadlinePassed
            if ready := poll.poll(min(left, _LONGEST_WAIT) * 1000 + 1):
                return [fd for fd, _ in ready]

    def _read(self) -> bytes:
        try:
            data = self._socket.recv(_READ)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        if not data:
            raise ChannelClosed("closed by the guest")
        return data
