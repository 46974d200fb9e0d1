"""A guest with a root: virtme-ng's init on a directory of this host, which the guest sees over 9p and cannot change.

virtme-ng is used as a library: its initial RAM file system and its init, not its QEMU. Its own command starts QEMU
from a parent that may die before it, takes KVM whenever the device opens, and looks for modules where distributions
install them. Here QEMU is started as for any guest of ours: with the channel, the console, deadlines and no network.
What cannot work is found out from the kernel's configuration, before anything is started.
"""

from __future__ import annotations

import base64
import contextlib
import io
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from virtme import mkinitramfs, resources

from harness.errors import BootFailed, ImageError, KernelUnavailable
from harness.guests.accel import AccelChoice
from harness.guests.devices import Root
from harness.guests.model import Deadlines
from harness.guests.pid1 import InitArchive, channel_modules, keep_archive, swap_disk
from harness.guests.qemu import QemuGuest
from harness.kernels.model import Kernel
from harness.kernels.store import Store
from harness.matrix.model import InVirtme, Profile
from harness.model.architectures import ARCHITECTURES, Arch, host_arch
from harness.payload.busybox import busybox

WORK = "/run/sealmatrix-work"
_TOOLS, _AGENT = "/run/virtme/guesttools", "/run/sealmatrix"
# What a root over 9p needs beside the channel: the option, and the module where it is not built in.
_NEEDED = (("9P_FS", "9p"), ("NET_9P_VIRTIO", "9pnet_virtio"))
_BUILT_IN = ("BLK_DEV_INITRD", "TMPFS", "DEVTMPFS", "UNIX")
_MOUNT = "mount -n -t 9p -o ro,version=9p2000.L,trans=virtio,msize=524288"
# A user space comes up after the kernel, and udev looks at every device.
_SLOWER = 3.0


class VirtmeGuest(QemuGuest):
    """The ``Guest`` of the kind ``virtme``. Payloads run from a tmpfs, whatever the root is."""

    work = WORK

    def _prepare(self, init: Path) -> tuple[InitArchive, Root | None]:
        """See ``QemuGuest``. Raises ``ImageError`` for a kernel that cannot mount the root, ``BootFailed`` for none."""
        kernel, profile = self._kernel, self._profile
        assert isinstance(profile.guest, InVirtme)
        modules = root_modules(kernel)
        path = root_path(profile, kernel.arch)
        disk = None
        if profile.swap:
            disk, extra = swap_disk(kernel)
            modules += tuple(module for module in extra if module not in modules)
        content = initial_ram_file_system(busybox(kernel.arch, lambda text: None), modules)
        archive = keep_archive(content, modules, disk)
        tools = resources.find_guest_tools()
        if tools is None:
            raise BootFailed("virtme-ng is installed without its guest tools; install it again (pip install virtme-ng)")
        return archive, Root(path, Path(tools), init.parent, parameters(kernel.arch, init.name))

    def _limits(self, way: AccelChoice) -> Deadlines:
        limits = super()._limits(way)
        return replace(limits, boot=limits.boot * _SLOWER)


def root_modules(kernel: Kernel) -> tuple[tuple[str, bytes], ...]:
    """Return the modules a root over 9p takes, dependencies first. Raises ``ImageError`` with what to do."""
    remedy = (
        "use a kernel that has it (Debian's `flavour: full`), build it in (own/virtme.config for `source: tree`), or "
        "choose a profile without `guest: virtme`"
    )
    modules = channel_modules(kernel)
    if not kernel.config:
        with contextlib.suppress(KernelUnavailable):
            modules += kernel.modules(tuple(module for _, module in _NEEDED))
        return _once(modules)
    for option in _BUILT_IN:
        if kernel.config.get(option) != "y":
            raise ImageError(f"{_called(kernel)} has no CONFIG_{option}=y, which a user space needs; {remedy}")
    for option, _ in _NEEDED:
        if kernel.config.get(option) not in ("y", "m"):
            other = " (it has virtio-fs, which takes a daemon and is not used)" if "VIRTIO_FS" in kernel.config else ""
            what = f"lacks 9p (CONFIG_{option}), which virtme needs for its root{other}"
            raise ImageError(f"{_called(kernel)} {what}; {remedy}")
    wanted = tuple(module for option, module in _NEEDED if kernel.config[option] == "m")
    try:
        return _once(modules + (kernel.modules(wanted) if wanted else ()))
    except KernelUnavailable as problem:
        raise KernelUnavailable(f"virtme's root needs modules: {problem}; {remedy}") from None


def root_path(profile: Profile, arch: Arch) -> Path:
    """Return the directory that is the root of a guest of ``arch``. Raises ``BootFailed`` for none that can be one."""
    assert isinstance(profile.guest, InVirtme)
    path = profile.guest.roots.get(arch)
    if path is None and arch != host_arch():
        raise BootFailed(
            f"the profile {profile.name} names no root for {arch}, and this machine's own is {host_arch()}'s; make one "
            f"(docs/use/virtme.md has the command) and name it with root: {{{arch}: DIRECTORY}}"
        )
    path = path or Path("/")
    for needed in ("bin/sh", "bin/bash", "proc", "sys", "dev", "run", "tmp", "etc/fstab"):
        if not (path / needed).exists():
            raise BootFailed(f"{path} cannot be the root of a guest: it has no /{needed}")
    return path


def initial_ram_file_system(shell: Path, modules: Sequence[tuple[str, bytes]]) -> bytes:
    """Return virtme's initial RAM file system, which loads the modules and mounts the root."""
    archive = io.BytesIO()
    config = mkinitramfs.Config()
    config.busybox = str(shell)
    with Store().scratch() as folder:
        for number, (name, content) in enumerate(modules):
            path = folder / f"{number:02d}-{name}"
            path.write_bytes(content)
            config.modfiles.append(str(path))
        mkinitramfs.mkinitramfs(archive, config)
    return archive.getvalue()


def parameters(arch: Arch, agent: str) -> tuple[str, ...]:
    """Return the kernel's parameters that make virtme's init start our agent; the last ones end the command line."""
    script = f"exec {_AGENT}/{agent} --resident {WORK}"
    # Its quick init is a program for some architectures; elsewhere the script does the same.
    init = ARCHITECTURES[arch].virtme_init
    steps = (
        "mount -t tmpfs run /run",
        "mount -t devtmpfs devtmpfs /dev",
        "mount -t tmpfs tmpfs /tmp",
        f"mkdir -p {_TOOLS} {_AGENT}",
        f"{_MOUNT} virtme.guesttools {_TOOLS}",
        f"{_MOUNT} sealmatrix {_AGENT}",
        f"exec {_TOOLS}/{init}",
    )
    return (
        f"virtme.exec=`{base64.b64encode(script.encode()).decode()}`",
        "init=/bin/sh",
        "--",
        "-c",
        f'"{"; ".join(steps)}"',
    )


def _once(modules: Sequence[tuple[str, bytes]]) -> tuple[tuple[str, bytes], ...]:
    return tuple(dict.fromkeys(modules))


def _called(kernel: Kernel) -> str:
    return f"kernel {kernel.name} ({kernel.release}, {kernel.arch})"
