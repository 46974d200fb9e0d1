"""A kernel and a machine for it, of which no file is there."""

from __future__ import annotations

from pathlib import Path

from harness.guests.devices import Machine
from harness.kernels.model import Kernel, Origin
from harness.matrix.model import Profile

KERNEL = Kernel(
    name="some",
    release="6.12.1",
    arch="x86_64",
    flavour="cloud",
    image=Path("/store/vmlinux"),
    image_format="vmlinux",
    sha256="0" * 64,
    origin=Origin("file", "somewhere"),
    config={"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "y"},
)
MACHINE = Machine(
    KERNEL, Profile("standard"), "tcg", Path("/usr/bin/qemu"), Path("/c/i.cpio"), Path("/r/c.log"), channel_fd=7
)
