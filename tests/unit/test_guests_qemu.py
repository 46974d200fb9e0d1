"""A QEMU guest over a stand-in for QEMU that speaks the channel: every way it can end, in milliseconds."""

from __future__ import annotations

import re
import threading
from dataclasses import replace
from hashlib import sha256

import pytest

from harness.errors import BootFailed, LostGuest, StoreError, UsageError
from harness.guests.channel import FRAME_LIMIT
from harness.guests.model import Exited, Output
from tests.support.fake_qemu_guest import PATIENT, booted, qemu_guest

__all__ = ["qemu_guest"]  # the fixture `guest`
IMAGE = b"\x7fELF Linux version 6.12.0 (b@h) (gcc (Debian) 14, ld 2) #1\n\0"
OTHERS = IMAGE.replace(b"#1", b"#2")
LATER = IMAGE.replace(b"6.12.0", b"6.13.0")


@pytest.mark.parametrize(
    ("image", "meant", "said"),
    [
        (IMAGE, {}, ""),
        (IMAGE + OTHERS, {}, ""),  # a banner may stand in an image in two forms
        (b"an image that says nothing", {}, ""),
        (IMAGE, {"release": "6.13.0"}, "some is 6.13.0, and the guest runs 6.12.0"),
        (OTHERS, {}, "the image is 6.12.0 #2, the guest runs 6.12.0 #1"),
        (LATER, {}, "the image is 6.13.0 #1, the guest runs 6.12.0"),
    ],
)
def test_another_kernel_than_the_one_that_was_meant_is_no_answer(guest, tmp_path, image, meant, said):
    (tmp_path / "vmlinux").write_bytes(image)
    one = guest(meant=meant)
    if not said:
        assert one.boot().release == "6.12.0"
        return
    with pytest.raises(BootFailed, match=re.escape(f"the wrong kernel booted: {said}")):
        one.boot()


def test_an_image_that_was_changed_is_not_booted(guest, tmp_path):
    (tmp_path / "vmlinux").write_bytes(IMAGE)
    digest = sha256(IMAGE).hexdigest()
    assert guest(meant={"image_sha256": digest}).boot().release == "6.12.0"
    (tmp_path / "vmlinux").write_bytes(OTHERS)
    with pytest.raises(StoreError, match="it was removed, run again"):
        guest(meant={"image_sha256": digest}).boot()
    assert not (tmp_path / "vmlinux").exists()


def test_boot_tells_everything_a_run_records(guest):
    told = guest().boot()
    assert (told.release, told.machine, told.page_size) == ("6.12.0", "x86_64", 4096)
    assert (told.acceleration, told.acceleration_reason) == ("tcg", "TCG was asked for")
    assert told.versions == {"qemu": "9.9.9 (fake)"}
    assert set(told.digests) == {"initramfs", "init"}
    assert told.argv[0].endswith("qemu-system-x86_64")
    assert told.cpu == told.argv[told.argv.index("-cpu") + 1]


def test_push_and_run(guest):
    one = booted(guest())
    assert one.push("payload", b"\x7fELF") == "/work/payload"
    assert list(one.run(["/work/payload", "--run", "a b"])) == [
        Output("out", b"/work/payload\0--run\0a b\0"),
        Output("err", b"oh"),
        Exited(0, None),
    ]


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        ("refused", r"QEMU exited with status 1: qemu: could not load kernel"),
        ("reset", r"the machine reset or powered off; its console ends: Linux version 6.12.0"),
        ("early-panic", r"the kernel crashed: Kernel panic - not syncing: fake"),
        ("old", r"broke the channel's protocol: PID 1 speaks protocol 0, not 1"),
        ("rude", r"broke the channel's protocol: 'out' instead of 'hello'"),
    ],
)
def test_boots_that_fail(guest, fake, reason):
    one = guest(fake)
    with pytest.raises(BootFailed, match=reason):
        one.boot()


def test_a_guest_that_never_says_hello(guest):
    with pytest.raises(BootFailed, match=r"no hello within .* s under TCG; its console ends: Linux version"):
        guest("silent", limits=replace(PATIENT, boot=3)).boot()


@pytest.mark.parametrize(
    ("fake", "reason"),
    [
        ("noise", r"broke the channel's protocol: no frame starts with b'this is no frame"),
        ("wrong", r"broke the channel's protocol: 'hello' while a program runs"),
        ("two-ends", r"'exit' holds neither a status nor a signal"),
        ("strange-frame", r"2 frames with 4 bytes came, and PID 1 says it sent 1 with 3; another process writes"),
        ("uncounted", r"0 frames with 0 bytes came, and PID 1 says it sent None with None"),
        ("forged-exit", r"the channel reported the end of the program, but the guest was not idle: it sent 'out'"),
        ("refuse", r"could not run the payload: run x: Exec format error"),
        ("flood", r"flooded: the payload wrote more than 4194304 bytes"),
        ("panic", r"the kernel crashed: Kernel panic - not syncing: fake"),
        ("killed", r"QEMU was killed by signal 9 \(SIGKILL\)"),
    ],
)
def test_runs_that_are_lost(guest, fake, reason):
    one = booted(guest(fake, flood=4 << 20))
    with pytest.raises(LostGuest, match=reason):
        list(one.run(["x"]))


def test_a_silent_payload(guest):
    one = booted(guest("mute", limits=replace(PATIENT, silence=0.2)))
    with pytest.raises(LostGuest, match=r"the payload was silent for 0.2 s"):
        list(one.run(["x"]))


def test_a_silent_payload_over_a_kernel_that_complained(guest):
    one = booted(guest("stall", limits=replace(PATIENT, silence=2)))
    with pytest.raises(LostGuest, match=r"silent for .*; its console shows: rcu: INFO: rcu_preempt self-detected"):
        list(one.run(["x"]))


def test_a_guest_without_room(guest):
    one = booted(guest("full"))
    with pytest.raises(LostGuest, match=r"could not take x: file /work/x: No space left on device"):
        one.push("x", b"")


@pytest.mark.parametrize("name", ["", "a/b", ".x", "..", "a\0b", "x" * 300])
def test_names_a_guest_cannot_have(guest, name):
    with pytest.raises(UsageError, match="plain file name"):
        guest().push(name, b"")


def test_a_payload_too_large_for_a_frame(guest):
    with pytest.raises(UsageError, match="do not fit"):
        guest().push("x", bytes(FRAME_LIMIT))


@pytest.mark.parametrize("argv", [[], ["a\0b"]])
def test_arguments_that_cannot_be(guest, argv):
    with pytest.raises(UsageError):
        guest().run(argv)


def test_nothing_works_before_boot(guest):
    with pytest.raises(LostGuest, match="not been booted"):
        guest().push("x", b"")


def test_a_console_that_cannot_be_written(guest, tmp_path):
    one = guest()
    (tmp_path / "cell-0").write_bytes(b"in the way")
    with pytest.raises(StoreError):
        one.boot()


def test_stop_ends_what_waits_and_all_that_follows(guest):
    one = booted(guest("mute"))
    threading.Timer(0.1, one.stop).start()
    with pytest.raises(LostGuest, match="the guest was stopped"):
        list(one.run(["x"]))
    one.stop()
    with pytest.raises(LostGuest, match="the guest was stopped"):
        one.push("x", b"")
    with pytest.raises(BootFailed, match="the guest was stopped"):
        one.boot()


def test_stop_while_booting(guest):
    one = guest("silent", acceleration="auto")
    threading.Timer(0.3, one.stop).start()
    with pytest.raises(BootFailed):
        one.boot()


# --- KVM -------------------------------------------------------------------------------------------------------------


def test_kvm_that_works(guest):
    told = guest("kvm-works", acceleration="auto").boot()
    assert (told.acceleration, told.acceleration_reason) == ("kvm", "this kernel booted under KVM")


def test_kvm_that_fails_is_left_for_tcg_and_remembered(guest):
    one = guest(acceleration="auto")
    told = one.boot()
    assert told.acceleration == "tcg"
    assert told.acceleration_reason == "KVM failed: KVM gave up: KVM internal error. Suberror: 1"
    assert (one.console.parent / "console.kvm.log").exists()
    again = guest(acceleration="auto")
    assert again.boot().acceleration_reason.startswith("KVM failed earlier on this host: KVM gave up")
    assert not (again.console.parent / "console.kvm.log").exists()


def test_kvm_on_demand_fails_loudly(guest):
    with pytest.raises(BootFailed, match="KVM gave up: KVM internal error"):
        guest(acceleration="kvm").boot()


def test_a_kernel_that_boots_nowhere_is_not_blamed_on_kvm(guest, monkeypatch):
    """Only what KVM itself says counts then; here a silent hang stands for it."""
    monkeypatch.setattr("harness.guests.qemu_process.KVM_FAILURES", ())
    one = guest("reset", acceleration="auto", limits=replace(PATIENT, boot=3))
    with pytest.raises(BootFailed, match="reset or powered off"):
        one.boot()
    assert one._kvm_memory.failure("9.9.9 (fake)", "host") is None
