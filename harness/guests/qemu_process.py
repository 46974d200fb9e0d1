"""A running QEMU with the channel to its PID 1, and the one place that says why it is gone."""

from __future__ import annotations

import signal
import socket
import threading
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from harness.guests.accel import KVM_FAILURES
from harness.guests.bounds import emulator_files
from harness.guests.channel import Channel, ChannelClosed, DeadlinePassed, Frame, Gone
from harness.guests.console import find_crashes
from harness.guests.console_lines import last_lines
from harness.guests.devices import Machine, argv
from harness.guests.emulator import EmulatorProcess
from harness.guests.monitor import Monitor, MonitorLost

_CONSOLE_TAIL = 1 << 20  # bytes of a console read to explain an end
_POWER_OFF = "sealmatrix: power off: "


class Link:
    """Starts QEMU and holds everything that must be released with it. Raises ``BootFailed`` and ``ToolMissing``.

    Used from one thread, which must be the one that lives as long as the guest (see ``EmulatorProcess``); ``kill``
    and ``close`` may come from any. ``kvm_gave_up`` holds the reason where QEMU put the blame on KVM itself. One
    that is ``monitored`` can save its guest, once.
    """

    def __init__(self, machine: Machine, *, monitored: bool = False) -> None:
        self.kvm_gave_up = ""
        self._monitor: Monitor | None = None
        with ExitStack() as theirs, ExitStack() as ours:
            channel, channel_fd = _pair(ours, theirs)
            self.machine = replace(machine, channel_fd=channel_fd)
            if monitored:
                monitor, monitor_fd = _pair(ours, theirs)
                self._monitor = Monitor(monitor)
                self.machine = replace(self.machine, monitor_fd=monitor_fd)
            self.argv, profile = argv(self.machine), machine.profile
            largest = emulator_files(profile.memory, profile.swap)
            self.process = EmulatorProcess(self.argv, self.machine.inherited, largest)
            ours.pop_all()
        self._channel = Channel(channel)
        self._channel.watch(self.process.stderr_fd)
        self._using = threading.Lock()
        self._killed = False
        self._closed = False

    def send(self, frame: Frame, seconds: float) -> None:
        """Send a frame within so many seconds. Raises ``Gone``."""
        with self._using:
            self._check()
            try:
                self._channel.send(frame, time.monotonic() + seconds)
            except ChannelClosed:
                raise self._gone() from None
            except DeadlinePassed:
                raise self._hung(f"the guest did not accept {frame.kind!r} within {seconds:g} s") from None

    def receive(self, deadline: float, late: str) -> Frame:
        """Return the next frame. Raises ``ProtocolError``; ``Gone``, because of ``late`` past the ``deadline``."""
        with self._using:
            self._check()
            try:
                return self._channel.receive(deadline, self._hear)
            except ChannelClosed:
                raise self._gone() from None
            except DeadlinePassed:
                raise self._hung(late) from None

    def save(self, descriptor: int, seconds: float) -> None:
        """Write the guest's state to an open file within so many seconds; the guest then goes on.

        It also does when QEMU refuses, which raises ``MonitorError``. Raises ``Gone``.
        """
        assert self._monitor is not None
        with self._using:
            self._check()
            try:
                self._monitor.save(descriptor, seconds)
            except MonitorLost as lost:
                self.process.kill()
                raise self._hung(str(lost)) from None
            finally:
                self._monitor.close()

    def kill(self) -> None:
        """End QEMU now. A ``send`` or ``receive`` that waits in another thread raises ``Gone``."""
        self._killed = True
        self.process.kill()

    def close(self) -> None:
        """Release everything, after ``kill``."""
        with self._using:
            if not self._closed:
                self._closed = True
                self._channel.close()
                self.process.close()
                if self._monitor is not None:
                    self._monitor.close()

    def _check(self) -> None:
        if self._killed:
            raise Gone("the guest was stopped")

    def _hear(self, fd: int) -> None:
        if not self.process.hear():
            self._channel.unwatch(fd)
        for line in self.process.complaints():
            if self.machine.acceleration == "kvm" and any(words in line for words in KVM_FAILURES):
                self.kvm_gave_up = line
                raise Gone(f"KVM gave up: {line}")

    def _gone(self) -> Gone:
        """Why QEMU closed the channel: what the kernel said counts first, then how QEMU ended."""
        status = self.process.ended()
        if self._killed:
            return Gone("the guest was stopped")
        self.process.hear()
        complaints = self.process.complaints()
        said = f": {complaints[-1]}" if complaints else ""
        if crash := self._crash():
            return crash
        if status is None:
            return Gone(f"QEMU closed the channel but still runs{said}", self._last())
        if status == -signal.SIGXFSZ:
            return Gone("the guest's console log reached its size limit", self._last())
        if status < 0:
            if self.machine.acceleration == "kvm" and status == -signal.SIGABRT:
                self.kvm_gave_up = f"QEMU aborted{said}"
            return Gone(f"QEMU was killed by {_signal_name(-status)}{said}", self._last())
        if status > 0:
            return Gone(f"QEMU exited with status {status}{said}", self._last())
        last = self._last()
        why = next((line.removeprefix(_POWER_OFF) for line in reversed(last) if line.startswith(_POWER_OFF)), "")
        return Gone(f"PID 1 powered off: {why}" if why else f"the machine reset or powered off{_ending(last)}", last)

    def _hung(self, late: str) -> Gone:
        """Why nothing came in time: a crash, else the last thing the kernel remarked, else how far it came."""
        if crash := self._crash():
            return crash
        last = self._last()
        remarks = find_crashes(self._console())
        if remarks:
            return Gone(f"{late}; its console shows: {remarks[-1].title}", (*remarks[-1].lines, *last))
        return Gone(f"{late}{_ending(last)}", last)

    def _crash(self) -> Gone | None:
        fatal = [crash for crash in find_crashes(self._console()) if crash.fatal]
        return Gone(f"the kernel crashed: {fatal[-1].title}", fatal[-1].lines) if fatal else None

    def _last(self) -> tuple[str, ...]:
        return last_lines(self._console())

    def _console(self) -> str:
        return read_tail(self.machine.console)


def _pair(ours: ExitStack, theirs: ExitStack) -> tuple[socket.socket, int]:
    """A connected pair: our end, and the number of the other's."""
    here, there = socket.socketpair()
    ours.enter_context(here)
    theirs.enter_context(there)
    return here, there.fileno()


def _ending(last: tuple[str, ...]) -> str:
    return (
        f"; its console ends: {last[-1]}"
        if last
        else "; no console output: wrong architecture or missing console driver?"
    )


def _signal_name(number: int) -> str:
    try:
        return f"signal {number} ({signal.Signals(number).name})"
    except ValueError:
        return f"signal {number}"


def read_tail(path: Path) -> str:
    """The end of a console as text, "" when there is none."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - _CONSOLE_TAIL))
            return file.read(_CONSOLE_TAIL).decode("utf-8", "replace")
    except OSError:
        return ""
