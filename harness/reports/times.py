"""How long each probe of a cell took, and each test of its suites."""

from __future__ import annotations

from collections.abc import Mapping

from harness.reports.page.seen import Sightings
from harness.runs.cells import cell_folder
from harness.runs.model import JOURNAL, RunDone
from harness.runs.suite_times import suite_times


def times_of(sightings: Sightings, done: RunDone, cell: str) -> Mapping[str, int]:
    """Microseconds by probe or test. ``sightings`` takes the cell's journal in."""
    return {**sightings.read(cell, cell_folder(done, cell) / JOURNAL), **suite_times(done.folder, cell)}
