"""How long cells are going to take, told by the runs that lie in the results folder.

Runs of the same probes count first; where there are none, any run of the cell does, for the order of cells hardly
changes with what they are asked. Run records are read, not the history: it stands on them, and a run may not need it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.model.json_text import parse_json
from harness.model.stored_files import read_stored
from harness.runs.planning.schedule import typical
from harness.runs.repeats import first_id

# Runs that are looked at, from the newest back; cells change their pace with kernels and payloads.
_RUNS = 12


def expected_seconds(results: Path, cells: Collection[str], probes: Sequence[str]) -> dict[str, float]:
    """Seconds by cell id, for those of ``cells`` that a recent run finished. Damaged records are passed over."""
    wanted = {first_id(cell) for cell in cells}
    same: dict[str, list[float]] = {}
    others: dict[str, list[float]] = {}
    for record in _newest(results):
        alike = _list(record.get("options"), "probes") == list(probes)
        for cell, seconds in _finished(record, wanted):
            (same if alike else others).setdefault(cell, []).append(seconds)
    known = typical(others) | typical(same)
    return {cell: known[first_id(cell)] for cell in cells if first_id(cell) in known}


def _newest(results: Path) -> Iterator[Mapping[str, Any]]:
    """The newest run records as they lie there; ids sort by time."""
    if not results.is_dir():
        return
    for path in sorted(results.glob("*/run.json"), reverse=True)[:_RUNS]:
        try:
            record = parse_json(read_stored(path))
        except (OSError, ValueError):
            continue
        if isinstance(record, dict):
            yield record


def _finished(record: Mapping[str, Any], wanted: Collection[str]) -> Iterator[tuple[str, float]]:
    for cell in _list(record, "cells"):
        if not isinstance(cell, dict) or cell.get("state") != "finished":
            continue
        name = first_id(str(cell.get("id")))
        seconds = cell.get("seconds")
        if name in wanted and isinstance(seconds, dict):
            yield name, sum(value for value in seconds.values() if isinstance(value, int | float))


def _list(record: object, key: str) -> list[Any]:
    found = record.get(key) if isinstance(record, dict) else None
    return found if isinstance(found, list) else []
