"""A machine that answers SSH as a guest: somebody's board, a cloud instance, this one. It is left as it was found.

PID 1's program is pushed by SFTP into a private directory and started there as an agent that speaks the channel over
its standard input and output. It carries out what it is told, and when the connection ends, however it ends, it kills
what it started, removes the directory and goes.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import paramiko

from harness.errors import BootFailed, LostGuest
from harness.guests.channel import Gone
from harness.guests.handshake import Hello
from harness.guests.meant import demand_image, other_than_recorded
from harness.guests.model import FLOOD, Booted, Deadlines, Event, Waits
from harness.guests.pid1 import build_init
from harness.guests.protocol import Dialogue, await_hello, file_frame, run_frame, telling_as
from harness.guests.ssh_connect import connected, place_of
from harness.guests.ssh_install import install, last_words
from harness.guests.ssh_line import SshLine
from harness.guests.ssh_place import Unusable, ask, beginning, files_of, private_directory, put_agent, remove
from harness.kernels.config import running_config
from harness.kernels.model import Kernel
from harness.kernels.store import Store, file_sha256
from harness.matrix.model import OverSsh
from harness.model.architectures import ARCHES, Arch, arch_called

_CONNECT_SECONDS = 30.0
_BOOT_ID = "cat /proc/sys/kernel/random/boot_id"  # Documentation/admin-guide/sysctl/kernel.rst: new with every boot
_UNSEEN = "the machine did not answer before its kernel was installed: only its release shows that it has rebooted"
_BETWEEN_TRIES = 2.0  # seconds, while a machine is coming back or is used by another cell
_TURN_SECONDS = 3600.0  # more than any cell takes; for each cell that comes before ours


def detect_arch(target: OverSsh, seconds: float, environment: Mapping[str, str] = os.environ) -> Arch:
    """Ask a machine what it is. Raises ``BootFailed``, also for an architecture there is no payload for."""
    where = str(place_of(target))
    with connected(target, min(seconds, _CONNECT_SECONDS), environment) as client, telling_as(BootFailed):
        machine = ask(client, "uname -m", where, seconds)
    found = arch_called(machine)
    for arch in ARCHES:
        if arch == found:
            return arch
    raise BootFailed(f"{where} is {machine[:40]!r}; the payload is built for {' and '.join(ARCHES)} only")


class SshGuest:
    """A ``Guest`` over SSH. ``arch`` is what the payload is built for; the machine must be one.

    ``kernel`` is put on the machine first, by the target's ``install``; without one, the machine runs what it runs.
    ``limits.boot`` is what connecting and each answer may take, ``turn_seconds`` what a cell may that uses the machine
    before this one. It has no console.
    """

    def __init__(
        self,
        target: OverSsh,
        arch: Arch,
        limits: Deadlines,
        *,
        kernel: Kernel | None = None,
        folder: Path | None = None,
        flood: int = FLOOD,
        agent: Callable[[Arch], Path] = build_init,
        environment: Mapping[str, str] = os.environ,
        store: Store | None = None,
        turn_seconds: float = _TURN_SECONDS,
    ) -> None:
        self.console: Path | None = None
        self.waits: Waits = lambda reason: None
        self._target, self._arch, self._limits, self._flood = target, arch, limits, flood
        self._kernel, self._folder, self._agent, self._environment = kernel, folder, agent, environment
        self._where = str(place_of(target))
        self._store, self._turn_seconds = store or Store(), turn_seconds
        self._stack = ExitStack()
        self._closing = threading.Lock()
        self._stopped = threading.Event()
        self._line: SshLine | None = None
        self._dialogue: Dialogue | None = None

    def boot(self) -> Booted:
        """See ``Guest.boot``: connects, after installing a kernel where one is given, and starts the agent."""
        agent = self._agent(self._arch)
        try:
            self._take_turn()
            return self._boot(agent)
        except BaseException:
            with self._closing:
                self._stack.close()
            raise

    def _boot(self, agent: Path) -> Booted:
        begun = time.monotonic()
        doubts: tuple[str, ...] = ()
        if self._kernel is not None:
            before = self._boot_before()
            demand_image(self._kernel)
            install(self._target, self._kernel, self._folder, self._stopped)
            client = self._come_back(self._kernel.release, before)
            doubts = () if before else (_UNSEEN,)
        else:
            client = self._connect()
        machine, uid = self._who(client)
        config: Mapping[str, str] = {}
        with telling_as(BootFailed), files_of(client, self._limits.boot) as files:
            work, line, hello, notes = self._settle(client, files, agent.read_bytes())
            if self._kernel is not None and (other := other_than_recorded(self._kernel, hello)):
                raise BootFailed(f"the wrong kernel booted: {other}")
            if self._kernel is None:
                config = running_config(hello.release, partial(beginning, files))
        self._line, self._dialogue = line, Dialogue(line, self._limits, self._flood, work)
        notes += doubts
        if uid != "0":
            notes += (f"the payload ran as user {uid}, not as root: probes that need root are skipped",)
        transport = client.get_transport()
        return Booted(
            release=hello.release,
            machine=machine,
            page_size=hello.page_size,
            cmdline=hello.cmdline,
            acceleration="none",
            acceleration_reason=f"the payload ran on {self._target.host}, reached over SSH",
            boot_seconds=time.monotonic() - begun,
            versions={"ssh server": transport.remote_version if transport else "unknown"},
            digests={"init": file_sha256(agent)},
            notes=(*hello.notes, *notes),
            config=config,
        )

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        """See ``Guest.push``. Raises ``UsageError`` for a name or size that cannot be."""
        file = file_frame(name, content, mode)
        return self._running().push(name, file)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        """See ``Guest.run``. What a lost connection left behind is ended by the agent itself."""
        program = run_frame(argv)
        return self._running().run(program)

    def stop(self) -> None:
        """See ``Guest.stop``: the agent cleans up and goes; the connection is closed."""
        self._stopped.set()
        if self._line is not None:
            self._line.leave()
        with self._closing:
            self._stack.close()

    def _take_turn(self) -> None:
        """One cell at a time on one machine, whichever process it belongs to."""
        name = f"ssh {self._target.host} {self._target.port}"
        ours = f"process {os.getpid()}{f', {self._folder.name}' if self._folder else ''}, since {time.strftime('%X')}"
        before, end = "", 0.0
        while not self._stopped.is_set():
            turn = self._store.try_lock(name, ours)
            if turn is not None:
                if before:
                    self.waits("")
                return self._keep(turn)
            if (theirs := self._store.held_by(name)) != before:
                before, end = theirs, time.monotonic() + self._turn_seconds
                self.waits(f"{self._where} is used by another cell ({theirs})")
            if time.monotonic() >= end:
                raise BootFailed(
                    f"{self._where} was used by another cell ({theirs}) for more than {self._turn_seconds:g} s"
                )
            self._stopped.wait(min(_BETWEEN_TRIES, self._turn_seconds))
        raise BootFailed("the guest was stopped")

    def _connect(self) -> paramiko.SSHClient:
        seconds = min(self._limits.boot, _CONNECT_SECONDS)
        with ExitStack() as attempt:
            client = attempt.enter_context(connected(self._target, seconds, self._environment))
            self._keep(attempt.pop_all())
        return client

    def _keep(self, owned: ExitStack) -> None:
        """Hold something until ``stop``, which may have come already."""
        with self._closing:
            self._stack.push(owned)
            if self._stopped.is_set():
                self._stack.close()
                raise BootFailed("the guest was stopped")

    def _boot_before(self) -> str:
        """What tells the boot that is to end from the next one; "" where the machine does not answer."""
        try:
            client = self._connect()
        except BootFailed:
            if self._stopped.is_set():
                raise
            return ""
        with contextlib.closing(client):
            return self._ask(client, _BOOT_ID)

    def _come_back(self, release: str, before: str) -> paramiko.SSHClient:
        """Connect, again and again, until the machine runs ``release``, in another boot than ``before``.

        Kernels of our own share one release: only another boot shows that it is not the last one's.
        """
        end = time.monotonic() + self._target.patience
        last = "it did not answer"
        while time.monotonic() < end and not self._stopped.is_set():
            try:
                client = self._connect()
                runs, _, boot = self._ask(client, f"uname -r; {_BOOT_ID}").partition("\n")
            except BootFailed as problem:
                last = str(problem)
            else:
                if runs == release and boot != before:
                    return client
                client.close()
                last = f"it runs {runs}" if boot != before else f"it runs {runs} and has not rebooted"
            self._stopped.wait(_BETWEEN_TRIES)
        if self._stopped.is_set():
            raise BootFailed("the guest was stopped")
        raise BootFailed(
            f"{self._where} did not come up with {release} within {self._target.patience} s; {last}; "
            f"install: {last_words(self._folder)}"
        )

    def _who(self, client: paramiko.SSHClient) -> tuple[str, str]:
        """What the machine calls its architecture, and who we are there. Raises ``BootFailed`` for another one."""
        words = self._ask(client, "uname -m; id -u").split()
        if len(words) != 2:
            raise BootFailed(f"{self._where} is not a Linux machine: `uname -m; id -u` says {' '.join(words)[:80]!r}")
        found = arch_called(words[0])
        if found != self._arch:
            raise BootFailed(f"{self._where} is {found}, not {self._arch}; name that architecture for its kernel")
        return words[0], words[1]

    def _ask(self, client: paramiko.SSHClient, command: str) -> str:
        with telling_as(BootFailed):
            return ask(client, command, self._where, self._limits.boot)

    def _settle(
        self, client: paramiko.SSHClient, files: paramiko.SFTPClient, agent: bytes
    ) -> tuple[str, SshLine, Hello, tuple[str, ...]]:
        """Start the agent in the first directory that will have it. Returns where that is, and what was passed over."""
        passed: list[str] = []
        for wish in self._target.directories:
            try:
                work = private_directory(files, wish)
                line, hello = self._start(client, files, work, agent)
            except Unusable as problem:
                passed.append(f"{wish}: {problem}")
                continue
            return work, line, hello, tuple(f"directory passed over: {text}" for text in passed)
        raise BootFailed(
            f"{self._where} has no directory for the payload: {'; '.join(passed)}; name one in `directories`"
        )

    def _start(
        self, client: paramiko.SSHClient, files: paramiko.SFTPClient, work: str, agent: bytes
    ) -> tuple[SshLine, Hello]:
        transport = client.get_transport()
        assert transport is not None
        try:
            path = put_agent(client, files, work, agent, self._limits.boot)
            line = SshLine(transport, f"exec {path} --visitor {work}", self._where, self._limits.boot)
        except Unusable:
            remove(files, work)
            raise
        try:
            return line, await_hello(line, time.monotonic() + self._limits.boot, f"no hello from {self._where} in time")
        except Gone:
            remove(files, work)
            # 126 is the shell's word for a file it may not execute (POSIX, 2.8.2).
            if line.status == 126:
                raise Unusable("nothing can be executed there (noexec?)") from None
            raise

    def _running(self) -> Dialogue:
        if self._dialogue is None:
            raise LostGuest("the guest has not been booted")
        return self._dialogue
