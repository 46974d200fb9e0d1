"""PID 1 of the guests, and the initial RAM file system made of it and the modules a kernel needs."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from harness.errors import ImageError, KernelUnavailable, StoreError
from harness.guests.devices import SWAP_DISKS, SwapDisk
from harness.guests.initramfs import initramfs
from harness.kernels.model import Kernel
from harness.kernels.store import default_root, file_sha256, telling
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.model.atomic_files import write_atomically
from harness.payload.compiler import ElfTarget

# What the channel runs over: the kernel's option, and the module where it is not built in.
_CHANNEL = (("VIRTIO_PCI", "virtio_pci"), ("VIRTIO_CONSOLE", "virtio_console"))


@dataclass(frozen=True)
class InitArchive:
    """An initial RAM file system on disk; ``modules`` are the file names it loads, in order.

    ``swap_disk`` is the disk it can swap to, if it is to.
    """

    path: Path
    sha256: str
    modules: tuple[str, ...]
    swap_disk: SwapDisk = SWAP_DISKS[-1]


def build_init(arch: Arch) -> Path:
    """Compile PID 1 (``guest_payload/init``) once per content. Raises ``BuildError`` or ``StoreError``."""
    return init_program(arch).make()


def init_program(arch: Arch) -> ElfTarget:
    """PID 1 for ``arch``, as it is to be built."""
    return ElfTarget(tuple(sorted(_sources().glob("*.c"))), arch, "init")


def _sources() -> Path:
    package = Path(__file__).resolve().parent.parent
    places = (package.parent / "guest_payload", package / "_shipped" / "guest_payload")
    return next((place / "init" for place in places if (place / "init" / "init.c").is_file()), places[0] / "init")


def channel_modules(kernel: Kernel) -> tuple[tuple[str, bytes], ...]:
    """Return the modules without which PID 1 could not talk to us, dependencies first.

    Where the configuration is unknown, what modules there are is packed: one that is built in as well is refused
    by the kernel without harm. Raises ``ImageError`` for a kernel that has no virtio console at all, and
    ``KernelUnavailable`` when it has one as a module that cannot be had.
    """
    if not kernel.config:
        try:
            return kernel.modules(tuple(module for _, module in _CHANNEL))
        except KernelUnavailable:
            return ()
    for option, _ in _CHANNEL:
        if kernel.config.get(option) not in ("y", "m"):
            raise ImageError(
                f"kernel {kernel.name} ({kernel.release}, {kernel.arch}) is built without CONFIG_{option}, over which "
                f"a guest reports; build it with CONFIG_{option}=y"
            )
    wanted = tuple(module for option, module in _CHANNEL if kernel.config[option] == "m")
    return kernel.modules(wanted) if wanted else ()


def swap_disk(kernel: Kernel) -> tuple[SwapDisk, tuple[tuple[str, bytes], ...]]:
    """Return the best disk this kernel can swap to, with its modules.

    Where none can be had, it is the last one all the same, and the guest says so when it is up. A kernel whose
    configuration is unknown gets that too: what it has built in cannot be found out.
    """
    if kernel.config:
        for disk in SWAP_DISKS:
            match kernel.config.get(disk.option):
                case "y":
                    return disk, ()
                case "m":
                    with contextlib.suppress(KernelUnavailable):
                        return disk, kernel.modules((disk.module,))
        return SWAP_DISKS[-1], ()
    try:
        return SWAP_DISKS[-1], kernel.modules((SWAP_DISKS[-1].module,))
    except KernelUnavailable:
        return SWAP_DISKS[-1], ()


def make_archive(kernel: Kernel, init: Path, cache: Path | None = None, profile: Profile | None = None) -> InitArchive:
    """Write the archive ``kernel`` boots from into the cache, under its digest, and return it.

    ``profile`` says what else than the channel needs modules.
    """
    modules = channel_modules(kernel)
    disk = SWAP_DISKS[-1]
    if profile is not None and profile.swap:
        disk, extra = swap_disk(kernel)
        modules += tuple(module for module in extra if module not in modules)
    try:
        content = initramfs(init.read_bytes(), modules)
    except OSError as error:
        raise StoreError(f"{init}: cannot be read: {error.strerror}") from error
    return keep_archive(content, modules, disk, cache)


def keep_archive(
    content: bytes, modules: Sequence[tuple[str, bytes]], disk: SwapDisk | None, cache: Path | None = None
) -> InitArchive:
    """Write an archive into the cache, under its digest, unless it is there, byte for byte."""
    digest = sha256(content).hexdigest()
    path = (cache or default_root()) / "initramfs" / f"{digest}.cpio"
    with telling(path):
        if not path.is_file() or file_sha256(path) != digest:
            write_atomically(path, content)
    return InitArchive(path, digest, tuple(name for name, _ in modules), disk or SWAP_DISKS[-1])
