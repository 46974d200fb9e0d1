"""Guests, machines and servers that send too much: one line, and never more memory or disk than the bound."""

from __future__ import annotations

import contextlib
import itertools
import resource
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness.errors import BootFailed, UsageError
from harness.guests import bounds, qemu_process
from harness.guests.bounds import ANSWER, CONSOLE, SFTP, STRANGER, TOO_LONG, Metered
from harness.guests.channel import Gone
from harness.guests.ssh_connect import connected
from harness.guests.ssh_place import ask, files_of
from harness.matrix.model import OverSsh
from harness.model.stored_files import JOURNAL_LIMIT
from harness.rules.load import load_catalogue
from harness.runs.run_store import load_run
from tests.stored_runs import copy_of
from tests.support.fake_qemu_guest import qemu_guest
from tests.support.scripted_runs import WHOLE, run, statuses
from tests.support.scripted_runs import guest as scripted

__all__ = ["qemu_guest"]  # the fixture `guest`


@contextlib.contextmanager
def flooding(first: bytes) -> Iterator[tuple[int, list[int]]]:
    """A server that says something and then sends without end; its port, and what it could send."""
    sent = [0]
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.sendall(first)
                    while True:
                        sent[0] += connection.send(b"x" * 65536)

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1], sent
    thread.join(10)


@pytest.mark.parametrize("first", [b"", b"SSH-2.0-flood\r\n"])
def test_an_ssh_server_that_floods_before_it_has_shown_who_it_is(tmp_path: Path, first: bytes) -> None:
    """Where its banner should be, or where its keys should."""
    begun = time.monotonic()
    with flooding(first) as (port, sent):
        target = OverSsh("127.0.0.1", port, "root", known_hosts=tmp_path / "known_hosts")
        with pytest.raises(BootFailed, match=r"no SSH connection|sent more than") as caught, connected(target, 20, {}):
            pass
        assert "\n" not in str(caught.value)
    assert sent[0] < 32 * STRANGER  # what lies in the kernel's buffers comes on top
    assert time.monotonic() - begun < 15


class _Endless:
    """A channel of a command that never stops answering."""

    def __init__(self) -> None:
        self.read, self.closed = 0, False

    def recv(self, size: int) -> bytes:
        self.read += size
        return b"" if self.closed else b"x" * size

    def recv_exit_status(self) -> int:
        return 0

    def close(self) -> None:
        self.closed = True

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: self


def test_a_command_that_answers_too_much() -> None:
    channel = _Endless()
    with pytest.raises(Gone, match=f"m answers 'uname -m' with more than {ANSWER} bytes"):
        ask(channel, "uname -m", "m", 5)  # type: ignore[arg-type]
    assert channel.closed
    assert channel.read <= 2 * ANSWER


class _Sftp(_Endless):
    """A server of files that announces a message of so many bytes."""

    def __init__(self, length: int) -> None:
        super().__init__()
        self._head = length.to_bytes(4, "big")

    def recv(self, size: int) -> bytes:
        head, self._head = self._head, b""
        return head or super().recv(min(size, 1 << 20))

    def send(self, data: bytes) -> int:
        return len(data)


@pytest.mark.parametrize("length", [0x00FFFFFF, 0xFFFFFFFF, 9 << 20])
def test_an_sftp_message_that_does_not_end(length: int) -> None:
    channel = _Sftp(length)
    with pytest.raises(Gone) as caught, files_of(channel, 5):  # type: ignore[arg-type]
        pass
    assert "\n" not in str(caught.value)
    assert channel.read <= SFTP + (1 << 20)


@pytest.mark.parametrize("name", ["observations.jsonl", "run.json", "plan.json"])
def test_a_file_of_a_foreign_run_that_is_longer_than_any_of_ours(tmp_path: Path, name: str) -> None:
    folder = copy_of("faults", tmp_path, ("healthy.x86_64",))
    path = folder / ("cells/healthy.x86_64" if name == "observations.jsonl" else ".") / name
    with path.open("ab") as file:
        file.truncate(1 << 40)  # what stands behind the hole is not read
    before = peak()
    with pytest.raises(UsageError, match="MiB, which no run writes") as caught:
        load_run(folder, load_catalogue())
    assert "\n" not in str(caught.value)
    assert peak() - before < 2 * JOURNAL_LIMIT


def peak() -> int:
    """Bytes of memory that this process has had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def test_a_stored_console_that_is_longer_than_anybody_reads(tmp_path: Path) -> None:
    folder = copy_of("faults", tmp_path, ("healthy.x86_64",))
    with (folder / "cells/healthy.x86_64/console.log").open("ab") as file:
        file.truncate(CONSOLE + 1)
    cells = {cell.id: cell for cell in load_run(folder, load_catalogue()).record.cells}
    assert (cells["healthy.x86_64"].state, cells["healthy.x86_64"].reason) == ("lost", TOO_LONG)


def test_a_connection_that_may_send_more_after_a_while() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        metered = Metered(ours, 4)
        theirs.sendall(b"1234")
        assert metered.recv(100) == b"1234"
        metered.allow(2)
        theirs.sendall(b"567")
        with pytest.raises(OSError, match="it sent more than 2 bytes"):
            metered.recv(100)
        assert ours.fileno() == -1


def test_a_guest_that_floods_its_console_is_ended(guest, tmp_path, monkeypatch):
    monkeypatch.setattr(qemu_process, "emulator_files", lambda *_: 1 << 20)
    with pytest.raises(BootFailed, match="the guest's console log reached its size limit"):
        guest("console-floods").boot()
    (console,) = tmp_path.glob("cell-*/console.log")
    assert console.stat().st_size == 1 << 20


def test_a_console_that_is_longer_than_anybody_reads_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A report that stands behind it would be seen by nobody."""
    monkeypatch.setattr(bounds, "CONSOLE", 1000)
    lines = "\n".join(itertools.repeat("a line of the console", 100))
    done, _ = run(tmp_path / "r", {"a": scripted(tmp_path, *WHOLE, console_text=lines)})
    assert (done.record.cells[0].state, done.exit_code) == ("lost", 3)
    assert "the rest was not examined" in done.record.cells[0].reason
    assert statuses(done, "a") == ["pass", "pass"]


def test_an_emulator_may_write_what_a_guest_has() -> None:
    assert bounds.emulator_files(16, 0) > bounds.CONSOLE
    assert bounds.emulator_files(512, 64) == 2 * (512 + 64) << 20
