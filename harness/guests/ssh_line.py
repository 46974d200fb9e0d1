"""Frames over a program's standard input and output at the other end of an SSH connection."""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator

import paramiko

from harness.guests.channel import Frame, FrameDecoder, Gone, encode

_READ = 256 << 10
_LONGEST_WAIT = 3600.0  # seconds; a deadline may be none at all
_KEPT = 8 << 10  # bytes of what the agent says on standard error
_LEAVE_SECONDS = 10.0  # for an agent that has been told to leave to clean up and go
# What paramiko raises when a connection has gone. EOFError comes from whatever writes; reading writes, too, to tell the
# other side that there is room again.
BROKEN = (paramiko.SSHException, paramiko.SFTPError, EOFError, OSError)


@contextlib.contextmanager
def answering(transport: paramiko.Transport, seconds: float) -> Iterator[None]:
    """Close the connection, and raise ``TimeoutError``, unless the block ends in time.

    paramiko waits for ever for the answer to a request on a channel (``Channel._wait_for_event``).
    """
    late = threading.Event()

    def close() -> None:
        late.set()
        transport.close()

    timer = threading.Timer(seconds, close)
    timer.daemon = True
    timer.start()
    try:
        yield
    except BROKEN:
        if late.is_set():
            raise TimeoutError(f"no answer within {seconds:g} s") from None
        raise
    finally:
        timer.cancel()


class SshLine:
    """A ``Line`` to an agent started by ``command``. Used from one thread; ``leave`` may come from any.

    ``status`` is the agent's exit status once it has one, ``complaints`` what it or a shell wrote on standard error.
    """

    def __init__(self, transport: paramiko.Transport, command: str, where: str, seconds: float) -> None:
        self._where, self._transport = where, transport
        self._left = threading.Event()
        self._decoder = FrameDecoder()
        self._ready: deque[Frame] = deque()
        self._said = bytearray()
        self.status: int | None = None
        try:
            with answering(transport, seconds):
                self._channel = transport.open_session(timeout=seconds)
                self._channel.settimeout(seconds)
                self._channel.exec_command(command)
        except BROKEN as problem:
            raise Gone(f"{where} cannot start a program: {problem or type(problem).__name__}") from None

    def send(self, frame: Frame, seconds: float) -> None:
        """See ``Line.send``."""
        end = time.monotonic() + seconds
        data = memoryview(encode(frame))
        while data:
            self._channel.settimeout(max(0.001, end - time.monotonic()))
            try:
                sent = self._channel.send(bytes(data[:_READ]))
            except TimeoutError:
                raise Gone(f"{self._where} took no {frame.kind!r} within {seconds:g} s") from None
            except BROKEN:
                raise self._gone() from None
            if sent == 0:
                raise self._gone()
            data = data[sent:]

    def receive(self, deadline: float, late: str) -> Frame:
        """See ``Line.receive``."""
        while not self._ready:
            left = deadline - time.monotonic()
            if left <= 0:
                raise Gone(late)
            self._hear()
            self._channel.settimeout(min(left, _LONGEST_WAIT))
            try:
                data = self._channel.recv(_READ)
            except TimeoutError:
                continue
            except BROKEN:
                data = b""
            if not data:
                raise self._gone()
            self._ready.extend(self._decoder.feed(data))
        return self._ready.popleft()

    def complaints(self) -> str:
        """What was written on standard error, as one printable line."""
        self._hear()
        text = " ".join(bytes(self._said).decode("utf-8", "replace").split())
        return "".join(c if c.isprintable() else "?" for c in text)[:300]

    def leave(self) -> bool:
        """Hang up: the agent ends what it started, removes its directory and goes. Says whether it was seen to go."""
        self._left.set()
        try:
            self._channel.shutdown_write()
        except BROKEN:
            return False
        return self._channel.status_event.wait(_LEAVE_SECONDS)

    def _hear(self) -> None:
        with contextlib.suppress(*BROKEN):
            while self._channel.recv_stderr_ready():
                data = self._channel.recv_stderr(4096)
                self._said += data[: max(0, _KEPT - len(self._said))]

    def _gone(self) -> Gone:
        """Why there is no more: we left, the agent ended, or nobody knows."""
        if self._left.is_set():
            return Gone("the guest was stopped")
        # The exit status, where there is one, follows the end of the output; a dead connection sets the event too.
        self._channel.status_event.wait(_LEAVE_SECONDS)
        said = f": {text}" if (text := self.complaints()) else ""
        if self._channel.exit_status == -1:
            alive = self._transport.is_active()
            what = f"the agent on {self._where} was killed" if alive else f"the connection to {self._where} was lost"
            return Gone(f"{what}{said}")
        self.status = self._channel.exit_status
        return Gone(f"the agent on {self._where} ended with status {self.status}{said}")
