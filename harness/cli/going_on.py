"""When the disk or an interrupt breaks a run off: what was seen is kept, and a command makes the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console

from harness.errors import Interrupted, StoreError
from harness.model.run_record import LEFT, read_run
from harness.processes.children import doing
from harness.runs.commands import report_command
from harness.runs.model import RunDone


def unwritten(problem: StoreError, folder: Path) -> str:
    """What happened, and how what was seen becomes reports all the same."""
    return f"{problem}; observations are kept: free some space, then write the reports: {report_command(folder)}"


def broken_off(folder: Path, resume: str = "") -> str:
    """What is kept of a run that was interrupted, and the command that makes the rest of it. ``resume`` is the one that
    runs the cells that have no verdicts yet, if there is one."""
    if not any(cell.state in LEFT for cell in read_run(folder).cells):
        return f"every cell has its verdicts; to write the missing reports: {report_command(folder)}"
    return f"to continue: {resume}" if resume else f"what was seen is kept in {folder}"


@contextmanager
def telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """Say with a ``StoreError`` of a run that had begun how its reports can be had."""
    try:
        yield
    except StoreError as problem:
        if not _begun(folder):
            raise
        raise StoreError(unwritten(problem, folder)) from problem


@contextmanager
def telling_how_to_resume(folder: Path, resume: str = "") -> Iterator[None]:
    """Say with an interrupt of a run that had begun what is kept of it, and how it goes on; see ``broken_off``."""
    try:
        yield
    except KeyboardInterrupt as asked:
        if not _begun(folder):
            raise
        raise Interrupted(f"interrupted{doing(asked)}; {broken_off(folder, resume)}") from asked


@contextmanager
def ending(done: RunDone, resume: str = "") -> Iterator[None]:
    """The end of a run, its reports and its table: an interrupt says how to go on, and of a run that was interrupted
    before it is said last."""
    with telling_how_to_resume(done.folder, resume):
        yield
    if done.record.state == "interrupted":
        click.echo(f"sealmatrix: interrupted; {broken_off(done.folder, resume)}", err=True)


def _begun(folder: Path) -> bool:
    return (folder / "run.json").is_file()


def write_or_say(write: Callable[[], object], folder: Path, code: int, aside: Console) -> int:
    """Write a run's reports. Returns the exit code: a run without them is no good run, whatever its verdicts are."""
    try:
        write()
    except StoreError as problem:
        aside.print(f"sealmatrix: {unwritten(problem, folder)}", highlight=False, markup=False, soft_wrap=True)
        return code or problem.exit_code
    return code
