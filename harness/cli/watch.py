"""``sealmatrix run KERNEL --watch``: whenever the kernel has been built anew, run it again and say what changed."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import click
from rich.console import Console

from harness.compare.comparison import Comparison
from harness.compare.diff import compare
from harness.compare.sides import sides_of
from harness.errors import UsageError
from harness.matrix.model import CellSpec
from harness.processes.children import go_on
from harness.reports.compare import print_comparison
from harness.runs.model import RunDone

LOOK_SECONDS = 0.5
SETTLED_LOOKS = 3
"""So many looks must find a file the same before it counts as written: make writes an image in pieces."""

FileStates = tuple[tuple[int, int, int] | None, ...]


def watched_files(specs: Iterable[CellSpec]) -> tuple[Path, ...]:
    """Return the files whose change means another kernel. Raises ``UsageError`` when there is none to watch."""
    files = [file for spec in specs if not spec.kernel.listed for file in spec.kernel.source.boot_files]
    if not files:
        raise UsageError("--watch needs an image, a built tree or a package; give one: sealmatrix run ~/linux --watch")
    return tuple(dict.fromkeys(files))


def state_of(files: Sequence[Path]) -> FileStates:
    """What tells one build from another: inode, size and time of each file, None for one that is not there."""
    return tuple(_state(path) for path in files)


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns


def wait_for_change(files: Sequence[Path], before: FileStates, look: Callable[[float], None] = go_on) -> None:
    """Return when the files are other ones than ``before``, all there, and no longer being written."""
    last, settled = before, 0
    while settled < SETTLED_LOOKS:
        look(LOOK_SECONDS)
        now = state_of(files)
        settled = settled + 1 if now == last and now != before and None not in now else 0
        last = now


def show_change(console: Console, before: RunDone, after: RunDone) -> None:
    """Say what differs from the last run, cell by cell."""
    old = {side.cell: side for side in sides_of(before)}
    pairs = tuple(compare(old[side.cell], side) for side in sides_of(after) if side.cell in old)
    if pairs:
        print_comparison(console, Comparison("sides", pairs))


def announce(files: Sequence[Path]) -> None:
    """Say what is waited for."""
    names = ", ".join(str(path) for path in files)
    click.echo(f"sealmatrix: waiting for another build of {names}; Ctrl-C ends", err=True)
