"""A guest for a person: booted, equipped, one command or one shell in it. Nothing is judged and nothing kept."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InfrastructureError, Interrupted, LostGuest, UsageError, some_of
from harness.guests.devices import TERMINAL
from harness.guests.model import Booted, Exited, Guest, Output, Queues
from harness.guests.programs import make_programs
from harness.guests.qemu import Wishes
from harness.guests.terminal import Screen, bridge, followed
from harness.kernels.argument import Reading, read_arguments
from harness.kernels.model import Kernel
from harness.kernels.providers.request import Progress
from harness.kernels.resolve import provide
from harness.kernels.store import Store
from harness.matrix.model import CellSpec, InQemu, InVirtme, Matrix, OverSsh
from harness.matrix.plan import STANDARD, plan_cells, refuse_impossible
from harness.matrix.sources.machine import MachineSource
from harness.model.architectures import Arch, host_arch
from harness.payload.build import build, program_bytes
from harness.payload.busybox import busybox
from harness.payload.elf import unfit
from harness.payload.python import build_python, python_arches
from harness.runs.guest_factory import guest_maker
from harness.runs.model import Cell

_SIGNALLED = 128  # what a shell adds to the signal that killed a command
Write = Callable[[str, bytes], None]


@dataclass(frozen=True)
class Hold:
    """How a guest is held. ``console`` copies its console to standard error; ``gdb`` is where a debugger attaches."""

    wishes: Wishes
    folder: Path
    console: bool = False


def pick(matrix: Matrix, name: str, arch: Arch | None, profile: str | None, *, offline: bool, say: Progress) -> Cell:
    """The cell a person means: a kernel of the matrix, or one that lies somewhere. Raises what resolving raises.

    Where no profile is named it is the standard one without swap, for which some kernels have no driver, or wait.
    """
    reading = Reading(
        store=Store(),
        say=lambda text: say("", "", text),
        arches=(arch,) if arch else (),
        offline=offline,
    )
    matrix, names = read_arguments(matrix, [name], reading)
    specs = plan_cells(matrix, kernels=names, arches=reading.arches, profiles=[profile or STANDARD])
    if len(meant := dict.fromkeys(spec.kernel.name for spec in specs)) > 1:
        raise UsageError(f"one kernel at a time: {name} means {some_of(meant)}")
    spec = next((spec for spec in specs if spec.arch == host_arch()), specs[0])
    if profile is None:
        spec = replace(spec, profile=replace(spec.profile, swap=0))
    refuse_impossible([spec])
    if isinstance(spec.kernel.source, MachineSource):
        return Cell(spec.id, spec.arch, spec.profile, None)
    kernel = provide(matrix, [spec], offline=offline, progress=say).kernels[spec.kernel.name, spec.arch]
    return _cell(spec, kernel)


def _cell(spec: CellSpec, kernel: Kernel | InfrastructureError) -> Cell:
    if isinstance(kernel, InfrastructureError):
        raise kernel
    return Cell(spec.id, spec.arch, spec.profile, kernel)


def refuse_unfit(cell: Cell, files: Sequence[tuple[str, bytes]]) -> None:
    """Raise ``UsageError`` for a program among a person's files that the cell's guest cannot run."""
    names = [name for name, _ in files]
    for name, content in files:
        user_space = not isinstance(cell.profile.guest, InQemu)
        if problem := unfit(content, cell.arch, user_space=user_space, beside=names):
            raise UsageError(f"{name} {problem}")


@contextlib.contextmanager
def opened(cell: Cell, hold: Hold, say: Callable[[str], None]) -> Iterator[tuple[Guest, Booted]]:
    """Boot the cell's guest, and end it. Used from one thread. Raises ``GuestError``, and what compiling raises."""
    make_programs([cell.arch], init=not isinstance(cell.profile.guest, OverSsh))
    guest = guest_maker(hold.wishes)(cell, hold.folder)
    if isinstance(guest, Queues):
        guest.waits = lambda reason: say(f"waiting: {reason}") if reason else None
    with contextlib.ExitStack() as stack:
        if hold.console and guest.console:
            stack.enter_context(followed(guest.console))
        stack.callback(guest.stop)
        yield guest, guest.boot()


def equip(
    guest: Guest,
    cell: Cell,
    say: Callable[[str], None],
    files: Sequence[tuple[str, bytes]] = (),
    *,
    python: bool = True,
) -> None:
    """Put both payloads and a person's files into the work directory and, where there is nothing, a shell and tools.

    Without ``python`` it is the C payload alone. Raises ``GuestError``, and what building and fetching raise.
    """
    if isinstance(cell.profile.guest, InQemu):
        tools = guest.push("busybox", busybox(cell.arch, say).read_bytes())
        install = f"{tools} mkdir -p /bin && {tools} --install -s /bin"
        done = list(guest.run([tools, "sh", "-c", install]))[-1]
        if done != Exited(0, None):
            raise LostGuest(f"busybox could not be installed in the guest: {done}")
    payload = build(cell.arch)
    second = build_python(cell.arch, say) if python and cell.arch in python_arches() else None
    guest.push("payload", program_bytes(payload.path, payload.sha256))
    if second is not None:
        guest.push("python3", program_bytes(second.path, second.sha256))
    for name, content in files:
        guest.push(name, content)


def run_command(guest: Guest, words: Sequence[str], write: Write) -> int:
    """Run a command as a shell would find it, its output to ``write``. Returns its exit status as a shell has it."""
    exited: Exited | None = None
    for event in guest.run(["/bin/sh", "-c", 'exec "$@"', "sh", *words]):
        match event:
            case Output(stream, data):
                write(stream, data)
            case Exited():
                exited = event
    return status_of(exited)


def run_shell(cell: Cell, hold: Hold, screen: Screen, say: Callable[[str], None]) -> int:
    """A prompt in the cell's guest, on our terminal. Returns the shell's exit status.

    Raises ``Interrupted`` when it was left by Ctrl-].
    """
    if isinstance(cell.profile.guest, OverSsh):
        raise UsageError(f"{cell.profile.guest.host} is reached over SSH: ssh itself gives the better prompt there")
    with contextlib.ExitStack() as stack:
        ours, theirs = socket.socketpair()
        stack.callback(ours.close)
        with theirs:
            wishes = replace(hold.wishes, terminal_fd=theirs.fileno())
            guest, booted = stack.enter_context(opened(cell, replace(hold, wishes=wishes), say))
        equip(guest, cell, say)
        say(f"{booted.release} ({cell.arch}, {booted.acceleration.upper()}); Ctrl-] leaves, exit ends")
        left = threading.Event()

        def leave() -> None:
            left.set()
            guest.stop()

        with bridge(ours, leave):
            try:
                return status_of(_exit_of(guest, _prompt(cell, screen)))
            except LostGuest:
                if left.is_set():
                    raise Interrupted("left") from None
                raise
            finally:
                guest.stop()


def _exit_of(guest: Guest, argv: Sequence[str]) -> Exited | None:
    ends = [event for event in guest.run(argv) if isinstance(event, Exited)]
    return ends[-1] if ends else None


def _prompt(cell: Cell, screen: Screen) -> list[str]:
    """The command that makes the guest's terminal ours. A session's leader that opens one has its signals from it."""
    variables = [f"TERM={screen.kind}", f"PS1={cell.id}:\\w# "]
    size = f"stty rows {screen.rows} cols {screen.columns}"
    # A root has bash, by virtme's own wish, and its sh may be one that knows neither `\\w` nor how to edit a line.
    prompt = "bash --norc -i" if isinstance(cell.profile.guest, InVirtme) else "sh -i"
    script = f'exec <{TERMINAL} >{TERMINAL} 2>&1; {size}; exec env "$@" {prompt}'
    return ["/bin/sh", "-c", script, "sh", *variables]


def status_of(exited: Exited | None) -> int:
    """An end as an exit status. Raises ``LostGuest`` for none."""
    if exited is None:
        raise LostGuest("the guest did not report how the command ended")
    return exited.status if exited.status is not None else _SIGNALLED + (exited.signal or 0)
