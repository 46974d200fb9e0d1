"""The host as a guest, with the misbehaving program of the guests' own tests."""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

import pytest

from harness.errors import BootFailed, LostGuest, UsageError
from harness.guests.host import HostGuest
from harness.guests.model import Deadlines, Exited, Output

LIMITS = Deadlines(boot=10, probe=1, silence=10, total=20)


@pytest.fixture
def host(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    guests = []

    def make(limits: Deadlines = LIMITS, **options: int) -> HostGuest:
        guests.append(HostGuest(limits, **options))
        return guests[-1]

    yield make
    for guest in guests:
        guest.stop()
    assert list(tmp_path.iterdir()) == []


def run(guest: HostGuest, script: str) -> list:
    return list(guest.run([sys.executable, "-c", script]))


def test_boot_tells_of_this_machine(host):
    booted = host().boot()
    assert booted.acceleration == "none"
    assert booted.page_size >= 4096


def test_what_a_program_writes_and_how_it_ends(host):
    guest = host()
    guest.boot()
    path = guest.push("program", b"#!/bin/sh\necho out\necho err >&2\npwd\nexit 7\n")
    events = list(guest.run([path]))
    assert b"".join(e.data for e in events if isinstance(e, Output) and e.stream == "err") == b"err\n"
    assert b"".join(e.data for e in events if isinstance(e, Output) and e.stream == "out").startswith(b"out\n")
    assert events[-1] == Exited(7, None)


def test_a_signal_is_told(host):
    guest = host()
    guest.boot()
    assert run(guest, "import os; os.kill(os.getpid(), 11)")[-1] == Exited(None, signal.SIGSEGV)


def test_orphans_in_other_sessions_are_killed_and_not_waited_for(host, tmp_path):
    """Killed is ended: this one takes a while for it, with all that memory to give back."""
    guest = host()
    guest.boot()
    script = f"""
import os, signal
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        memory = bytearray(b"x") * (1 << 28)
        open({str(tmp_path / "pid")!r}, "w").write(str(os.getpid()))
        signal.pause()
    os._exit(0)
os.wait()
while not os.path.exists({str(tmp_path / "pid")!r}) or not open({str(tmp_path / "pid")!r}).read():
    pass
"""
    assert run(guest, script)[-1] == Exited(0, None)
    pid = int((tmp_path / "pid").read_text())
    (tmp_path / "pid").unlink()
    status = Path(f"/proc/{pid}/status")
    assert not status.exists() or "State:\tZ" in status.read_text()


@pytest.mark.parametrize(
    ("limits", "message"),
    [
        (Deadlines(10, 1, 0.2, 20), "silent for 0.2 s"),
        (Deadlines(10, 1, 10, 0.2), "did not end within 0.2 s"),
    ],
)
def test_deadlines(host, limits, message):
    guest = host(limits)
    guest.boot()
    with pytest.raises(LostGuest, match=message):
        run(guest, "import signal; signal.pause()")


def test_a_flood_is_cut_off(host):
    guest = host(flood=1 << 20)
    guest.boot()
    with pytest.raises(LostGuest, match="flooded"):
        run(guest, "import os\nwhile True: os.write(1, bytes(65536))")


def test_a_program_that_cannot_be_run(host):
    guest = host()
    guest.boot()
    with pytest.raises(LostGuest, match="could not run"):
        list(guest.run(["/absent"]))


@pytest.mark.parametrize("name", ["a/b", "../x", "/x"])
def test_names_are_plain(host, name):
    guest = host()
    guest.boot()
    with pytest.raises(UsageError):
        guest.push(name, b"")


def test_stop_from_another_thread_ends_a_run(host):
    guest = host()
    guest.boot()
    threading.Timer(0.2, guest.stop).start()
    with pytest.raises(LostGuest, match="stopped"):
        run(guest, "import signal; signal.pause()")
    with pytest.raises(BootFailed):
        guest.boot()
