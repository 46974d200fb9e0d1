"""What a cell's console has to say about its failing probes, cut to what a reader needs."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from harness.errors import UsageError
from harness.guests.console_lines import Running, clean
from harness.model.run_record import CellRecord
from harness.model.stored_files import is_stored, read_stored
from harness.model.verdict import RuleResult, Status
from harness.runs.cells import cell_folder, label
from harness.runs.crashes import crash_id, shared_crashes
from harness.runs.judging import read_plan
from harness.runs.model import RunDone

# A console is read from its end, and no further back than this (bytes).
_MOST = 2 << 20
_LINES = 24
_TAIL = 20
_TOLD: frozenset[Status] = frozenset({"fail", "error"})
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")


def excerpts(done: RunDone, cell: CellRecord, results: Sequence[RuleResult]) -> dict[str, Any]:
    """The reports found on the console, what it said during failing probes, and its end where the cell was lost."""
    found: dict[str, Any] = {}
    if cell.crashes:
        known = {one.id: one for one in shared_crashes(done.record.cells)}
        found["crashes"] = [
            {
                "title": crash.title,
                "where": known[crash_id(crash)].where,
                "others": [label(c) for c, _ in known[crash_id(crash)].seen if c.id != cell.id],
                "during": crash.during or "",
                "also": list(crash.also),
                "lines": list(crash.lines[:_LINES]),
            }
            for crash in cell.crashes
        ]
    broken = {v.probe for r in results if r.status in _TOLD for v in r.verdicts if v.status in _TOLD}
    lost = not cell.clean
    if broken or lost:
        lines = _read(done, cell)
        if lost and lines:
            found["tail"] = lines[-_TAIL:]
        if said := during(lines, broken, _planned(done)):
            found["probes"] = said
    return found


def during(lines: Sequence[str], probes: set[str], planned: Sequence[str] = ()) -> dict[str, list[str]]:
    """The lines while each of these probes ran, alone or beside another; probes without a line are left out."""
    found: dict[str, list[str]] = {}
    running = Running(planned)
    for line in lines:
        if running.take(clean(line)):
            continue
        for probe in probes.intersection(running.probes):
            if len(found.setdefault(probe, [])) < _LINES:
                found[probe].append(line)
    return found


def _planned(done: RunDone) -> list[str]:
    try:
        return [probe.id for probe in read_plan(done.folder)]
    except UsageError:  # then a mark means the one probe that it names
        return []


def _read(done: RunDone, cell: CellRecord) -> list[str]:
    path = cell_folder(done, cell.id) / "console.log"
    try:
        if is_stored(path) and not path.is_file():
            data = read_stored(path)[-_MOST:]
        else:
            with path.open("rb") as file:
                file.seek(0, 2)
                file.seek(max(0, file.tell() - _MOST))
                data = file.read()
    except OSError:
        return []
    return [_CONTROL.sub("\N{REPLACEMENT CHARACTER}", line) for line in data.decode("utf-8", "replace").split("\n")]
