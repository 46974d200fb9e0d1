"""``sealmatrix shell`` and ``sealmatrix exec``: a guest for a person."""

from __future__ import annotations

import shlex
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from harness.cli.announce import hush
from harness.cli.streams import write_through
from harness.errors import GuestError, UsageError
from harness.guests.accel import AccelWanted
from harness.guests.qemu import Wishes
from harness.guests.terminal import our_screen
from harness.kernels.model import Kernel
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import InQemu
from harness.model.architectures import ARCHES, ARCHITECTURES, Arch
from harness.payload.compiler import compile_given
from harness.runs.interactive import Hold, equip, opened, pick, refuse_unfit, run_command, run_shell
from harness.runs.model import Cell
from harness.runs.symbols import VMLINUX, built_vmlinux

_SOURCE = ".c"
_FLOOD = 1 << 62  # a person may read as much as a guest writes


@dataclass(frozen=True)
class _GuestOptions:
    """The options of both commands."""

    kernel: str
    arch: Arch | None
    profile: str | None
    accel: AccelWanted
    scale: float
    gdb: bool
    console: bool
    offline: bool
    matrix: Path | None
    quiet: bool


def _options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in (
        click.option("-q", "--quiet", is_flag=True, help="Print no messages of sealmatrix except errors."),
        click.option(
            "-f", "--matrix", type=click.Path(path_type=Path), help="The matrix file [default: kernels.yaml]."
        ),
        click.option("--offline", is_flag=True, help="Use only what is already stored; no network."),
        click.option("--console", is_flag=True, help="Copy the guest's console to standard error."),
        click.option(
            "--gdb", is_flag=True, help="Stop the guest at its start and wait for a debugger; print how to attach."
        ),
        click.option(
            "--scale",
            type=click.FloatRange(0.01),
            default=1.0,
            help="Multiply the deadline for booting by this factor.",
        ),
        click.option("--accel", type=click.Choice(["auto", "kvm", "tcg"]), help="Acceleration [default: auto]."),
        click.option(
            "-p", "--profile", metavar="NAME", help="Machine profile to boot on [default: standard without swap]."
        ),
        click.option(
            "-a",
            "--arch",
            type=click.Choice(ARCHES),
            help="Architecture [default: this machine's, if the kernel has it].",
        ),
        click.argument("kernel", metavar="KERNEL"),
    ):
        command = option(command)
    return command


@click.command()
@_options
def shell(**options: Any) -> int:
    """Open a shell in a guest, with the payloads and busybox.

    KERNEL is a name of the matrix, an image, a built tree, a package or a URL. The shell starts in /work, which has
    `payload` (`payload --list` shows the probes) and `python3`; both are in PATH. Nothing in the guest is kept. If
    standard input is not a terminal, it is a script for the shell.

    \b
    sealmatrix shell debian-6.12
    sealmatrix shell debian-newest -a arm64
    sealmatrix shell ../linux/arch/x86/boot/bzImage --gdb
    echo 'uname -r' | sealmatrix shell debian-6.12

    Exit status: that of the shell, 3 if the guest did not boot or was lost, 130 after Ctrl-] or if it is
    interrupted.
    """
    asked = _asked(options)
    if screen := our_screen():
        with _held(asked) as (cell, hold):
            return run_shell(cell, hold, screen, _saying(asked))
    script = sys.stdin.buffer.read()
    with _held(asked) as (cell, hold), opened(cell, hold, _saying(asked)) as (guest, _):
        equip(guest, cell, _saying(asked), [("script", script)])
        return run_command(guest, ["sh", "./script"], _write)


@click.command(name="exec")
@click.option(
    "--push",
    "files",
    multiple=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Copy a file into the work directory first; repeatable.",
)
@_options
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND [ARGUMENT]...")
def exec_(files: tuple[Path, ...], words: tuple[str, ...], **options: Any) -> int:
    """Run one command in a guest and exit with its status.

    The command is looked up in PATH: busybox provides the usual ones, the work directory has `payload`, `python3` and
    pushed files. Standard output and standard error stay separate; standard input is empty; no terminal is needed.

    \b
    sealmatrix exec debian-6.12 -- uname -a
    sealmatrix exec debian-newest -a arm64 -- payload --run 'munmap/anon-rw/*'
    sealmatrix exec debian-6.12 --push ./reproducer -- reproducer
    sealmatrix exec debian-6.12 -- sh -c 'grep -c sl /proc/self/smaps; exit 7'

    A file whose name ends in .c is compiled for the guest (static) and pushed as a program without the .c. So you can
    run what `sealmatrix rules show RULE --reproducer` prints:

    \b
    sealmatrix exec debian-6.12 --push repro.c -- repro

    Exit status: that of the command (128 + N for signal N), 3 if the guest did not boot or was lost, 130 if it
    is interrupted.
    """
    asked = _asked(options)
    sources = [path for path in files if path.suffix == _SOURCE]
    pushed = _read([path for path in files if path.suffix != _SOURCE])
    with _held(asked) as (cell, hold):
        pushed += [(path.stem, compile_given(path, cell.arch)) for path in sources]
        refuse_unfit(cell, pushed)
        with opened(cell, hold, _saying(asked)) as (guest, _):
            equip(guest, cell, _saying(asked), pushed)
            return run_command(guest, words, _write)


def _asked(options: dict[str, Any]) -> _GuestOptions:
    # A debugger's breakpoints and a stopped start are plain under emulation; hardware is used when it is asked for.
    accel: AccelWanted = options.pop("accel") or ("tcg" if options["gdb"] else "auto")
    hush(options["quiet"])
    return _GuestOptions(accel=accel, **options)


@contextmanager
def _held(asked: _GuestOptions) -> Iterator[tuple[Cell, Hold]]:
    """Find the kernel, make a folder for its guest, and show what its console said when it is lost."""
    say = _saying(asked)
    matrix = load_matrix(asked.matrix or default_path())
    cell = pick(
        matrix, asked.kernel, asked.arch, asked.profile,
        offline=asked.offline, say=lambda name, arch, text: say(f"{name} {arch}: {text}"),
    )  # fmt: skip
    with tempfile.TemporaryDirectory(prefix="sealmatrix-") as name:
        socket = Path(name) / "gdb" if asked.gdb else None
        if socket is not None:
            if not isinstance(cell.profile.guest, InQemu):
                raise UsageError(f"--gdb needs a profile with `guest: qemu`; {cell.profile.name} has another")
            click.echo(f"sealmatrix: the guest waits; attach with: {attach(cell, socket, asked.kernel)}", err=True)
        wishes = Wishes(asked.accel, scale=asked.scale, flood=_FLOOD, gdb=socket, endless=True)
        try:
            yield cell, Hold(wishes, Path(name), asked.console)
        except GuestError as problem:
            if not asked.console:
                _show(problem.console)
            raise


def attach(cell: Cell, socket: Path, given: str = "") -> str:
    """The command that attaches a debugger to a guest that waits for one, with the kernel's symbols where they are.

    ``given`` is how the person named the kernel: where that is a file or a tree, their vmlinux may lie beside it.
    """
    symbols = [str(path) for path in (_symbols(cell, given),) if path]
    foreign = ARCHITECTURES[cell.arch].gdb
    words = ["gdb-multiarch", "-ex", foreign] if foreign else ["gdb"]
    return shlex.join([*words, "-ex", f"target remote {socket}", *symbols])


def _symbols(cell: Cell, given: str) -> Path | None:
    """The file that has a kernel's symbols: the person's own vmlinux, as their build left it, or else our image."""
    kernel = cell.kernel
    if not isinstance(kernel, Kernel):
        return None
    if kernel.origin.kind == "file" and given and (found := built_vmlinux(str(Path(given).absolute()), cell.arch)):
        return found
    return kernel.image if kernel.image_format == VMLINUX else None


def _saying(asked: _GuestOptions) -> Callable[[str], None]:
    return lambda text: None if asked.quiet else click.echo(f"sealmatrix: {text}", err=True)


def _read(files: Sequence[Path]) -> list[tuple[str, bytes]]:
    try:
        return [(path.name, path.read_bytes()) for path in files]
    except OSError as problem:
        raise UsageError(f"{problem.filename}: cannot be read: {problem.strerror}") from None


def _write(stream: str, data: bytes) -> None:
    write_through(sys.stdout if stream == "out" else sys.stderr, data)


def _show(console: Sequence[str]) -> None:
    for line in console:
        click.echo(f"  {line}", err=True)
