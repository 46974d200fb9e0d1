"""The machine as QEMU's arguments: each part gives its own, and the whole is their sum. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.guests.channel import PORT
from harness.kernels.model import Kernel
from harness.matrix.model import Profile
from harness.model.architectures import ARCHITECTURES, QUICK, Arch

Argv = tuple[str, ...]


@dataclass(frozen=True)
class SwapDisk:
    """A disk a guest can swap to: the kernel's option and module for it, QEMU's device, and its name in the guest.

    ``saves`` says whether QEMU can save a guest that has one.
    """

    option: str
    module: str
    device: str
    name: str
    saves: bool


# Best first. Kernels for the cloud and for real machines have NVMe built in and virtio's disk as a module, but QEMU
# cannot save the state of an NVMe disk ("unmigratable" in hw/nvme/ctrl.c).
SWAP_DISKS = (
    SwapDisk("VIRTIO_BLK", "virtio_blk", "virtio-blk-pci,drive=swap,vectors=0", "vda", saves=True),
    SwapDisk("BLK_DEV_NVME", "nvme", "nvme,drive=swap,serial=swap", "nvme0n1", saves=False),
)


@dataclass(frozen=True)
class Root:
    """A directory of this host that is a guest's root: it sees it and cannot change it, and its devices stay ours.

    ``tools`` and ``agent`` are directories for what runs there first; ``parameters`` end the kernel's command line.
    """

    path: Path
    tools: Path
    agent: Path
    parameters: tuple[str, ...]


@dataclass(frozen=True)
class Machine:
    """Everything a guest's QEMU is started with.

    It inherits ``channel_fd`` as its end of the channel and, where they are not -1, ``monitor_fd`` for QMP,
    ``incoming_fd``, the state of a saved guest that it restores instead of booting a kernel, and ``terminal_fd``, what
    is behind the guest's ``TERMINAL``. With ``gdb`` it waits, stopped, for a debugger at that socket; ``hmp`` is one
    for QEMU's monitor for people. ``root`` is what it has beside its initial RAM file system, if anything. ``plugin``
    is one of QEMU's, with its arguments.
    """

    kernel: Kernel
    profile: Profile
    acceleration: str
    emulator: Path
    initramfs: Path
    console: Path
    swap_disk: SwapDisk = SWAP_DISKS[-1]
    channel_fd: int = -1
    monitor_fd: int = -1
    incoming_fd: int = -1
    terminal_fd: int = -1
    gdb: Path | None = None
    hmp: Path | None = None
    root: Root | None = None
    plugin: str = ""

    @property
    def inherited(self) -> tuple[int, ...]:
        """The descriptors QEMU is started with."""
        descriptors = (self.channel_fd, self.monitor_fd, self.incoming_fd, self.terminal_fd)
        return tuple(fd for fd in descriptors if fd >= 0)


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
        *memory(machine.profile),
        *swap(machine),
        *root(machine),
        *(boot(machine) if machine.incoming_fd < 0 else incoming(machine)),
        *console(machine),
        *channel(machine),
        *monitor(machine),
        *terminal(machine),
        *debugger(machine),
        *(("-plugin", machine.plugin) if machine.plugin else ()),
        *people(machine),
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
_TCG_CACHE = 32


# One instruction is one nanosecond of the guest's time, and a guest that sleeps does not make its host wait.
COUNTED = ("-icount", "shift=0,sleep=off")


def cpu_model(machine_profile: Profile, arch: Arch, acceleration: str) -> str:
    """The -cpu of a cell: the profile's word for the architecture, else the architecture's default.

    Under KVM a profile's model would be emulated feature by feature; it is still what the user asked for.
    """
    return machine_profile.cpu.get(arch, ARCHITECTURES[arch].cpu[acceleration])


def board(machine: Machine) -> Argv:
    """Machine type, processors and memory."""
    facts = ARCHITECTURES[machine.kernel.arch]
    options = machine.profile.board.get(machine.kernel.arch, "")
    single = ",thread=single" if machine.profile.counted else ""
    accel = f"tcg{single},tb-size={_TCG_CACHE}" if machine.acceleration == "tcg" else machine.acceleration
    return (
        "-machine", ",".join(filter(None, (facts.machine[machine.acceleration], options))),
        "-accel", accel,
        "-cpu", cpu_model(machine.profile, machine.kernel.arch, machine.acceleration)
        + (facts.counter if machine.profile.counted else ""),
        "-smp", processors(machine.profile),
        *(COUNTED if machine.profile.counted else ()),
    )  # fmt: skip


def processors(profile: Profile) -> str:
    """One socket for each where there are several nodes: a kernel complains of a socket that is on two of them."""
    return f"{profile.smp},sockets={profile.smp}" if profile.numa > 1 else str(profile.smp)


def memory(profile: Profile) -> Argv:
    """Memory, in nodes that share it and the processors as evenly as whole ones can be."""
    whole = ("-m", f"{profile.memory}M")
    if profile.numa == 1:
        return whole
    nodes = tuple(word for node in range(profile.numa) for word in _node(profile, node))
    return (*whole, *nodes)


def _node(profile: Profile, node: int) -> Argv:
    share = profile.memory // profile.numa
    mib = share + (profile.memory % profile.numa if node == 0 else 0)
    cpus = "".join(f",cpus={cpu}" for cpu in range(profile.smp) if cpu % profile.numa == node)
    return (
        "-object", f"memory-backend-ram,id=node{node},size={mib}M",
        "-numa", f"node,nodeid={node},memdev=node{node}{cpus}",
    )  # fmt: skip


def swap(machine: Machine) -> Argv:
    """A disk to swap to: empty, and what is written to it goes to a file of QEMU's own that has no name any more."""
    if not machine.profile.swap:
        return ()
    nothing = f"file.driver=null-co,file.read-zeroes=on,file.size={machine.profile.swap << 20}"
    return (
        "-drive", f"if=none,id=swap,format=raw,snapshot=on,{nothing}",
        "-device", machine.swap_disk.device,
    )  # fmt: skip


def wanted(profile: Profile, disk: SwapDisk) -> tuple[str, ...]:
    """What PID 1 is to provide, as parameters the kernel itself ignores (they have a dot, so they look a module's)."""
    hugepages = (f"sealmatrix.hugepages={profile.hugepages}",) if profile.hugepages else ()
    return (*hugepages, f"sealmatrix.swap={disk.name}") if profile.swap else hugepages


def boot(machine: Machine) -> Argv:
    """Kernel, initial RAM file system, kernel parameters; the profile's come last, where they win."""
    parameters: Sequence[str] = (
        *ARCHITECTURES[machine.kernel.arch].boot,
        *(ARCHITECTURES[machine.kernel.arch].counted if machine.profile.counted else QUICK),
        *wanted(machine.profile, machine.swap_disk),
        *machine.profile.boot,
        *(machine.root.parameters if machine.root else ()),
    )
    return (
        "-kernel", str(machine.kernel.image),
        "-initrd", str(machine.initramfs),
        "-append", " ".join(parameters),
    )  # fmt: skip


def console(machine: Machine) -> Argv:
    """The first serial line, into a file that is kept whole: a restored guest's begins with how it once booted."""
    return (
        "-chardev", f"file,id=console,append=on,path={option(machine.console)}",
        *ARCHITECTURES[machine.kernel.arch].console,
    )  # fmt: skip


def channel(machine: Machine) -> Argv:
    """The named port to PID 1, over a socket only the two of us know: no path, no TCP port to collide on.

    Two ports (the first is a terminal's) in place of 31, for each of which a guest sets up two queues; and no message
    interrupts, which take more code to set up than these few bytes are worth: 0.03 s of a boot.
    """
    return (
        "-device", "virtio-serial-pci,max_ports=2,vectors=0",
        "-chardev", f"socket,id=channel,fd={machine.channel_fd}",
        "-device", f"virtserialport,chardev=channel,name={PORT}",
    )  # fmt: skip


def incoming(machine: Machine) -> Argv:
    """A saved guest in place of a kernel; it goes on as soon as it is read."""
    return ("-incoming", f"fd:{machine.incoming_fd}")


def monitor(machine: Machine) -> Argv:
    """QMP over a socket only the two of us know, for a guest that is to be saved."""
    if machine.monitor_fd < 0:
        return ()
    return (
        "-chardev", f"socket,id=monitor,fd={machine.monitor_fd}",
        "-mon", "chardev=monitor,mode=control",
    )  # fmt: skip


TERMINAL = "/dev/hvc0"


def terminal(machine: Machine) -> Argv:
    """A terminal beside the console, for interactive use."""
    if machine.terminal_fd < 0:
        return ()
    return (
        "-chardev", f"socket,id=terminal,fd={machine.terminal_fd}",
        "-device", "virtconsole,chardev=terminal",
    )  # fmt: skip


def debugger(machine: Machine) -> Argv:
    """QEMU's stub for gdb, on a socket of this guest's own; the guest starts when the debugger lets it go on."""
    if machine.gdb is None:
        return ()
    return ("-gdb", f"unix:path={option(machine.gdb)},server=on,wait=off", "-S")


def people(machine: Machine) -> Argv:
    """QEMU's monitor for people, which alone turns its logs on and off."""
    return () if machine.hmp is None else ("-monitor", f"unix:path={option(machine.hmp)},server=on,wait=off")


def root(machine: Machine) -> Argv:
    """A guest's root and what starts there, over 9p; QEMU itself refuses every write."""
    if machine.root is None:
        return ()
    shares = (("/dev/root", machine.root.path), ("virtme.guesttools", machine.root.tools))
    return tuple(
        word
        for number, (tag, path) in enumerate((*shares, ("sealmatrix", machine.root.agent)))
        for word in (
            "-fsdev", f"local,id=fs{number},path={option(path)},security_model=none,readonly=on,multidevs=remap",
            "-device", f"virtio-9p-pci,fsdev=fs{number},mount_tag={tag}",
        )
    )  # fmt: skip
