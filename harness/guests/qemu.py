"""A guest in QEMU: boots one kernel with our own PID 1 and talks to it over the channel."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import BootFailed, LostGuest, UsageError
from harness.guests.accel import AccelChoice, AccelWanted, KvmMemory, choices, emulator, host_facts
from harness.guests.channel import Frame
from harness.guests.deadlines import deadlines, unlimited
from harness.guests.devices import Machine, Root, cpu_model
from harness.guests.identity import Identity, identify
from harness.guests.model import FLOOD, Booted, Deadlines, Event
from harness.guests.pid1 import InitArchive, build_init, make_archive
from harness.guests.protocol import Dialogue, file_frame, run_frame
from harness.guests.qemu_process import Link
from harness.guests.restore import why_cold
from harness.guests.snapshots import SavedGuest, SavedGuests, facts_of
from harness.guests.startup import Startup, Up, empty_console
from harness.kernels.model import Kernel
from harness.kernels.store import file_sha256, telling
from harness.matrix.model import Profile
from harness.model.architectures import host_arch


@dataclass(frozen=True)
class Wishes:
    """What a caller may choose about a guest beside kernel and profile.

    ``load`` is how many guests run side by side per core and ``scale`` the user's own factor; both stretch the
    deadlines. ``flood`` is how many bytes a payload may write before the guest counts as lost. ``fresh`` forbids saved
    guests: the kernel is booted, and nothing is saved. Whoever looks by hand has a terminal (``terminal_fd`` is what is
    behind it), a debugger (``gdb`` is its socket, and the guest waits for it), QEMU's monitor (``hmp``), and programs
    that may take for ever (``endless``). ``plugin`` is one of QEMU's, with its arguments.
    """

    acceleration: AccelWanted = "auto"
    load: float = 1.0
    scale: float = 1.0
    flood: int = FLOOD
    fresh: bool = True
    terminal_fd: int = -1
    gdb: Path | None = None
    plugin: str = ""
    hmp: Path | None = None
    endless: bool = False


# Counting keeps QEMU from running translated code in long stretches: measured as twice the time, with room.
_COUNTED = 4.0


@dataclass(frozen=True)
class _Plan:
    """What ``boot`` has found out before it starts anything. ``key`` names KVM's failures of this set-up."""

    machine: Machine
    ways: tuple[AccelChoice, ...]
    key: tuple[str, str]
    emulator: Identity
    digests: dict[str, str]


class QemuGuest:
    """The ``Guest`` of the kind ``qemu``; its console is kept in ``folder/console.log``.

    Nothing is started and nothing written before ``boot``, which raises ``ToolMissing``, ``ImageError``,
    ``KernelUnavailable``, ``StoreError``, ``BuildError`` or ``BootFailed``. ``init`` is PID 1's static ELF, compiled
    when not given. Boot from a thread that lives as long as the guest: QEMU is killed when that thread ends.
    """

    work = "/work"

    def __init__(
        self,
        kernel: Kernel,
        profile: Profile,
        folder: Path,
        wishes: Wishes | None = None,
        *,
        init: Path | None = None,
        kvm_memory: KvmMemory | None = None,
        saved: SavedGuests | None = None,
    ) -> None:
        self.console: Path | None = folder / "console.log"
        self._kernel, self._profile, self._log = kernel, profile, folder / "console.log"
        self._wishes = wishes or Wishes()
        self._init = init
        self._kvm_memory = kvm_memory or KvmMemory()
        self._saved = saved or SavedGuests()
        self._restored: SavedGuest | None = None
        self._link: Link | None = None
        self._dialogue: Dialogue | None = None
        self._stopped = threading.Event()
        self._starting = threading.Lock()

    @property
    def pid(self) -> int | None:
        """QEMU's, while one runs; for benchmarks."""
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
        return self._run(self._running(), program)

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
        identity = identify(program)
        key = (identity.version, cpu_model(self._profile, kernel.arch, "kvm"))
        init = self._init or build_init(kernel.arch)
        archive, root = self._prepare(init)
        if self._profile.counted and self._wishes.acceleration == "kvm":
            raise UsageError(f"profile {self._profile.name} counts instructions, which KVM cannot; use --accel tcg")
        wanted: AccelWanted = "tcg" if self._profile.counted else self._wishes.acceleration
        ways = choices(wanted, kernel.arch, host_facts(), self._kvm_memory.failure(*key))
        way = ways[0].acceleration
        machine = Machine(
            kernel, self._profile, way, program, archive.path, self._log, archive.swap_disk,
            terminal_fd=self._wishes.terminal_fd, gdb=self._wishes.gdb, hmp=self._wishes.hmp, root=root,
            plugin=self._wishes.plugin,
        )  # fmt: skip
        empty_console(self._log)
        digests = {"initramfs": archive.sha256, "init": file_sha256(init)}
        return _Plan(machine, ways, key, identity, digests)

    def _prepare(self, init: Path) -> tuple[InitArchive, Root | None]:
        """What the kernel starts with: an initial RAM file system around ``init``, and a root where there is one."""
        return make_archive(self._kernel, init, profile=self._profile), None

    def _boot_after_kvm(self, plan: _Plan, way: AccelChoice, problem: BootFailed) -> Booted:
        """Boot under TCG what failed under KVM; only when that works is KVM known to be at fault."""
        with telling(self._log):
            self._log.replace(self._log.with_name("console.kvm.log"))
        booted = self._boot(plan, replace(way, reason=f"KVM failed: {problem}"))
        self._kvm_memory.remember(*plan.key, str(problem))
        return booted

    def _boot(self, plan: _Plan, way: AccelChoice) -> Booted:
        """Bring the guest up one way."""
        limits = self._limits(way)
        machine = replace(plan.machine, acceleration=way.acceleration)
        startup = Startup(machine, limits.boot, self._start, self._saved, self._stopped.is_set)
        cold = why_cold(machine, fresh=self._wishes.fresh)
        try:
            if cold:
                up = startup.boot(cold)
            else:
                up = startup.restore_or_boot(facts_of(machine, plan.digests["initramfs"], plan.emulator))
        except BootFailed:
            if self._link is not None and self._link.kvm_gave_up:
                self._kvm_memory.remember(*plan.key, self._link.kvm_gave_up)
            raise
        self._dialogue, self._restored = Dialogue(up.link, limits, self._wishes.flood, self.work), up.restored
        return _booted(plan, way, up)

    def _run(self, dialogue: Dialogue, program: Frame) -> Iterator[Event]:
        """Run a program. A saved guest of which a copy was lost is not used again: it might be what is wrong."""
        try:
            yield from dialogue.run(program)
        except LostGuest:
            if self._restored is not None and not self._stopped.is_set():
                self._saved.discard(self._restored)
            raise

    def _limits(self, way: AccelChoice) -> Deadlines:
        wishes = self._wishes
        scale = wishes.scale * (_COUNTED if self._profile.counted else 1.0)
        limits = deadlines(self._kernel.arch, way.acceleration, host_arch(), load=wishes.load, scale=scale)
        return unlimited(limits, boot=wishes.gdb is not None) if wishes.endless else limits

    def _start(self, machine: Machine, monitored: bool) -> Link:
        with self._starting:  # against a stop() that comes just now: it sees either no link or a whole one
            if self._stopped.is_set():
                raise BootFailed("the guest was stopped")
            self._link = Link(machine, monitored=monitored)
            return self._link

    def _running(self) -> Dialogue:
        if self._dialogue is None:
            raise LostGuest("the guest has not been booted")
        return self._dialogue


def _booted(plan: _Plan, way: AccelChoice, up: Up) -> Booted:
    return Booted(
        release=up.hello.release,
        machine=up.hello.machine,
        page_size=up.hello.page_size,
        cmdline=up.hello.cmdline,
        acceleration=way.acceleration,
        acceleration_reason=way.reason,
        boot_seconds=up.seconds,
        argv=up.link.argv,
        versions={"qemu": plan.emulator.version},
        digests=plan.digests,
        notes=up.hello.notes,
        start=up.start,
        start_reason=up.reason,
        saved_guest=up.saved_guest,
        cpu=cpu_model(up.link.machine.profile, up.link.machine.kernel.arch, way.acceleration),
    )
