"""Every shape of kernel boots, and its guest does what a guest promises."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ImageError, KernelUnavailable
from harness.guests.console import find_crashes
from harness.guests.model import Exited
from harness.matrix.model import Profile

pytestmark = pytest.mark.kernels


@pytest.mark.parametrize(
    ("name", "arch", "page_size"),
    [
        ("debian-6.1", "x86_64", 4096),  # its virtio console is a module
        ("debian-6.1", "arm64", 4096),
        ("debian-6.12", "x86_64", 4096),
        ("debian-6.12", "arm64", 4096),
        ("debian-6.12-16k", "arm64", 16384),
        ("debian-newest", "x86_64", 4096),
        ("debian-newest", "arm64", 4096),
        ("debian-6.1-full", "x86_64", 4096),
        ("debian-6.12-riscv", "riscv64", 4096),
    ],
)
def test_boots_and_runs_a_program(guest, kernel, misbehave, name, arch, page_size):
    one = guest(name, arch)
    booted = one.boot()
    assert booted.release == kernel(name, arch).release
    assert booted.page_size == page_size
    assert booted.notes == ()
    assert booted.acceleration in ("kvm", "tcg")
    assert booted.acceleration_reason
    out, err, ending = misbehave(one, "hello", arch)
    assert (out, err, ending) == (b"hello out\n", b"hello err\n", Exited(7, None))
    assert misbehave(one, "hello", arch)[2] == Exited(7, None)  # a guest takes one program after another
    one.stop()
    console = one.console.read_text(errors="replace")
    assert "Linux version" in console  # the whole log, from its first line
    assert not [crash for crash in find_crashes(console) if crash.fatal]


def test_modules_are_packed_where_the_channel_is_not_built_in(guest, kernel):
    """The full flavour of 6.1 has its virtio console as a module, and so has the cloud flavour."""
    for name in ("debian-6.1", "debian-6.1-full"):
        assert kernel(name, "x86_64").config["VIRTIO_CONSOLE"] == "m"
    one = guest("debian-6.1-full")
    booted = one.boot()
    assert "initramfs" in booted.digests
    archive = Path(booted.argv[booted.argv.index("-initrd") + 1]).read_bytes()
    assert b"virtio_console.ko" in archive


def test_a_disk_without_a_driver_is_not_waited_for(guest):
    """The 16k flavour has NVMe as a module. Where its configuration is unknown and its modules cannot be had, it is
    given such a disk all the same, and cannot have one however long it waits."""

    def none(names):
        raise KernelUnavailable("no modules")

    unknown = {"config": {}, "modules": none}
    swapping = Profile("swapping", swap=64)
    booted = guest("debian-6.12-16k", "arm64", profile=swapping, changes=unknown).boot()
    assert booted.notes == ("swap: /dev/nvme0n1: this kernel has no driver for it",)
    booted = guest("debian-6.12", "arm64", profile=swapping, changes=unknown).boot()
    assert booted.notes == ()  # the cloud flavour has it built in


def test_two_processors_and_boot_parameters_reach_the_kernel(guest):
    one = guest(profile=Profile("wide", smp=2, memory=384, boot=("proc_mem.force_override=never",)))
    booted = one.boot()
    assert booted.cmdline.endswith("proc_mem.force_override=never")
    one.stop()
    assert "Brought up 1 node, 2 CPUs" in one.console.read_text(errors="replace")


def test_a_guest_has_no_network_and_only_our_devices(guest):
    argv = guest().boot().argv
    assert {"-nodefaults", "-no-user-config", "-no-reboot"} <= set(argv)
    assert argv[argv.index("-nic") + 1] == "none"
    assert argv[argv.index("-sandbox") + 1].startswith("on,")


def test_a_kernel_without_a_channel_is_told_before_anything_starts(guest, kernel):
    config = {k: v for k, v in kernel("debian-6.12", "x86_64").config.items() if k != "VIRTIO_CONSOLE"}
    with pytest.raises(ImageError, match="CONFIG_VIRTIO_CONSOLE"):
        guest(changes={"config": config}).boot()
