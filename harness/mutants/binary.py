"""A suite that is not ours: a static program (a kselftest, an LTP test) run in the guest, read by TAP and status."""

from __future__ import annotations

import re
import threading
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

_KEPT = 4 << 20
# KTAP and TAP (Documentation/dev-tools/ktap.rst); LTP says TPASS and TFAIL with the place in the source instead.
_TAP = re.compile(r"^\s*(not ok|ok)\s+(\d+)?\s*-?\s*(.*?)(?:\s+#\s*(\w+).*)?$")
_LTP = re.compile(r"^(\S+:\d+): (TPASS|TFAIL|TBROK|TCONF): ")
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
        facts = (sha256(self._content).hexdigest(), self._arguments, repr(profile))
        self.digest = sha256(repr(facts).encode()).hexdigest()[:16]

    def __call__(self, kernel: Kernel, folder: Path) -> SuiteResult:
        """Boot ``kernel`` once and run the program; its output is kept in ``folder/output.txt``."""
        guest = QemuGuest(kernel, self._profile, folder, self._wishes)
        written = bytearray()
        exited: Exited | None = None
        with ExitStack() as stack:
            stack.callback(guest.stop)
            stack.callback(self._forget)
            with self._guard:
                self._live = guest
            if self._stopped.is_set():
                guest.stop()
            guest.boot()
            path = guest.push(self.name.lstrip("."), self._content)
            try:
                for event in guest.run([path, *self._arguments]):
                    match event:
                        case Output(_, data):
                            written += data[: max(0, _KEPT - len(written))]
                        case Exited():
                            exited = event
            except GuestError as problem:
                return read_output(written.decode("utf-8", "replace"), None, str(problem))
        with telling(folder):
            (folder / "output.txt").write_bytes(written)
        if exited is None:
            raise InfrastructureError(f"{self.name}: the guest did not report how it ended")
        return read_output(written.decode("utf-8", "replace"), exited, "")

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


def read_output(text: str, exited: Exited | None, lost: str) -> SuiteResult:
    """Return what a program's output and exit say, test by test. A name that comes again is told apart by a number."""
    failed: dict[str, str] = {}
    passed: list[str] = []
    skipped: list[str] = []
    seen: dict[str, int] = {}
    for line in text.splitlines():
        read = _line(line)
        if read is None:
            continue
        name, word = read
        seen[name] = seen.get(name, 0) + 1
        unique = name if seen[name] == 1 else f"{name} ({seen[name]})"
        if word == "fail":
            failed[unique] = "not ok"
        else:
            (skipped if word == "skip" else passed).append(unique)
    if exited is not None and (exited.status or exited.signal is not None):
        failed[EXIT] = f"status {exited.status}" if exited.signal is None else f"signal {exited.signal}"
    return SuiteResult(failed, tuple(passed), tuple(skipped), lost)


def _line(line: str) -> tuple[str, str] | None:
    """(name, "pass" | "fail" | "skip") of a result line, None for any other."""
    if (ltp := _LTP.match(line)) is not None:
        return ltp[1], {"TPASS": "pass", "TCONF": "skip"}.get(ltp[2], "fail")
    match = _TAP.match(line)
    if match is None or not (match[2] or match[3]):
        return None
    name = match[3] or f"test {match[2]}"
    if (match[4] or "").upper() == "SKIP":
        return name, "skip"
    return name, "pass" if match[1] == "ok" else "fail"
