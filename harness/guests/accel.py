"""Choosing an acceleration: KVM only where a boot has proved it, TCG otherwise, and always the reason.

That ``/dev/kvm`` opens proves nothing: there are hosts where it does and every guest aborts or hangs. So ``auto``
tries KVM with the kernel at hand, and what failed is remembered for as long as the host stays up, so that the
next cell does not pay for it again. A failure is remembered only when it is KVM's: the emulator said so itself,
or the same kernel came up under TCG a moment later.
"""

from __future__ import annotations

import functools
import json
import os
import shutil
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from harness.errors import BootFailed, ToolMissing
from harness.kernels.store import default_root
from harness.model.architectures import ARCHITECTURES, Arch, host_arch
from harness.model.atomic_files import write_atomically
from harness.model.json_text import parse_json
from harness.processes.children import OutOfTime, ask

AccelWanted = Literal["auto", "kvm", "tcg"]

# What QEMU writes on standard error when KVM gives up on a guest; the guest then hangs or QEMU aborts. These are
# another program's words, since QEMU has no exit status for it. Nothing but time depends on them: where they have
# changed, a guest that hangs runs into its deadline, and that KVM is at fault is seen when the same kernel comes up
# under TCG right after. No guest can write there, and no verdict asks for it.
KVM_FAILURES = ("KVM internal error", "kvm_buf_set_msrs", "KVM_CREATE_VM", "kvm run failed", "failed to initialize kvm")

_KVM = Path("/dev/kvm")


@dataclass(frozen=True)
class AccelChoice:
    """One way to run a guest, and why this one."""

    acceleration: Literal["kvm", "tcg"]
    reason: str


@dataclass(frozen=True)
class HostFacts:
    """What this host offers. ``kvm`` says why KVM cannot be used, "" when nothing is known against it."""

    arch: str
    kvm: str


def host_facts(device: Path = _KVM) -> HostFacts:
    """Look at this host: its architecture, and whether the KVM device opens."""
    try:
        os.close(os.open(device, os.O_RDWR | os.O_CLOEXEC))
    except OSError as error:
        return HostFacts(host_arch(), f"{device} does not open: {error.strerror}")
    return HostFacts(host_arch(), "")


def choices(wanted: AccelWanted, arch: Arch, host: HostFacts, failed: str | None) -> tuple[AccelChoice, ...]:
    """Return the ways to try, best first. ``failed`` is why KVM failed on this host before, if it did.

    Raises ``BootFailed`` when KVM was demanded and cannot be had.
    """
    against = host.kvm
    if host.arch != arch:
        against = f"the host is {host.arch}, the guest {arch}"
    match wanted:
        case "tcg":
            return (AccelChoice("tcg", "TCG was asked for"),)
        case "kvm" if against:
            raise BootFailed(f"KVM was asked for, but {against}; use --accel auto or tcg")
        case "kvm":
            return (AccelChoice("kvm", "KVM was asked for"),)
        case "auto" if against or failed:
            return (AccelChoice("tcg", against or f"KVM failed earlier on this host: {failed}"),)
        case _:
            return (AccelChoice("kvm", "this kernel booted under KVM"), AccelChoice("tcg", "KVM failed"))


def emulator(arch: Arch) -> Path:
    """The QEMU that runs ``arch``. Raises ``ToolMissing`` naming the package."""
    facts = ARCHITECTURES[arch]
    return find_tool(facts.emulator, facts.package)


def find_tool(name: str, package: str) -> Path:
    """A program on PATH. Raises ``ToolMissing``."""
    found = shutil.which(name)
    if found is None:
        raise ToolMissing(name, package)
    return Path(found)


@functools.lru_cache(maxsize=8)
def emulator_version(program: Path) -> str:
    """What a QEMU calls its version, e.g. ``"7.2.22 (Debian 1:7.2+dfsg-7)"``; "unknown" when it will not say."""
    try:
        done = ask([str(program), "--version"])
    except (OSError, OutOfTime):
        return "unknown"
    first = done.out.decode("utf-8", "replace").partition("\n")[0]
    return first.partition("version ")[2].strip() or "unknown"


class KvmMemory:
    """Failures of KVM on this host, kept in the cache for as long as the host stays up.

    One small file for each (boot of the host, version of QEMU, CPU model); it is never a reason to fail.
    """

    def __init__(self, folder: Path | None = None, boot_id: str | None = None) -> None:
        self._folder = folder or default_root() / "acceleration"
        self._boot_id = boot_id or _boot_id()

    def failure(self, version: str, cpu: str) -> str | None:
        """Why KVM failed with this QEMU and CPU model since the host came up, None when it did not."""
        try:
            held = parse_json(self._path(version, cpu).read_text())
            return str(held["reason"])
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def remember(self, version: str, cpu: str, reason: str) -> None:
        """Keep a failure; on a full or read-only disk the next cell will just find out again."""
        told = {"boot_id": self._boot_id, "qemu": version, "cpu": cpu, "reason": reason}
        try:
            write_atomically(self._path(version, cpu), json.dumps(told).encode())
        except OSError:
            return

    def forget(self) -> None:
        """Drop everything, so that KVM is tried again."""
        for path in self._folder.glob("*.json"):
            path.unlink(missing_ok=True)

    def _path(self, version: str, cpu: str) -> Path:
        key = sha256("\0".join((self._boot_id, version, cpu)).encode()).hexdigest()[:24]
        return self._folder / f"{key}.json"


def _boot_id() -> str:
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return "unknown"
