"""Everything that depends on an architecture, in one table: a new one is a row here, a C header and a configuration.

The C side is ``guest_payload/c/arch_NAME.h``; the configuration of our own kernels ``harness/kernels/own/NAME.config``.
"""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from harness.errors import UsageError

Arch = Literal["x86_64", "arm64", "riscv64"]
ARCHES: tuple[Arch, ...] = get_args(Arch)

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

# Where time counts. A grace period of RCU takes 10 to 20 ms, and the kernel waits for one whenever uprobes, rings,
# mounts or modules go; an expedited one interrupts the other CPUs instead. That is a tenth of the whole suite's time.
# What is freed after a grace period without anybody waiting (call_rcu()) is freed as always.
QUICK = ("rcupdate.rcu_expedited=1",)

# Where instructions are counted. Addresses of programs, and the place of the stack in a system call, are not drawn.
# Grace periods are whole ones: each counted call begins after one, and what waited to be freed is gone then.
_COUNTED = ("norandmaps", "randomize_kstack_offset=off")


@dataclass(frozen=True, kw_only=True)
class Architecture:
    """One architecture.

    ``uname`` is what ``uname -m`` says, ``synonyms`` what others call it, ``debian`` Debian's name for it.

    In QEMU: ``emulator`` and its Debian ``package``; ``machine`` and ``cpu`` the default -machine and -cpu by
    acceleration; ``console`` the arguments that join the first serial line to the character device ``console``;
    ``boot`` the kernel's parameters; ``counted`` those beside them where the guest's clock counts instructions,
    and ``counter`` what its CPU model then gets so that programs can read the count itself; ``marks`` are the
    instructions, in hexadecimal, between which the cost payload measures (``guest_payload/cost/counter.h``).

    Kernels: ``elf`` is the machine number in an ELF header; ``built`` where a build leaves what is booted, below its
    folder; ``image`` the format of its images, ``magic`` what tells them (offset, bytes) where nothing else does;
    ``page_size`` in bytes, 0 where an image's header says it; ``flavours`` our flavours of Debian's kernels, with the
    suffix of the package's name; ``prefix`` of the cross compiler and its ``compiler_package``; ``make_target`` and
    ``make_image`` what our own kernels are built as.

    Payloads: ``zig`` is the compiler's target, ``zig32`` that of its 32-bit programs ("" where we start none),
    ``programs`` the ELF machines whose programs a kernel may run (32-bit ones of the same family, too: whether it does
    is its own to say), ``gnu`` the triple of Debian's libraries ("" where the Python payload cannot be had), ``gdb``
    what a debugger is told, ``entry`` how the kernel's functions for system calls begin. ``virtme_init`` is
    virtme-ng's init, below its tools. ``tools_suite`` is the Debian suite of a guest's busybox.
    """

    uname: str
    debian: str
    synonyms: tuple[str, ...] = ()
    emulator: str
    package: str
    machine: Mapping[str, str]
    cpu: Mapping[str, str]
    console: tuple[str, ...]
    boot: tuple[str, ...]
    counted: tuple[str, ...] = _COUNTED
    counter: str = ""
    marks: tuple[str, str]
    elf: int
    built: tuple[str, ...]
    image: str
    magic: tuple[int, bytes] | None = None
    page_size: int = 4096
    flavours: Mapping[str, str]
    prefix: str
    compiler_package: str
    make_target: str
    make_image: str
    zig: str
    zig32: str = ""
    programs: tuple[str, ...]
    gnu: str = ""
    gdb: str = ""
    entry: str = ""
    virtme_init: str = "virtme-init"
    tools_suite: str = "bookworm"
    headers: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    """What building its kernels includes: header, what it belongs to, and Debian's package."""


ARCHITECTURES: Mapping[Arch, Architecture] = {
    "x86_64": Architecture(
        uname="x86_64",
        debian="amd64",
        synonyms=("amd64", "x86-64", "x64"),
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
        # A kernel panics at its boot ("IO-APIC + timer doesn't work!") when too few timer interrupts come while it
        # counts loops. QEMU's timer works, and on a busy host an emulated guest stands still meanwhile; under KVM the
        # kernel leaves the check out by itself. Seen on a host with two processors at load 29.
        boot=("console=ttyS0", "earlyprintk=ttyS0", "no_timer_check", *_BOOT),
        counted=(*_COUNTED, "tsc=reliable", "clocksource=tsc"),
        marks=("6687db", "6687c9"),
        elf=62,
        built=("arch/x86/boot/bzImage",),
        image="vmlinux",
        flavours={"cloud": "cloud-amd64", "full": "amd64"},
        prefix="x86_64-linux-gnu-",
        compiler_package="gcc-x86-64-linux-gnu",
        make_target="vmlinux",
        make_image="vmlinux",
        zig="x86_64-linux-musl",
        zig32="x86-linux-musl",
        entry="__x64_sys_",
        programs=("EM_X86_64", "EM_386"),
        gnu="x86_64-linux-gnu",
        virtme_init="bin/virtme-ng-init",
        # objtool, which x86_64 kernels are built with, reads ELF files through libelf.
        headers={"gelf.h": ("libelf's header gelf.h", "libelf-dev")},
    ),
    "arm64": Architecture(
        uname="aarch64",
        debian="arm64",
        synonyms=("aarch64",),
        emulator="qemu-system-aarch64",
        package="qemu-system-arm",
        machine={"tcg": "virt", "kvm": "virt,gic-version=host"},
        # A real processor with 4, 16 and 64 KiB granules. "max" boots a third slower even with the quick
        # pointer authentication (pauth-impdef=on), five times slower without; cortex-a72 lacks 16 KiB.
        cpu={"tcg": "cortex-a76", "kvm": "host"},
        console=("-serial", "chardev:console"),
        boot=("console=ttyAMA0", "earlycon", *_BOOT),
        counter=",cntfrq=1000000000",
        marks=("9f2c03d5", "bf2c03d5"),
        elf=183,
        built=("arch/arm64/boot/Image", "arch/arm64/boot/Image.gz", "arch/arm64/boot/vmlinuz.efi"),
        image="Image",
        magic=(0x38, b"ARM\x64"),
        page_size=0,
        flavours={"cloud": "cloud-arm64", "full": "arm64", "16k": "arm64-16k"},
        prefix="aarch64-linux-gnu-",
        compiler_package="gcc-aarch64-linux-gnu",
        make_target="Image",
        make_image="arch/arm64/boot/Image",
        zig="aarch64-linux-musl",
        zig32="arm-linux-musleabihf",
        entry="__arm64_sys_",
        programs=("EM_AARCH64", "EM_ARM"),
        gnu="aarch64-linux-gnu",
        gdb="set architecture aarch64",
    ),
    "riscv64": Architecture(
        uname="riscv64",
        debian="riscv64",
        synonyms=("riscv", "rv64"),
        emulator="qemu-system-riscv64",
        package="qemu-system-misc",
        machine={"tcg": "virt", "kvm": "virt"},
        cpu={"tcg": "rv64", "kvm": "host"},
        console=("-serial", "chardev:console"),
        boot=("console=ttyS0", "earlycon=sbi", *_BOOT),
        marks=("13201070", "13202070"),
        elf=243,
        built=("arch/riscv/boot/Image", "arch/riscv/boot/Image.gz", "arch/riscv/boot/vmlinuz.efi"),
        image="Image",
        magic=(0x38, b"RSC\x05"),
        flavours={"full": "riscv64"},
        prefix="riscv64-linux-gnu-",
        compiler_package="gcc-riscv64-linux-gnu",
        make_target="Image",
        make_image="arch/riscv/boot/Image",
        zig="riscv64-linux-musl",
        entry="__riscv_sys_",
        programs=("EM_RISCV",),
        gdb="set architecture riscv:rv64",
        tools_suite="trixie",
    ),
}

SYNONYMS: Mapping[str, Arch] = {word: arch for arch, facts in ARCHITECTURES.items() for word in facts.synonyms}
"""What others call the architectures; not accepted, but told apart from a slip of the keyboard."""

DEBIAN_ARCH: Mapping[Arch, str] = {arch: facts.debian for arch, facts in ARCHITECTURES.items()}

FLAVOURS: Mapping[str, Mapping[Arch, str]] = {
    flavour: {arch: facts.flavours[flavour] for arch, facts in ARCHITECTURES.items() if flavour in facts.flavours}
    for flavour in dict.fromkeys(name for facts in ARCHITECTURES.values() for name in facts.flavours)
}
"""Our flavours, and the suffix of Debian's package names on each architecture they exist for."""

_UNAMES: Mapping[str, Arch] = {facts.uname: arch for arch, facts in ARCHITECTURES.items()}


def host_arch() -> str:
    """The architecture of this machine in our words where we have one, else as the machine calls itself."""
    return arch_called(platform.machine())


def this_arch() -> Arch:
    """This machine's architecture. Raises ``UsageError`` where we have no payload for it."""
    machine = host_arch()
    for arch in ARCHES:
        if arch == machine:
            return arch
    raise UsageError(f"this machine is {machine}; the payload is built for {' and '.join(ARCHES)} only")


def arch_called(machine: str) -> str:
    """The architecture ``uname -m`` calls ``machine`` in our words, where we have one."""
    return _UNAMES.get(machine, machine)
