"""A suite that is not ours: a static program (a kselftest, an LTP test) run in the guest, read by TAP and status."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from hashlib import sha256
from pathlib import Path

from harness.errors import GuestError, InfrastructureError, UsageError
from harness.guests.accel import AccelWanted
from harness.guests.model import Exited, Guest, Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.store import telling
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.mutants.suite import SuiteResult
from harness.payload.elf import unfit
from harness.suites.model import Chunk
from harness.suites.parse import PARSER, exit_said, parse_output, test_ids

_KEPT = 4 << 20
EXIT = "exit status"


class BinarySuite:
    """A program and its arguments. It need not be clean on the unchanged kernel: differences count."""

    strict = False

    def __init__(
        self,
        program: Path,
        arguments: Sequence[str],
        arch: Arch,
        profile: Profile,
        *,
        acceleration: AccelWanted = "auto",
    ) -> None:
        try:
            self._content = program.read_bytes()
        except OSError as error:
            raise UsageError(f"{program}: cannot be read: {error.strerror}") from error
        if not self._content.startswith(b"\x7fELF"):
            raise UsageError(f"{program}: not an ELF program; name a static binary for the guest's architecture")
        if problem := unfit(self._content, arch):
            raise UsageError(f"{program}: {problem}")
        self.name = program.name
        self._arguments, self._profile = tuple(arguments), profile
        self._wishes = Wishes(acceleration=acceleration)
        self._live: Guest | None = None
        self._guard = threading.Lock()
        self._stopped = threading.Event()
        facts = (PARSER, sha256(self._content).hexdigest(), self._arguments, repr(profile))
        self.digest = sha256(repr(facts).encode()).hexdigest()[:16]

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Boot ``kernel`` once and run the program; its output is kept in ``folder/output.txt``."""
        guest = QemuGuest(kernel, self._profile, folder, self._wishes)
        chunks: list[Chunk] = []
        left = _KEPT
        exited: Exited | None = None
        with ExitStack() as stack:
            stack.callback(guest.stop)
            stack.callback(self._forget)
            with self._guard:
                self._live = guest
            if self._stopped.is_set():
                guest.stop()
            guest.boot()
            begun = time.monotonic()
            path = guest.push(self.name.lstrip("."), self._content)
            try:
                for event in guest.run([path, *self._arguments]):
                    match event:
                        case Output(stream, data):
                            chunks.append(Chunk(time.monotonic() - begun, stream, data[:left]))
                            left = max(0, left - len(data))
                        case Exited():
                            exited = event
            except GuestError as problem:
                return read_output(chunks, None, str(problem))
        with telling(folder):
            (folder / "output.txt").write_bytes(b"".join(chunk.data for chunk in chunks))
        if exited is None:
            raise InfrastructureError(f"{self.name}: the guest did not report how it ended")
        return read_output(chunks, exited, "")

    def stop(self) -> None:
        """End the guest that is running, and whichever would come after it."""
        self._stopped.set()
        with self._guard:
            live = self._live
        if live is not None:
            live.stop()

    def _forget(self) -> None:
        with self._guard:
            self._live = None


def read_output(chunks: Sequence[Chunk], exited: Exited | None, lost: str) -> SuiteResult:
    """Return what a program's output and exit say, test by test. A name that comes again is told apart by a number."""
    output = parse_output(chunks)
    failed: dict[str, str] = {}
    passed: list[str] = []
    skipped: list[str] = []
    for name, test in zip(test_ids(output), output.tests, strict=True):
        if test.status in ("fail", "broken", "missing"):
            failed[name] = "not ok" if test.status == "fail" else test.status
        else:
            (skipped if test.status == "skip" else passed).append(name)
    if exited is not None and exit_said(output.convention, exited.status, exited.signal) == "fail":
        failed[EXIT] = f"status {exited.status}" if exited.signal is None else f"signal {exited.signal}"
    return SuiteResult(failed, tuple(passed), tuple(skipped), lost)
