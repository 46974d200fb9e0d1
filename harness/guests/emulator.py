"""QEMU as a process: started so that it cannot outlive us, ended from any thread, quoted when it complains."""

from __future__ import annotations

import contextlib
import os
import resource
from collections.abc import Sequence

from harness.errors import BootFailed
from harness.processes.children import emulator

_KEPT = 8 << 10  # bytes of standard error
_REAP_SECONDS = 10.0  # for a process that has been killed or has closed its files to be gone


class EmulatorProcess:
    """A running QEMU.

    It is started through ``setpriv --pdeathsig KILL``, so the kernel kills it when the *thread* that started it
    ends: whoever boots a guest does so from a thread that lives as long as the guest does.
    """

    def __init__(self, argv: Sequence[str], inherited: Sequence[int], largest: int) -> None:
        """``largest`` is the size in bytes to which a file that it writes can grow."""
        try:
            self._process = emulator(argv, inherited)
            with contextlib.suppress(ProcessLookupError):  # it has ended already, and wrote nothing
                resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (largest, largest))
        except OSError as error:
            raise BootFailed(f"cannot start {argv[0]}: {error.strerror}") from error
        self._stderr = self._process.stderr
        os.set_blocking(self._stderr.fileno(), False)
        self._said = bytearray()

    @property
    def pid(self) -> int:
        """Of QEMU itself: setpriv has become it."""
        return self._process.pid

    @property
    def stderr_fd(self) -> int:
        """Readable when QEMU complains."""
        return self._stderr.fileno()

    def hear(self) -> bool:
        """Take in what QEMU has written on standard error; False when it will write no more."""
        while True:
            try:
                data = os.read(self._stderr.fileno(), 4096)
            except BlockingIOError:
                return True
            if not data:
                return False
            room = _KEPT - len(self._said)
            self._said += data[: max(0, room)]

    def complaints(self) -> tuple[str, ...]:
        """The lines QEMU has written on standard error, printable."""
        text = self._said.decode("utf-8", "replace")
        lines = ("".join(c if c.isprintable() else "?" for c in line).strip() for line in text.splitlines())
        return tuple(line for line in lines if line)

    def ended(self) -> int | None:
        """Wait for a QEMU that is on its way out, and return its exit status (-N: signal N); None when it stays."""
        return self._process.wait(_REAP_SECONDS)

    def kill(self) -> None:
        """End it now; returns when it is gone. Any thread, any number of times. (QEMU has no children to miss.)"""
        self._process.kill()
        self.ended()

    def close(self) -> None:
        """Close our end of its standard error, after the last of ``hear``."""
        self._stderr.close()
