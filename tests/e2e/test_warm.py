"""Warm guests on real kernels: restored ones are new where they must be. That they tell the same: test_ways.py."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness.guests.console import find_crashes
from harness.guests.model import Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.guests.snapshots import SavedGuests
from harness.kernels.store import Store
from harness.matrix.model import STANDARD_PROFILE
from harness.model.architectures import Arch

pytestmark = pytest.mark.kernels


def drawn(one: QemuGuest, content: bytes) -> tuple[str, int]:
    """Random bytes and the time, as the guest has them."""
    path = one.push("renewed", content)
    out = b"".join(event.data for event in one.run([path]) if isinstance(event, Output))
    random, seconds = out.decode().split()
    return random, int(seconds)


@pytest.mark.parametrize(
    ("name", "arch"), [("debian-6.12", "x86_64"), ("debian-6.12", "arm64"), ("debian-6.12-riscv", "riscv64")]
)
def test_copies_of_a_saved_guest_differ_in_what_must_differ(
    kernel, program, tmp_path: Path, name: str, arch: Arch
) -> None:
    """Randomness, the clock, the name; not what the kernel is, nor what it said while it booted."""
    saved = SavedGuests(Store(tmp_path / "cache"))
    random: list[str] = []
    starts = []
    releases = set()
    for number in range(3):
        one = QemuGuest(
            kernel(name, arch),
            STANDARD_PROFILE,
            tmp_path / str(number),
            Wishes("tcg", fresh=False),
            saved=saved,
        )
        try:
            booted = one.boot()
            starts.append(booted.start)
            releases.add((booted.release, booted.cmdline, booted.notes))
            bytes_drawn, seconds = drawn(one, program("renewed", arch))
        finally:
            one.stop()
        random.append(bytes_drawn)
        assert abs(seconds - time.time()) < 30
        console = (tmp_path / str(number) / "console.log").read_text(errors="replace")
        assert console.count("Linux version") == 1
        assert console.count(f"restored from saved guest {booted.saved_guest}") == (booted.start == "warm")
        assert not find_crashes(console)
    assert starts == ["cold", "warm", "warm"]
    assert len(set(random)) == 3
    assert len(releases) == 1
    assert releases.pop()[2] == ()  # swap and huge pages are there
