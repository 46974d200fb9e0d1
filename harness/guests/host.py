"""The host itself as a guest: the payload runs on the kernel that is running, in a directory of its own."""

from __future__ import annotations

import os
import platform
import selectors
import shutil
import tempfile
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

from harness.errors import BootFailed, LostGuest, UsageError
from harness.guests.model import FLOOD, Booted, Deadlines, Event, Exited, Output
from harness.kernels.config import LARGEST, running_config
from harness.processes.children import PIPE, Child, start

_CHUNK = 64 << 10


class HostGuest:
    """A ``Guest`` that is this machine. It has no console."""

    def __init__(self, limits: Deadlines, *, flood: int = FLOOD) -> None:
        self.console: Path | None = None
        self._limits, self._flood = limits, flood
        self._work: Path | None = None
        self._running: list[Child] = []
        self._stopped = threading.Event()
        self._changing = threading.Lock()

    def boot(self) -> Booted:
        """See ``Guest.boot``: makes the work directory."""
        begun = time.monotonic()
        with self._changing:
            if self._stopped.is_set():
                raise BootFailed("the guest was stopped")
            try:
                self._work = Path(tempfile.mkdtemp(prefix="sealmatrix-"))
            except OSError as error:
                raise BootFailed(f"no work directory on this machine: {error.strerror}") from error
        return Booted(
            release=platform.release(),
            machine=platform.machine(),
            page_size=os.sysconf("SC_PAGE_SIZE"),
            cmdline=_cmdline(),
            acceleration="none",
            acceleration_reason="the payload ran on the host itself",
            boot_seconds=time.monotonic() - begun,
            config=running_config(platform.release(), _beginning),
        )

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        """See ``Guest.push``."""
        path = self._folder() / name
        if path.parent != self._work:
            raise UsageError(f"{name!r} cannot be the name of a file in a guest; use a plain file name")
        try:
            path.write_bytes(content)
            path.chmod(mode)
        except OSError as error:
            raise LostGuest(f"{path}: cannot be written: {error.strerror}") from error
        return str(path)

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        """See ``Guest.run``. Whatever the program leaves behind is killed before ``Exited``."""
        with ExitStack() as stack:
            child = self._start(argv, stack)
            code = yield from self._output(child)
        if self._stopped.is_set():
            raise LostGuest("the guest was stopped")
        yield Exited(None, -code) if code < 0 else Exited(code, None)

    def _start(self, argv: Sequence[str], stack: ExitStack) -> Child:
        folder = self._folder()
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder)}
        started = start(
            list(argv), folder=folder, environment=environment, stdout=PIPE, stderr=PIPE, by_signal=False
        )  # fmt: skip
        try:
            child = stack.enter_context(started)
        except (OSError, ValueError) as error:
            raise LostGuest(f"the host could not run the payload: {error}") from error
        self._running.append(child)
        stack.callback(self._running.remove, child)
        if self._stopped.is_set():
            raise LostGuest("the guest was stopped")
        return child

    def stop(self) -> None:
        """See ``Guest.stop``."""
        self._stopped.set()
        for child in tuple(self._running):
            child.end()
        with self._changing:
            if self._work is not None:
                shutil.rmtree(self._work, ignore_errors=True)

    def _folder(self) -> Path:
        if self._stopped.is_set():
            raise LostGuest("the guest was stopped")
        if self._work is None:
            raise LostGuest("the guest has not been booted")
        return self._work

    def _output(self, child: Child) -> Generator[Output, None, int]:
        """Forward until the program has gone, and what it left behind with it. Returns its status."""
        limits, written = self._limits, 0
        end = time.monotonic() + limits.total
        with ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            gone = os.pidfd_open(child.pid)
            stack.callback(os.close, gone)
            selector.register(gone, selectors.EVENT_READ, None)
            for name, pipe in (("out", child.stdout), ("err", child.stderr)):
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe, selectors.EVENT_READ, name)
            while True:
                ready = [key for key, _ in selector.select(max(0.0, min(limits.silence, end - time.monotonic())))]
                if not ready:
                    late = time.monotonic() >= end
                    what = f"did not end within {limits.total:g} s" if late else f"was silent for {limits.silence:g} s"
                    raise LostGuest(f"the payload {what}")
                for output in (o for key in ready if key.data for o in _read(selector, key)):
                    written += len(output.data)
                    if written > self._flood:
                        raise LostGuest(f"flooded: the payload wrote more than {self._flood} bytes")
                    yield output
                if all(key.data is None for key in ready):
                    status = child.wait()
                    assert status is not None
                    return status


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> Iterator[Output]:
    try:
        data = os.read(key.fd, _CHUNK)
    except BlockingIOError:
        return
    if data:
        yield Output(key.data, data)
    else:
        selector.unregister(key.fileobj)


def _beginning(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(LARGEST)


def _cmdline() -> str:
    try:
        return Path("/proc/cmdline").read_text(errors="replace").strip()
    except OSError:
        return ""
