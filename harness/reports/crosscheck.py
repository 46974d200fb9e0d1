"""How many probes both payloads observed, and on how many they differ."""

from __future__ import annotations

from harness.observations.journal import stored_journal
from harness.runs.cells import cell_folder, plural
from harness.runs.model import JOURNAL, SECOND_JOURNAL, RunDone
from harness.verdicts.crosscheck import disagreement


def crosscheck_line(done: RunDone) -> str:
    """``both payloads observed 1411 probes on 2 cells; they differ on none``."""
    both = differing = cells = 0
    for cell in done.record.cells:
        first, second = (stored_journal(cell_folder(done, cell.id) / name) for name in (JOURNAL, SECOND_JOURNAL))
        if first is None or second is None:
            continue
        one, other = first.observations, second.observations
        common = one.keys() & other.keys()
        cells += bool(common)
        both += len(common)
        differing += sum(disagreement(one[probe], other[probe]) is not None for probe in common)
    where = f"{plural(both, 'probe')} on {plural(cells, 'cell')}"
    return f"both payloads observed {where}; they differ on {differing or 'none'}"
