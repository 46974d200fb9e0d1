"""The stored runs of tests/data/runs: loaded once, or copied to be changed."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Collection
from pathlib import Path

from harness.model.run_record import read_run, write_run
from harness.rules.load import load_catalogue
from harness.runs.model import RunDone
from harness.runs.run_store import load_run

RUNS = Path(__file__).parent / "data" / "runs"
NAMES = ("matrix", "repeats", "faults")


@functools.cache
def stored(name: str) -> RunDone:
    """A stored run, judged by the code at hand. It is shared: nothing may be written into its folder."""
    return load_run(RUNS / name, load_catalogue())


def copy_of(name: str, results: Path, cells: Collection[str] | None = None) -> Path:
    """A copy of a stored run's folder that may be changed; with ``cells``, the folders of these cells only."""
    folder = Path(shutil.copytree(RUNS / name, results / name))
    for cell in folder.glob("cells/*"):
        if cells is not None and cell.name not in cells:
            shutil.rmtree(cell)
    return folder


def as_older(folder: Path) -> Path:
    """A run as an older version wrote it, without digests of its evidence: what is edited is the judge's to see."""
    record = read_run(folder)
    cells = tuple(cell.model_copy(update={"evidence": {}}) for cell in record.cells)
    write_run(folder, record.model_copy(update={"cells": cells}))
    return folder
