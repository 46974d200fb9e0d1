"""A guest in QEMU: boots one kernel with our own PID 1 and talks to it over the channel."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import BootFailed, LostGuest
from harness.guests.accel import Choice, KvmMemory, Wanted, choices, emulator, emulator_version, host_facts
from harness.guests.arch import host_arch
from harness.guests.deadlines import deadlines
from harness.guests.devices import Machine, cpu_model
from harness.guests.dialogue import Dialogue, await_hello, file_frame, run_frame, telling_as
from harness.guests.link import Link
from harness.guests.model import FLOOD, Booted, Deadlines, Event
from harness.guests.pid1 import build_init, make_archive
from harness.kernels.model import Kernel
from harness.kernels.store import file_sha256, telling
from harness.matrix.model import Profile


@dataclass(frozen=True)
class Wishes:
    """What a caller may choose about a guest beside kernel and profile.

    ``load`` is how many guests run side by side per core and ``scale`` the user's own factor; both stretch the
    deadlines. ``flood`` is how many bytes a payload may write before the guest counts as lost.
    """

    acceleration: Wanted = "auto"
    load: float = 1.0
    scale: float = 1.0
    flood: int = FLOOD


@dataclass(frozen=True)
class _Plan:
    """What ``boot`` has found out before it starts anything. ``key`` names KVM's failures of this set-up."""

    machine: Machine
    ways: tuple[Choice, ...]
    key: tuple[str, str]
    versions: dict[str, str]
    digests: dict[str, str]


class QemuGuest:
    """The ``Guest`` of DESIGN.md's kind ``qemu``; its console is kept in ``folder/console.log``.

    Nothing is started and nothing written before ``boot``, which raises ``ToolMissing``, ``ImageError``,
    ``KernelUnavailable``, ``StoreError``, ``BuildError`` or ``BootFailed``. ``init`` is PID 1's static ELF, compiled
    when not given. Boot from a thread that lives as long as the guest: QEMU is killed when that thread ends.
    """

    def __init__(
        self,
        kernel: Kernel,
        profile: Profile,
        folder: Path,
        wishes: Wishes | None = None,
        *,
        init: Path | None = None,
        kvm_memory: KvmMemory | None = None,
    ) -> None:
        self.console: Path | None = folder / "console.log"
        self._kernel, self._profile, self._log = kernel, profile, folder / "console.log"
        self._wishes = wishes or Wishes()
        self._init = init
        self._kvm_memory = kvm_memory or KvmMemory()
        self._link: Link | None = None
        self._dialogue: Dialogue | None = None
        self._stopped = threading.Event()
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """QEMU's, while one runs: for whoever measures it."""
        return self._link.process.pid if self._link else None

    def boot(self) -> Booted:
        """See ``Guest.boot``. With ``auto``, KVM is tried first where it may work, then TCG."""
        plan = self._plan()
        try:
            return self._boot(plan, plan.ways[0])
        except BootFailed as failure:
            if len(plan.ways) == 1 or self._stopped.is_set():
                raise
            problem = failure
        return self._boot_after_kvm(plan, plan.ways[1], problem)

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        """See ``Guest.push``. Raises ``UsageError`` for a name or size that cannot be."""
        file = file_frame(name, content, mode)
        return self._running().push(name, file)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        """See ``Guest.run``."""
        program = run_frame(argv)
        return self._running().run(program)

    def stop(self) -> None:
        """See ``Guest.stop``: QEMU is killed, for there is nothing in a guest that wants saving."""
        self._stopped.set()
        with self._starting:
            link = self._link
        if link is not None:
            link.kill()
            link.close()

    def _plan(self) -> _Plan:
        kernel = self._kernel
        program = emulator(kernel.arch)
        version = emulator_version(program)
        key = (version, cpu_model(self._profile, kernel, "kvm"))
        init = self._init or build_init(kernel.arch)
        archive = make_archive(kernel, init, profile=self._profile)
        ways = choices(self._wishes.acceleration, kernel.arch, host_facts(), self._kvm_memory.failure(*key))
        machine = Machine(kernel, self._profile, ways[0].acceleration, program, archive.path, self._log)
        with telling(self._log):
            self._log.parent.mkdir(parents=True, exist_ok=True)
            self._log.write_bytes(b"")
        digests = {"initramfs": archive.sha256, "init": file_sha256(init)}
        return _Plan(machine, ways, key, {"qemu": version}, digests)

    def _boot_after_kvm(self, plan: _Plan, way: Choice, problem: BootFailed) -> Booted:
        """Boot under TCG what failed under KVM; only when that works is KVM known to be at fault."""
        with telling(self._log):
            self._log.replace(self._log.with_name("console.kvm.log"))
            self._log.write_bytes(b"")
        booted = self._boot(plan, replace(way, reason=f"KVM failed: {problem}"))
        self._kvm_memory.remember(*plan.key, str(problem))
        return booted

    def _boot(self, plan: _Plan, way: Choice) -> Booted:
        """Start QEMU one way and wait for hello. Whatever happens but hello leaves nothing running."""
        limits = self._limits(way)
        begun = time.monotonic()
        link = self._start(replace(plan.machine, acceleration=way.acceleration))
        try:
            late = f"no hello within {limits.boot:g} s under {way.acceleration.upper()}"
            with telling_as(BootFailed):
                hello = await_hello(link, begun + limits.boot, late)
        except BaseException:
            link.kill()
            link.close()
            if link.kvm_gave_up:
                self._kvm_memory.remember(*plan.key, link.kvm_gave_up)
            raise
        self._dialogue = Dialogue(link, limits, self._wishes.flood)
        return Booted(
            hello.release,
            hello.machine,
            hello.page_size,
            hello.cmdline,
            way.acceleration,
            way.reason,
            time.monotonic() - begun,
            link.argv,
            plan.versions,
            plan.digests,
            hello.notes,
        )

    def _limits(self, way: Choice) -> Deadlines:
        wishes = self._wishes
        return deadlines(self._kernel.arch, way.acceleration, host_arch(), load=wishes.load, scale=wishes.scale)

    def _start(self, machine: Machine) -> Link:
        with self._starting:  # against a stop() that comes just now: it sees either no link or a whole one
            if self._stopped.is_set():
                raise BootFailed("the guest was stopped")
            self._link = Link(machine)
            return self._link

    def _running(self) -> Dialogue:
        if self._dialogue is None:
            raise LostGuest("the guest has not been booted")
        return self._dialogue
