"""Guests with a root: what is found out before anything is started, and what QEMU is told."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import BootFailed, ImageError, KernelUnavailable
from harness.guests.devices import Machine, Root, argv
from harness.guests.qemu import QemuGuest, Wishes
from harness.guests.restore import why_cold
from harness.guests.ssh import SshGuest
from harness.guests.virtme import VirtmeGuest, initial_ram_file_system, parameters, root_modules, root_path
from harness.kernels.model import Kernel, Origin
from harness.matrix.model import InVirtme, OverSsh, Profile
from harness.model.architectures import ARCHES, host_arch
from harness.runs.guest_factory import guest_maker
from harness.runs.model import Cell

CONFIG = dict.fromkeys(
    ("VIRTIO_PCI", "VIRTIO_CONSOLE", "BLK_DEV_INITRD", "TMPFS", "DEVTMPFS", "UNIX", "9P_FS", "NET_9P_VIRTIO"), "y"
)
KERNEL = Kernel(
    name="some", release="6.12.1", arch="x86_64", flavour="full", image=Path("/store/vmlinux"), image_format="vmlinux",
    sha256="0" * 64, origin=Origin("file", "somewhere"), config=CONFIG,
)  # fmt: skip


def kernel(**config: str | None) -> Kernel:
    options = {name: value for name, value in (CONFIG | config).items() if value is not None}
    return replace(KERNEL, config=options, modules=lambda names: tuple((f"{name}.ko", b"") for name in names))


def test_what_is_built_in_needs_no_module() -> None:
    assert root_modules(kernel()) == ()


def test_modules_are_packed() -> None:
    found = root_modules(kernel(**{"9P_FS": "m", "VIRTIO_CONSOLE": "m"}))
    assert [name for name, _ in found] == ["virtio_console.ko", "9p.ko"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("9P_FS", r"lacks 9p \(CONFIG_9P_FS\).*flavour: full.*virtme.config.*without `guest: virtme`"),
        ("NET_9P_VIRTIO", r"lacks 9p \(CONFIG_NET_9P_VIRTIO\)"),
        ("DEVTMPFS", "no CONFIG_DEVTMPFS=y"),
        ("VIRTIO_CONSOLE", "without CONFIG_VIRTIO_CONSOLE"),
    ],
)
def test_what_a_kernel_lacks_is_told_before_it_is_booted(option: str, message: str) -> None:
    with pytest.raises(ImageError, match=message):
        root_modules(kernel(**{option: None}))


def test_modules_that_cannot_be_had() -> None:
    def gone(names: tuple[str, ...]) -> tuple[tuple[str, bytes], ...]:
        raise KernelUnavailable("the package has left the archive")

    with pytest.raises(KernelUnavailable, match=r"needs modules: the package has left.*flavour: full"):
        root_modules(replace(kernel(**{"9P_FS": "m"}), modules=gone))
    assert root_modules(replace(KERNEL, config={}, modules=gone)) == ()  # nothing is known: the guest will tell


def test_which_directory_is_the_root(tmp_path: Path) -> None:
    other = next(arch for arch in ARCHES if arch != host_arch())
    here = next(arch for arch in ARCHES if arch == host_arch())
    assert root_path(Profile("p", guest=InVirtme({})), here) == Path("/")
    with pytest.raises(BootFailed, match=rf"names no root for {other}.*root: {{{other}: DIRECTORY}}"):
        root_path(Profile("p", guest=InVirtme({})), other)
    with pytest.raises(BootFailed, match=r"cannot be the root of a guest: it has no /bin/sh"):
        root_path(Profile("p", guest=InVirtme({other: tmp_path})), other)


@pytest.mark.parametrize("arch", ARCHES)
def test_the_root_cannot_be_written_and_there_is_no_network(arch: str) -> None:
    root = Root(Path("/a,b"), Path("/tools"), Path("/agent"), parameters(arch, "init"))  # type: ignore[arg-type]
    profile = Profile("p", swap=64, boot=("quiet",))
    machine = Machine(
        replace(KERNEL, arch=arch), profile, "tcg", Path("/qemu"), Path("/i"), Path("/c"), root=root  # type: ignore[arg-type]
    )  # fmt: skip
    words = argv(machine)
    shares = [words[at + 1] for at, word in enumerate(words) if word == "-fsdev"]
    assert len(shares) == 3
    assert all(",readonly=on" in share for share in shares)
    assert "path=/a,,b," in shares[0]
    assert words[words.index("-nic") + 1] == "none"
    command_line = words[words.index("-append") + 1]
    assert "quiet virtme.exec=" in command_line  # the profile's parameters come before what ends the line
    assert len(command_line) < 2048  # the shortest COMMAND_LINE_SIZE of our architectures
    assert "root of the host's" in why_cold(machine, fresh=False)


def test_the_initial_ram_file_system_holds_what_was_asked_for(tmp_path: Path) -> None:
    shell = tmp_path / "busybox"
    shell.write_bytes(b"a shell")
    archive = initial_ram_file_system(shell, [("9pnet.ko", b"first"), ("9p.ko", b"second")])
    for part in (b"a shell", b"modules/00-9pnet.ko", b"modules/01-9p.ko", b"first", b"second"):
        assert part in archive


def test_a_cell_s_profile_says_how_its_guest_is_entered(tmp_path: Path) -> None:
    make = guest_maker(Wishes())
    for guest, kind in ((InVirtme({}), VirtmeGuest), (OverSsh("board"), SshGuest), (Profile("p").guest, QemuGuest)):
        made = make(Cell("c", "x86_64", Profile("p", guest=guest), KERNEL), tmp_path)
        assert type(made) is kind
