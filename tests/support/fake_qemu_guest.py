"""Guests whose QEMU is a program of ours that behaves as it is told."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guests import qemu
from harness.guests.accel import HostFacts, KvmMemory
from harness.guests.model import Deadlines
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel, Origin
from harness.matrix.model import Profile

FAKE = Path(__file__).parents[1] / "data" / "fake_qemu.py"
PATIENT = Deadlines(boot=60, probe=1, silence=60, total=60)


@pytest.fixture(name="guest")
def qemu_guest(tmp_path, monkeypatch):
    """Makes guests whose QEMU behaves as ``fake`` says."""
    program = tmp_path / "bin" / "qemu-system-x86_64"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{FAKE.read_text()}")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(qemu, "host_facts", lambda: HostFacts("x86_64", ""))
    init = tmp_path / "init"
    init.write_bytes(b"\x7fELF")
    made = []

    def make(
        fake: str = "",
        *,
        acceleration: str = "tcg",
        limits: Deadlines = PATIENT,
        meant: Mapping[str, str] | None = None,
        **wishes: object,
    ) -> QemuGuest:
        monkeypatch.setattr(qemu, "deadlines", lambda *_, **__: limits)
        config = {"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "y"}
        image, origin = tmp_path / "vmlinux", Origin("file", "here")
        if not image.exists():
            image.write_bytes(b"\x7fELF no kernel")
        kernel = Kernel("some", "6.12.0", "x86_64", "cloud", image, "vmlinux", "0" * 64, origin, config)
        kernel = replace(kernel, **(meant or {}))  # type: ignore[arg-type]
        one = QemuGuest(
            kernel,
            Profile("standard", boot=(f"fake={fake}",)),
            tmp_path / f"cell-{len(made)}",
            Wishes(acceleration, **wishes),  # type: ignore[arg-type]
            init=init,
            kvm_memory=KvmMemory(tmp_path / "memory", "this-boot"),
        )
        made.append(one)
        return one

    yield make
    for one in made:
        one.stop()


def booted(one: QemuGuest) -> QemuGuest:
    one.boot()
    return one
