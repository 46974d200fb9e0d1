"""The host itself as a guest: the payload runs on the kernel that is running, in a directory of its own."""

from __future__ import annotations

import contextlib
import os
import platform
import secrets
import selectors
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.errors import BootFailed, LostGuest, UsageError
from harness.guests.model import FLOOD, Booted, Deadlines, Event, Exited, Output
from harness.kernels.config import LARGEST, running_config

# Every process of a payload carries this in its environment, whatever session or parent it has moved to.
_MARK = "SEALMATRIX_PAYLOAD"
_CHUNK = 64 << 10
_SWEEPS = 100  # a payload that forks faster than this many sweeps can kill is told of


class HostGuest:
    """A ``Guest`` that is this machine. It has no console."""

    def __init__(self, limits: Deadlines, *, flood: int = FLOOD) -> None:
        self.console: Path | None = None
        self._limits, self._flood = limits, flood
        self._mark = secrets.token_hex(16)
        self._work: Path | None = None
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
        folder = self._folder()
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(folder), "TMPDIR": str(folder), _MARK: self._mark}
        try:
            process = subprocess.Popen(
                list(argv), cwd=folder, env=environment, start_new_session=True,
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
            )  # fmt: skip
        except (OSError, ValueError) as error:
            raise LostGuest(f"the host could not run the payload: {error}") from error
        with process:
            try:
                yield from self._output(process)
            finally:
                process.kill()
                self._sweep()
        if self._stopped.is_set():
            raise LostGuest("the guest was stopped")
        code = process.returncode
        yield Exited(None, -code) if code < 0 else Exited(code, None)

    def stop(self) -> None:
        """See ``Guest.stop``."""
        self._stopped.set()
        self._sweep()
        with self._changing:
            if self._work is not None:
                shutil.rmtree(self._work, ignore_errors=True)

    def _folder(self) -> Path:
        if self._stopped.is_set():
            raise LostGuest("the guest was stopped")
        if self._work is None:
            raise LostGuest("the guest has not been booted")
        return self._work

    def _output(self, process: subprocess.Popen[bytes]) -> Iterator[Output]:
        """Forward until the program itself has gone; a pipe an orphan holds open is not waited for."""
        limits, written = self._limits, 0
        end = time.monotonic() + limits.total
        with contextlib.ExitStack() as stack:
            selector = stack.enter_context(selectors.DefaultSelector())
            gone = os.pidfd_open(process.pid)
            stack.callback(os.close, gone)
            selector.register(gone, selectors.EVENT_READ, None)
            for name, pipe in (("out", process.stdout), ("err", process.stderr)):
                assert pipe is not None
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
                    process.wait()
                    return

    def _sweep(self) -> None:
        """Kill every process that carries our mark, until none is found."""
        mark = f"{_MARK}={self._mark}".encode()
        for _ in range(_SWEEPS):
            if not (found := _marked(mark)):
                return
            for pid in found:
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


def _read(selector: selectors.BaseSelector, key: selectors.SelectorKey) -> Iterator[Output]:
    try:
        data = os.read(key.fd, _CHUNK)
    except BlockingIOError:
        return
    if data:
        yield Output(key.data, data)
    else:
        selector.unregister(key.fileobj)


def _marked(mark: bytes) -> list[int]:
    """The processes whose environment holds ``mark``. One that is dead but not yet waited for has none."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if mark in (entry / "environ").read_bytes().split(b"\0"):
                    found.append(int(entry.name))
    return found


def _beginning(path: str) -> bytes:
    with Path(path).open("rb") as file:
        return file.read(LARGEST)


def _cmdline() -> str:
    try:
        return Path("/proc/cmdline").read_text(errors="replace").strip()
    except OSError:
        return ""
