"""When the disk refuses a run's files: what was seen is kept, and a command makes the rest of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console

from harness.errors import StoreError


def unwritten(problem: StoreError, folder: Path) -> str:
    """What happened, and how what was seen becomes reports all the same."""
    return (
        f"{problem}; observations are kept: free some space, then `sealmatrix report {folder} --all` writes the reports"
    )


@contextmanager
def telling_how_to_go_on(folder: Path) -> Iterator[None]:
    """Say with a ``StoreError`` of a run that had begun how its reports can be had."""
    try:
        yield
    except StoreError as problem:
        if not (folder / "run.json").is_file():
            raise
        raise StoreError(unwritten(problem, folder)) from problem


def write_or_say(write: Callable[[], object], folder: Path, code: int, aside: Console) -> int:
    """Write a run's reports. Returns the exit code: a run without them is no good run, whatever its verdicts are."""
    try:
        write()
    except StoreError as problem:
        aside.print(f"sealmatrix: {unwritten(problem, folder)}", highlight=False, markup=False, soft_wrap=True)
        return code or problem.exit_code
    return code
