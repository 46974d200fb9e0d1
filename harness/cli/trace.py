"""``run --trace``: the functions of mm/ behind what failed, or behind the probes that were asked for."""

from __future__ import annotations

import json
from collections.abc import Callable

from harness.errors import UsageError
from harness.guests.accel import AccelWanted
from harness.guests.qemu import Wishes
from harness.model.atomic_files import write_text
from harness.model.json_text import parse_json
from harness.runs.causes import kept_before, told_causes
from harness.runs.kernel_calls import TRACES, ComparedCalls, calls_json
from harness.runs.kernel_tracing import Tracer
from harness.runs.model import RunDone
from harness.runs.planning.compose import Composed

MOST = 3
"""Causes, or probes that were asked for, that are traced; each boots two guests."""


def traced(
    done: RunDone, composed: Composed, accel: AccelWanted, scale: float, say: Callable[[str], None]
) -> tuple[ComparedCalls, ...]:
    """Trace the plainest probe of each cause in its first cell, beside the kernel it is compared with.

    Where nothing failed the probes that the run was narrowed to are traced. Keeps what was seen in the run's folder.
    """
    cells = {cell.id: cell for cell in composed.every or composed.plan.cells}
    wanted = _wanted(done)
    tracer = Tracer(wishes=Wishes(accel, scale=scale), say=say)
    found = tuple(
        tracer.compare(probe, cells[cell], cells.get(other)) for probe, cell, other in wanted[:MOST] if cell in cells
    )
    write_text(done.folder / TRACES, json.dumps(calls_json(found), indent=1) + "\n")
    return found


def _wanted(done: RunDone) -> list[tuple[str, str, str]]:
    """(probe, cell, the cell to compare with, "" for none), what failed first."""
    against = parse_json(done.record.matrix.get("against", "{}"))
    causes = told_causes(done, lambda rule, probe: "")
    found = []
    for one in causes:
        kept = kept_before(done, one)
        found.append((one.example.probe, one.cells[0], against.get(one.cells[0], kept)))
    if found:
        return found
    ids = [cell.id for cell in done.record.cells]
    baselines = set(against.values())
    first = next((name for name in ids if name not in baselines), ids[0])
    second = against.get(first) or next((name for name in ids if name != first), "")
    probes = dict.fromkeys(v.probe for result in done.results.get(first, ()) for v in result.verdicts)
    if len(probes) > MOST:
        raise UsageError(f"nothing failed, and --trace traces no more than {MOST} probes: name them with -r PROBE")
    return [(probe, first, second) for probe in probes]
