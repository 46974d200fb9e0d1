"""QEMU's monitor (QMP), as much as saving a guest needs: a few commands, each answered before the next.

The protocol is docs/interop/qmp-spec.txt of QEMU: one JSON object a line; a greeting, then answers and events. QEMU is
trusted, unlike the guest in it. ``qemu.qmp`` would bring an event loop for six commands; this is a socket.
"""

from __future__ import annotations

import json
import select
import socket
import time
from typing import Any

from harness.model.json_text import parse_json

_LINE_LIMIT = 1 << 20
_UNLIMITED = 1 << 60  # bytes a second; the default would take seconds over a guest


class MonitorError(Exception):
    """QEMU refused a command, or answers no more."""


class MonitorLost(MonitorError):
    """QEMU answers no more."""


class Monitor:
    """QMP over a connected socket, from one thread."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._buffer = bytearray()
        self._greeted = False

    def save(self, descriptor: int, seconds: float) -> None:
        """Write the guest's state to an open file; it stops for that and then goes on. Raises ``MonitorError``.

        The guest is not stopped first: whoever restores it would find it stopped too, and need a monitor to start it.
        When QEMU only refuses (``MonitorError`` itself), the guest goes on as if nothing had been asked.
        """
        deadline = time.monotonic() + seconds
        events = [{"capability": "events", "state": True}]
        self._execute("migrate-set-capabilities", deadline, capabilities=events)
        self._execute("migrate-set-parameters", deadline, **{"max-bandwidth": _UNLIMITED})
        self._execute("getfd", deadline, descriptor, fdname="state")
        self._execute("migrate", deadline, uri="fd:state")
        self._await_end(deadline)
        # "completed" is told a moment before QEMU is through with it; no event tells the rest.
        while self._execute("query-status", deadline).get("status") == "finish-migrate":
            continue
        try:
            self._execute("cont", deadline)
        except MonitorError as error:
            raise MonitorLost(f"the saved guest could not continue: {error}") from error

    def close(self) -> None:
        """Hang up; QEMU does not mind."""
        self._socket.close()

    def _await_end(self, deadline: float) -> None:
        while True:
            told = self._receive(deadline)
            status = told.get("data", {}).get("status") if told.get("event") == "MIGRATION" else None
            if status == "completed":
                return
            if status == "failed":
                reason = self._execute("query-migrate", deadline).get("error-desc", "it gives no reason")
                raise MonitorError(f"QEMU could not save the guest: {reason}")

    def _execute(self, command: str, deadline: float, descriptor: int | None = None, **arguments: Any) -> Any:
        if not self._greeted:
            self._greeted = True
            self._receive(deadline)
            self._execute("qmp_capabilities", deadline)
        line = json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n"
        try:
            socket.send_fds(self._socket, [line], [] if descriptor is None else [descriptor])
        except OSError as error:
            raise MonitorLost(f"QEMU took no {command!r}: {error.strerror}") from error
        while True:
            answer = self._receive(deadline)
            if "return" in answer:
                return answer["return"]
            if "error" in answer:
                raise MonitorError(f"QEMU refused {command!r}: {answer['error'].get('desc', 'it does not say why')}")

    def _receive(self, deadline: float) -> dict[str, Any]:
        """The next object, an answer or an event."""
        while (end := self._buffer.find(b"\n")) < 0:
            self._fill(deadline)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        try:
            told = parse_json(line)
        except ValueError:
            told = None
        if not isinstance(told, dict):
            raise MonitorLost(f"QEMU's monitor wrote {line[:80]!r}")
        return told

    def _fill(self, deadline: float) -> None:
        left = deadline - time.monotonic()
        if left <= 0 or not select.select([self._socket], [], [], left)[0]:
            raise MonitorLost("QEMU's monitor did not answer in time")
        try:
            data = self._socket.recv(64 << 10)
        except OSError as error:
            raise MonitorLost(f"QEMU's monitor: {error.strerror}") from error
        if not data or len(self._buffer) > _LINE_LIMIT:
            raise MonitorLost("QEMU closed its monitor")
        self._buffer += data
