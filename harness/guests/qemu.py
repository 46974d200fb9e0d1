"""A guest in QEMU: boots one kernel with our own PID 1 and talks to it over the channel."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import BootFailed, LostGuest, UsageError
from harness.guests.accel import Choice, KvmMemory, Wanted, choices, emulator, emulator_version, host_facts
from harness.guests.arch import host_arch
from harness.guests.channel import FRAME_LIMIT, Frame, ProtocolError
from harness.guests.deadlines import deadlines
from harness.guests.devices import Machine, cpu_model
from harness.guests.hello import Hello, parse_hello, read_object
from harness.guests.link import Gone, Link
from harness.guests.model import FLOOD, Booted, Deadlines, Event, Exited, Output
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
        self._deadlines: Deadlines | None = None
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
        body = b"%s\0%o\0%s" % (os.fsencode(name), mode, content)
        if not name or name[0] == "." or "/" in name or "\0" in name or len(os.fsencode(name)) > 200:
            raise UsageError(f"{name!r} cannot be the name of a file in a guest; use a plain file name")
        if len(body) > FRAME_LIMIT:
            raise UsageError(f"{name}: {len(content)} bytes do not fit into a guest; the limit is {FRAME_LIMIT} bytes")
        link, limits = self._running()
        late = f"the guest did not take {name} within {limits.boot:g} s"
        with _as(LostGuest):
            link.send(Frame("file", body), limits.boot)
            answer = link.receive(time.monotonic() + limits.boot, late)
        if answer.kind != "done":
            raise LostGuest(f"the guest could not take {name}: {_said(answer)}")
        return f"/work/{name}"

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        """See ``Guest.run``."""
        words = [os.fsencode(word) for word in argv]
        if not words or any(b"\0" in word for word in words):
            raise UsageError("a program's arguments must be at least one word, without NUL bytes")
        return self._run(b"".join(word + b"\0" for word in words))

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
            with _as(BootFailed):
                hello = _await_hello(link, begun + limits.boot, late)
        except BaseException:
            link.kill()
            link.close()
            if link.kvm_gave_up:
                self._kvm_memory.remember(*plan.key, link.kvm_gave_up)
            raise
        self._deadlines = limits
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

    def _running(self) -> tuple[Link, Deadlines]:
        if self._link is None or self._deadlines is None:
            raise LostGuest("the guest has not been booted")
        return self._link, self._deadlines

    def _run(self, body: bytes) -> Iterator[Event]:
        link, limits = self._running()
        written = 0
        with _as(LostGuest):
            link.send(Frame("run", body), limits.silence)
            end = time.monotonic() + limits.total
            while not isinstance(event := _event(_next(link, limits, end)), Exited):
                written += len(event.data)
                self._check_flood(written)
                yield event
        yield event

    def _check_flood(self, written: int) -> None:
        if written > self._wishes.flood:
            raise LostGuest(f"flooded: the payload wrote more than {self._wishes.flood} bytes")


@contextmanager
def _as(kind: type[BootFailed] | type[LostGuest]) -> Iterator[None]:
    """Tell what ends a link as the error callers know."""
    try:
        yield
    except Gone as gone:
        raise kind(str(gone), gone.console) from gone
    except ProtocolError as error:
        raise kind(f"the guest broke the channel's protocol: {error}") from error


def _await_hello(link: Link, deadline: float, late: str) -> Hello:
    frame = link.receive(deadline, late)
    if frame.kind != "hello":
        raise ProtocolError(f"{frame.kind!r} instead of 'hello'")
    return parse_hello(frame.body)


def _next(link: Link, limits: Deadlines, end: float) -> Frame:
    silent = time.monotonic() + limits.silence
    if silent < end:
        return link.receive(silent, f"the payload was silent for {limits.silence:g} s")
    return link.receive(end, f"the payload did not end within {limits.total:g} s")


def _event(frame: Frame) -> Event:
    """What a frame of a running program means. Raises ``ProtocolError``; ``Gone`` when it could not be run."""
    match frame.kind:
        case "out" | "err":
            return Output(frame.kind, frame.body)
        case "exit":
            how = read_object("exit", frame.body)
            status, number = how.get("status"), how.get("signal")
            if isinstance(status, int) is isinstance(number, int):
                raise ProtocolError(f"'exit' holds neither a status nor a signal: {frame.body[:80]!r}")
            return Exited(status, number)
        case "fail":
            raise Gone(f"the guest could not run the payload: {_said(frame)}")
        case _:
            raise ProtocolError(f"{frame.kind!r} while a program runs")


def _said(frame: Frame) -> str:
    return frame.body.decode("utf-8", "replace")[:300] if frame.kind == "fail" else f"it answered {frame.kind!r}"
