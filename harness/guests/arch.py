"""What QEMU and a kernel need to be told, architecture by architecture: one table, no branches elsewhere."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass

from harness.matrix.model import Arch

# Common to every guest; each is here for the harness, and none touches memory management.
_BOOT = (
    # A crash ends the guest at once: the panic restarts the machine and QEMU runs with -no-reboot.
    "panic=-1",
    "oops=panic",
    # Whole reports, also of kernels that are built to keep quiet (CONFIG_CONSOLE_LOGLEVEL_DEFAULT).
    "loglevel=7",
    # Addresses in a crash are those of System.map, boot after boot. And on arm64 a randomized kernel hides its page
    # tables from user space wherever the CPU lacks E0PD (kaslr_requires_kpti(), arch/arm64/kernel/cpufeature.c):
    # each system call then flushes the emulated TLB. Measured over 762 probes: 534,000 flushes against 19,000.
    "nokaslr",
    # The self-tests of crypto algorithms cost 0.2 to 0.4 s of an emulated boot and say nothing about memory.
    "cryptomgr.notests",
    # So does the jitter entropy source, which measures the CPU's timing noise: 0.1 s, and no noise under TCG. And the
    # key derivation of SP800-108 tests itself whatever cryptomgr was told: 0.03 s, and nobody derives a key here.
    # Tracing writes the names of constants into the formats of all its events, which nobody reads: 0.05 s.
    "initcall_blacklist=jent_mod_init,crypto_kdf108_init,trace_eval_init",
)


@dataclass(frozen=True)
class ArchFacts:
    """How one architecture is run.

    ``emulator`` and ``package`` (Debian's) name QEMU; ``machine`` its -machine by acceleration; ``cpu`` the
    default -cpu by acceleration; ``console`` the arguments that join the first serial line to the character
    device ``console``; ``boot`` the kernel's parameters; ``uname`` what the machine calls itself.
    """

    emulator: str
    package: str
    machine: Mapping[str, str]
    cpu: Mapping[str, str]
    console: tuple[str, ...]
    boot: tuple[str, ...]
    uname: str


ARCH_FACTS: Mapping[Arch, ArchFacts] = {
    "x86_64": ArchFacts(
        emulator="qemu-system-x86_64",
        package="qemu-system-x86",
        # Only devices a guest uses are built in: no disk controller, no USB, no VMware port to probe.
        machine={
            "tcg": "q35,sata=off,smbus=off,usb=off,vmport=off",
            "kvm": "q35,sata=off,smbus=off,usb=off,vmport=off",
        },
        # "max" has protection keys under TCG too; "host" shows a kernel what the processor really has. Without
        # CMPXCHG16B, which slab uses where there is one: after it, QEMU 7.2 now and then leaves an address in EFLAGS,
        # and the guest dies of a debug exception with the trap flag set. Seen in boots of 6.12.95 and 6.12.43.
        # Without ERMS and FSRM, which make a kernel clear and copy pages byte by byte (rep stosb, rep movsb): quick in
        # a processor, eight times the work under emulation. Measured: 8.3 against 6.6 ms a probe, 215 against 98 where
        # pages are huge.
        cpu={"tcg": "max,cx16=off,erms=off,fsrm=off", "kvm": "host"},
        console=("-device", "isa-serial,chardev=console"),
        # The early console costs nothing measurable and shows a kernel that dies before it knows its serial port.
        boot=("console=ttyS0", "earlyprintk=ttyS0", *_BOOT),
        uname="x86_64",
    ),
    "arm64": ArchFacts(
        emulator="qemu-system-aarch64",
        package="qemu-system-arm",
        machine={"tcg": "virt", "kvm": "virt,gic-version=host"},
        # A real processor with 4, 16 and 64 KiB granules. "max" boots a third slower even with the quick
        # pointer authentication (pauth-impdef=on), five times slower without; cortex-a72 lacks 16 KiB.
        cpu={"tcg": "cortex-a76", "kvm": "host"},
        console=("-serial", "chardev:console"),
        boot=("console=ttyAMA0", "earlycon", *_BOOT),
        uname="aarch64",
    ),
}

_UNAMES: Mapping[str, Arch] = {facts.uname: arch for arch, facts in ARCH_FACTS.items()}


def host_arch() -> str:
    """The architecture of this machine in our words where we have one, else as the machine calls itself."""
    return arch_called(platform.machine())


def arch_called(machine: str) -> str:
    """The architecture ``uname -m`` calls ``machine`` in our words, where we have one."""
    return _UNAMES.get(machine, machine)
