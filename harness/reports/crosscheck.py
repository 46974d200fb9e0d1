"""How many probes both payloads observed, and on how many they differ."""

from __future__ import annotations

from harness.model.stored_files import is_stored
from harness.observations.journal import read_journal
from harness.runs.cells import cell_folder, plural
from harness.runs.model import JOURNAL, SECOND_JOURNAL, RunDone
from harness.verdicts.crosscheck import disagreement


def crosscheck_line(done: RunDone) -> str:
    """``both payloads observed 1411 probes on 2 cells; they differ on none``."""
    both = differing = cells = 0
    for cell in done.record.cells:
        paths = [cell_folder(done, cell.id) / name for name in (JOURNAL, SECOND_JOURNAL)]
        if not all(is_stored(path) for path in paths):
            continue
        first, second = (read_journal(path).observations for path in paths)
        common = first.keys() & second.keys()
        cells += bool(common)
        both += len(common)
        differing += sum(disagreement(first[probe], second[probe]) is not None for probe in common)
    where = f"{plural(both, 'probe')} on {plural(cells, 'cell')}"
    return f"both payloads observed {where}; they differ on {differing or 'none'}"
