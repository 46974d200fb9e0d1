"""The machine as QEMU's arguments: each part gives its own, and the whole is their sum. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.guests.arch import ARCH_FACTS
from harness.guests.channel import PORT
from harness.kernels.model import Kernel
from harness.matrix.model import Profile

Argv = tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """Everything a guest's QEMU is started with; it inherits ``channel_fd`` as its end of the channel."""

    kernel: Kernel
    profile: Profile
    acceleration: str
    emulator: Path
    initramfs: Path
    console: Path
    channel_fd: int = -1


def option(value: Path | str) -> str:
    """Quote a value for a comma-separated QEMU option: a comma is written twice."""
    return str(value).replace(",", ",,")


def argv(machine: Machine) -> Argv:
    """Return QEMU's whole command line."""
    return (
        str(machine.emulator),
        *bare(),
        *sandbox(),
        *board(machine),
        *boot(machine),
        *console(machine),
        *channel(machine),
    )


def bare() -> Argv:
    """Nothing we did not ask for: no default devices, no user's configuration, no screen, no network.

    ``-no-reboot`` turns every reset into QEMU's exit: PID 1's power-off and a panic alike.
    """
    return ("-nodefaults", "-no-user-config", "-display", "none", "-nic", "none", "-no-reboot")


def sandbox() -> Argv:
    """QEMU's own seccomp filter: a guest that breaks out finds a process that can start nothing."""
    return ("-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny")


# Translated code is cached in at most this much memory (MiB). QEMU's default of a gigabyte would let a long
# payload push the emulator over its 300 MB; a boot and the whole payload fit into a fraction of it.
_TCG_CACHE = 64


def cpu_model(machine_profile: Profile, kernel: Kernel, acceleration: str) -> str:
    """The -cpu of a cell: the profile's word for the architecture, else the architecture's default.

    Under KVM a profile's model would be emulated feature by feature; it is still what the user asked for.
    """
    return machine_profile.cpu.get(kernel.arch, ARCH_FACTS[kernel.arch].cpu[acceleration])


def board(machine: Machine) -> Argv:
    """Machine type, processors and memory."""
    facts = ARCH_FACTS[machine.kernel.arch]
    accel = f"tcg,tb-size={_TCG_CACHE}" if machine.acceleration == "tcg" else machine.acceleration
    return (
        "-machine", facts.machine[machine.acceleration],
        "-accel", accel,
        "-cpu", cpu_model(machine.profile, machine.kernel, machine.acceleration),
        "-smp", str(machine.profile.smp),
        "-m", f"{machine.profile.memory}M",
    )  # fmt: skip


def boot(machine: Machine) -> Argv:
    """Kernel, initial RAM file system, kernel parameters; the profile's come last, where they win."""
    parameters: Sequence[str] = (*ARCH_FACTS[machine.kernel.arch].boot, *machine.profile.boot)
    return (
        "-kernel", str(machine.kernel.image),
        "-initrd", str(machine.initramfs),
        "-append", " ".join(parameters),
    )  # fmt: skip


def console(machine: Machine) -> Argv:
    """The first serial line, into a file that is kept whole."""
    return (
        "-chardev", f"file,id=console,path={option(machine.console)}",
        *ARCH_FACTS[machine.kernel.arch].console,
    )  # fmt: skip


def channel(machine: Machine) -> Argv:
    """The named port to PID 1, over a socket only the two of us know: no path, no TCP port to collide on."""
    return (
        "-device", "virtio-serial-pci",
        "-chardev", f"socket,id=channel,fd={machine.channel_fd}",
        "-device", f"virtserialport,chardev=channel,name={PORT}",
    )  # fmt: skip
