"""How much is taken of what others send. docs/internals/guests.md has the table of all bounds."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

from harness.model.stored_files import open_stored

ANSWER = 64 << 10  # bytes that a command asked over SSH may answer with
STRANGER = 1 << 20  # bytes an SSH server may send before it has shown who it is and let us in
CONNECTION = 256 << 20  # bytes it may send in all, after that
CONSOLE = 64 << 20  # bytes of a console: a whole suite writes a hundredth of it
SFTP = 8 << 20  # bytes that an SFTP server may answer with, all its messages together
TOO_LONG = f"its console log exceeds {CONSOLE >> 20} MiB; the rest was not examined"


class Metered:
    """A connection that takes at most so many bytes. What it wraps is a socket, or what paramiko takes for one."""

    def __init__(self, connection: Any, limit: int) -> None:
        self._connection, self._limit, self._left = connection, limit, limit

    def allow(self, more: int) -> None:
        """From now on, so much more."""
        self._limit, self._left = more, more

    def recv(self, size: int) -> bytes:
        """As a socket's. Raises ``OSError`` for what is too much; the connection is closed then."""
        data: bytes = self._connection.recv(min(size, self._left + 1))
        self._left -= len(data)
        if self._left < 0:
            self._connection.close()
            raise OSError(errno.EMSGSIZE, f"it sent more than {self._limit} bytes")
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)


def beginning_of(console: Path) -> tuple[bytes, bool]:
    """A console as far as it is looked at, and whether that is all of it. Raises ``OSError``."""
    with open_stored(console) as file:
        data = file.read(CONSOLE + 1)
    return data[:CONSOLE], len(data) <= CONSOLE


def emulator_files(memory: int, swap: int) -> int:
    """The greatest size, in bytes, of a file that an emulator writes: its console, or a guest's state or swap (MiB).

    A console that comes to this is longer than what is looked at, so that nobody takes it for whole.
    """
    return max(2 * CONSOLE, 2 * (memory + swap) << 20)
