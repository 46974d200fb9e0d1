"""Foreign suites in a guest that is up: their files pushed, their programs run one after another, all output kept."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from harness.errors import LostGuest
from harness.guests.model import Exited, Guest, Output
from harness.runs.model import SuiteLoad
from harness.suites.definition import SuiteProgram, SuiteWork
from harness.suites.records import BEGIN, EXIT, KEPT, OUTPUT, output_note

_AT_ONCE = 300  # words of one command; the channel takes 1023
_LAUNCH = "suite-launch"


Note = Callable[..., None]
"""Keeps a fact in the cell's journal: its kind, and what it says by name."""


def run_suites(guest: Guest, load: SuiteLoad, note: Note, ran: Callable[[], None]) -> None:
    """Run every program of every suite. Raises ``LostGuest``; ``StoreError`` when the disk refuses.

    ``ran`` is told of each program.
    """
    launch = guest.push(_LAUNCH, load.launcher)
    if load.shell:
        _install(guest, load.shell)
    for number, suite in enumerate(load.works):
        folder = f"suite-{number}"
        _place(guest, launch, folder, suite)
        for program in suite.programs:
            _run(guest, launch, folder, suite, program, note)
            ran()


def _install(guest: Guest, shell: bytes) -> None:
    tools = guest.push("busybox", shell)
    _quietly(guest, [tools, "sh", "-c", f"{tools} mkdir -p /bin && {tools} --install -s /bin"], "install a shell")


def _place(guest: Guest, launch: str, folder: str, suite: SuiteWork) -> None:
    words: list[str] = []
    for number, file in enumerate(suite.files):
        pushed = guest.push(f"{folder}-{number}", file.content, file.mode)
        words += ["--place", pushed, file.path]
        if len(words) >= _AT_ONCE:
            _quietly(guest, [launch, "--in", folder, *words], f"put down the files of {suite.name}")
            words = []
    _quietly(guest, [launch, "--in", folder, *words], f"put down the files of {suite.name}")


def _quietly(guest: Guest, argv: Sequence[str], what: str) -> None:
    """Run a command of our own, which has nothing to say."""
    said = bytearray()
    for event in guest.run(argv):
        if isinstance(event, Output):
            said += event.data[:300]
        elif event != Exited(0, None):
            raise LostGuest(f"the guest could not {what}: {said.decode('utf-8', 'replace').strip() or event}")


def _run(guest: Guest, launch: str, folder: str, suite: SuiteWork, program: SuiteProgram, note: Note) -> None:
    ident = suite.program_id(program)
    argv = [launch, "--in", folder, "--deadline-ms", str(round(suite.seconds * 1000))]
    argv += ["--kmsg", ident] if guest.console else []
    argv += [word for variable in suite.environment for word in ("--set", variable)]
    note(BEGIN, program=ident, sha256=suite.sha256, limit=suite.seconds)
    begun, left = time.monotonic(), KEPT
    cut = False
    for event in guest.run([*argv, *program.argv]):
        spent = time.monotonic() - begun
        match event:
            case Output(stream, data):
                cut = cut or len(data) > left
                if left:
                    note(OUTPUT, **output_note(ident, stream, spent, data[:left]))
                left = max(0, left - len(data))
            case Exited(status, signal):
                note(EXIT, program=ident, status=status, signal=signal, seconds=round(spent, 4), cut=cut)
