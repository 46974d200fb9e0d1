"""How long the tests of foreign suites took, as their cell's journal tells it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.model.stored_files import is_stored
from harness.observations.journal import journal_notes
from harness.runs.judging import read_suites
from harness.runs.model import JOURNAL
from harness.suites.judge import test_times
from harness.suites.records import programs_run


def suite_times(run: Path, cell: str) -> Mapping[str, int]:
    """Microseconds by check; empty for a cell without suites. Raises ``UsageError`` for files that are not whole."""
    journal = run / "cells" / cell / JOURNAL
    if not (run / "plan.json").is_file() or not is_stored(journal) or not (suites := read_suites(run)):
        return {}
    return test_times(suites, programs_run(journal_notes(journal)))
