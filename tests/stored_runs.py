"""The stored runs of tests/data/runs: loaded once, or copied to be changed."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path

from harness.rules.load import load_catalogue
from harness.runs.execute import RunDone
from harness.runs.stored import load_run

RUNS = Path(__file__).parent / "data" / "runs"
NAMES = ("matrix", "repeats", "faults")


@functools.cache
def stored(name: str) -> RunDone:
    """A stored run, judged by the code at hand. It is shared: nothing may be written into its folder."""
    return load_run(RUNS / name, load_catalogue())


def copy_of(name: str, results: Path) -> Path:
    """A copy of a stored run's folder that may be changed."""
    return Path(shutil.copytree(RUNS / name, results / name))
