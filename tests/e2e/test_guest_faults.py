"""What goes wrong in a guest is told for what it is, and leaves nothing behind."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from harness.errors import BootFailed, LostGuest, ToolMissing
from harness.guests.console import find_crashes
from harness.guests.model import Exited
from harness.guests.pid1 import build_init
from harness.kernels.store import file_sha256
from harness.matrix.model import Profile
from harness.payload.compiler import compile_static

pytestmark = pytest.mark.kernels

PROGRAMS = Path(__file__).parents[1] / "guest_programs"


def is_gone(pid: int, seconds: float = 10) -> bool:
    """Whether a process ends in time. Only its death wakes us, no clock."""
    try:
        fd = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([fd], [], [], seconds)[0])
    finally:
        os.close(fd)


# --- kernels ---------------------------------------------------------------------------------------------------------


def image_of(path: Path) -> dict[str, object]:
    """Another image in a kernel's place, with its digest: it is meant, and not damaged."""
    return {"image": path, "image_sha256": file_sha256(path)}


def test_an_image_that_is_no_kernel(guest, kernel, tmp_path):
    """The right magic in front of noise: QEMU starts it, and it goes nowhere."""
    real = kernel("debian-6.12", "arm64").image.read_bytes()
    image = tmp_path / "Image"
    image.write_bytes(real[:4096] + bytes(range(256)) * 4096)
    with pytest.raises(BootFailed, match=r"no hello within .* s under TCG; no console output|reset|QEMU"):
        guest(arch="arm64", changes=image_of(image), scale=0.1, acceleration="tcg").boot()


def test_an_image_qemu_refuses(guest, tmp_path):
    image = tmp_path / "image"
    image.write_bytes(b"no kernel at all" * 100)
    with pytest.raises(BootFailed, match=r"QEMU exited with status 1: .*"):
        guest(changes=image_of(image), scale=0.1, acceleration="tcg").boot()


def test_a_kernel_that_never_speaks(guest):
    """PID 1 hangs: the deadline ends it, and the reason tells how far the console came."""
    silent = compile_static([PROGRAMS / "silent.c"], "x86_64", "silent")
    one = guest(init=silent, acceleration="tcg")  # a boot has its time: on a busy machine it is slow to come to PID 1
    with pytest.raises(BootFailed, match=r"no hello within 60 s under TCG; its console ends: ") as failure:
        one.boot()
    assert any("init" in line for line in failure.value.console)
    assert one.pid is None or is_gone(one.pid)


def test_a_panic_while_booting_is_no_timeout(guest):
    begun = time.monotonic()
    one = guest(profile=Profile("broken", boot=("rdinit=/absent", "init=/absent")), acceleration="tcg")
    with pytest.raises(BootFailed, match=r"the kernel crashed: Kernel panic - not syncing") as failure:
        one.boot()
    assert failure.value.console[0].startswith("Kernel panic")
    assert time.monotonic() - begun < 60  # the deadline of a boot


def test_pid_1_that_dies_is_a_panic(guest):
    dying = compile_static([PROGRAMS / "fault.c"], "x86_64", "fault")
    with pytest.raises(BootFailed, match="Attempted to kill init"):
        guest(init=dying, acceleration="tcg").boot()


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_a_panic_in_the_middle_of_the_payload(guest, misbehave, arch):
    one = guest(arch=arch)
    one.boot()
    with pytest.raises(LostGuest, match=r"the kernel crashed: Kernel panic - not syncing: sysrq") as lost:
        misbehave(one, "panic", arch)
    assert any(line.startswith(("Call Trace", "Call trace")) for line in lost.value.console)
    one.stop()
    (crash,) = find_crashes(one.console.read_text(errors="replace"))
    assert (crash.kind, crash.fatal, crash.during) == ("panic", True, "test/probe/one")


def test_a_machine_that_resets_is_told_from_a_panic(guest, misbehave):
    one = guest()
    one.boot()
    with pytest.raises(LostGuest, match="the machine reset or powered off; its console ends: sysrq: Resetting"):
        misbehave(one, "reset")


# --- payloads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
def test_payloads_that_misbehave_are_contained(guest, misbehave, arch):
    """One guest survives them all, one after the other."""
    one = guest(arch=arch)
    one.boot()
    assert misbehave(one, "die", arch) == (b"before\n", b"", Exited(None, signal.SIGSEGV))
    out, _, ending = misbehave(one, "garbage", arch)
    assert ending == Exited(0, None)
    assert len(out) > 4096
    assert b"\x1b[2J" in out
    assert misbehave(one, "mute", arch) == (b"", b"", Exited(3, None))
    assert misbehave(one, "orphan", arch) == (b"left\n", b"", Exited(0, None))
    assert misbehave(one, "seize", arch)[0] == b"busy\n"
    out, err, _ = misbehave(one, "flood-err", arch)
    assert (out, len(err)) == (b"done\n", 2 << 20)
    assert misbehave(one, "bomb", arch)[2] == Exited(5, None)
    assert misbehave(one, "hello", arch)[2] == Exited(7, None)
    with pytest.raises(LostGuest, match=r"could not run the payload: run /work/absent: No such file"):
        list(one.run(["/work/absent"]))
    one.stop()
    assert "dropped 8388608 bytes of standard error" in one.console.read_text(errors="replace")


def test_a_payload_that_floods_is_cut_off(guest, misbehave):
    one = guest(flood=8 << 20)
    one.boot()
    with pytest.raises(LostGuest, match="flooded: the payload wrote more than 8388608 bytes"):
        misbehave(one, "flood")


@pytest.mark.parametrize("fault", ["hang", "spin"])
def test_a_payload_that_hangs_meets_its_deadline(guest, misbehave, fault, monkeypatch):
    monkeypatch.setattr("harness.guests.deadlines._SILENCE", 12.0)  # and that of the boot as it is
    one = guest()
    one.boot()
    with pytest.raises(LostGuest, match="the payload was silent for 12 s"):
        misbehave(one, fault)


# --- QEMU and the host -----------------------------------------------------------------------------------------------


def test_qemu_killed_in_the_middle(guest, misbehave):
    one = guest()
    one.boot()
    threading.Timer(1.0, os.kill, (one.pid, signal.SIGKILL)).start()
    with pytest.raises(LostGuest, match=r"QEMU was killed by signal 9 \(SIGKILL\)"):
        misbehave(one, "hang")


def test_stop_from_another_thread_ends_a_run_at_once(guest, misbehave):
    one = guest()
    one.boot()
    pid = one.pid
    threading.Timer(0.5, one.stop).start()
    begun = time.monotonic()
    with pytest.raises(LostGuest, match="the guest was stopped"):
        misbehave(one, "hang")
    assert time.monotonic() - begun < 60  # the deadline of silence
    assert is_gone(pid)
    one.stop()
    with pytest.raises(LostGuest, match="stopped"):
        one.push("more", b"")
    with pytest.raises(BootFailed, match="stopped"):
        one.boot()


def test_qemu_missing_names_its_package(guest, monkeypatch, tmp_path):
    one = guest(arch="arm64", init=build_init("arm64"))
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        ToolMissing, match="qemu-system-aarch64 is not installed; its package is qemu-system-arm on Debian"
    ):
        one.boot()


def test_kvm_for_a_foreign_machine_is_refused(guest):
    with pytest.raises(BootFailed, match=r"KVM was asked for, but the host is \w+, the guest \w+"):
        guest(arch="arm64" if os.uname().machine == "x86_64" else "x86_64", acceleration="kvm").boot()


CHILD = """
import sys, time
from pathlib import Path
sys.path.insert(0, {root!r})
sys.path.insert(0, {tests!r})
from tests.support.real_kernels import stored_kernel
from harness.guests.qemu import QemuGuest, Wishes
from harness.matrix.model import Profile
one = QemuGuest(stored_kernel("debian-6.12", "x86_64"), Profile("standard"), Path({folder!r}), Wishes("tcg"))
one.boot()
print(one.pid, flush=True)
time.sleep(600)
"""


def test_a_guest_dies_with_its_parent(tmp_path):
    root = Path(__file__).parents[2]
    code = CHILD.format(root=str(root), tests=str(Path(__file__).parent), folder=str(tmp_path))
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()
    assert is_gone(pid, 2)
