"""Which cells of a night run, which are taken from earlier ones, and which run twice. Pure, but for the store."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.errors import InfrastructureError
from harness.model.run_record import LEFT, CellRecord, RunRecord, read_run, write_run
from harness.runs.guest_factory import guest_maker
from harness.runs.model import Cell, MakeGuest, RunDone
from harness.runs.plan import RunPlan
from harness.runs.planning.compose import Composed, taking
from harness.runs.planning.resume import resumed
from harness.runs.repeats import first_id, repeat_of

_UNSURE = frozenset({"fail", "error", "miss"})
_SECOND = "~2"


def sampled(run: str, cells: Iterable[str], share: float) -> tuple[str, ...]:
    """The cells that are asked again although they are answered: each with the chance ``share``, by the run's id."""
    return tuple(cell for cell in cells if _number(f"{run} {cell}") < share)


def _number(text: str) -> float:
    return int(hashlib.sha256(text.encode()).hexdigest()[:12], 16) / 16**12


def tonight(composed: Composed, *, everything: bool, share: float) -> Composed:
    """A run that takes what is answered already, but for a sample, which is taken and run as well.

    ``everything`` takes nothing.
    """
    plan = composed.plan
    cells = {cell.id: cell for cell in plan.cells}
    if not everything:
        plan = taking(plan, list(cells))
    again = sampled(plan.record.id, [one.record.id for one in plan.taken], share)
    return fresh_repeats(replace(composed, plan=with_repeats(plan, [cells[name] for name in again])))


def with_repeats(plan: RunPlan, cells: Sequence[Cell]) -> RunPlan:
    """The plan with a second guest for some cells."""
    names = {cell.id for cell in cells}
    return replace(
        plan,
        cells=(*plan.cells, *(replace(cell, id=f"{cell.id}{_SECOND}") for cell in cells)),
        record=plan.record.model_copy(update={"cells": _twice(plan.record.cells, names)}),
    )


def _twice(cells: Sequence[CellRecord], names: Collection[str]) -> tuple[CellRecord, ...]:
    """Records with a waiting one behind each of those that run a second time."""
    found: list[CellRecord] = []
    for cell in cells:
        found.append(cell)
        if cell.id in names:
            found.append(cell.model_copy(update={"id": f"{cell.id}{_SECOND}", "key": ""}))
    return tuple(found)


def fresh_repeats(composed: Composed) -> Composed:
    """The run with guests that boot their kernel for every second run, whatever was saved."""
    usual, wishes = composed.make_guest, composed.wishes
    booting: MakeGuest = guest_maker(replace(wishes, fresh=True)) if wishes else usual
    return replace(
        composed, make_guest=lambda cell, folder: (booting if repeat_of(cell.id) > 1 else usual)(cell, folder)
    )


def left_of(composed: Composed, folder: Path, record: RunRecord, *, everything: bool) -> Composed:
    """What is left of a night that was broken off. Raises ``UsageError`` where that cannot be run any more."""
    plan = composed.plan
    left = {cell.id for cell in record.cells if cell.state in LEFT}
    twice = {first_id(cell.id) for cell in record.cells if repeat_of(cell.id) > 1}
    again = [cell for cell in plan.cells if cell.id in twice]
    if not everything:
        plan = taking(plan, left & {cell.id for cell in plan.cells})
    return resumed(fresh_repeats(replace(composed, plan=with_repeats(plan, again))), folder, record)


def unsure(done: RunDone, composed: Composed) -> tuple[str, ...]:
    """Cells that failed, or did not answer, and were asked once: each is asked again in a fresh guest.

    Not those whose kernel could not be had, that were not begun, or that were taken: these were repeated when they ran.
    """
    twice = {first_id(cell.id) for cell in done.record.cells if repeat_of(cell.id) > 1}
    bootable = {cell.id for cell in composed.plan.cells if not isinstance(cell.kernel, InfrastructureError)}
    return tuple(
        cell.id
        for cell in done.record.cells
        if cell.id in bootable - twice
        and cell.state not in LEFT
        and not cell.taken_from
        and (not cell.clean or any(result.status in _UNSURE for result in done.results.get(cell.id, ())))
    )


def repeating(composed: Composed, done: RunDone, names: Collection[str]) -> Composed:
    """The same run, with these cells to be run a second time: they are in its record before the first one begins."""
    record = done.record.model_copy(
        update={"cells": _with_waiting(done.record, composed.plan.record, names), "state": "running", "finished": ""}
    )
    write_run(done.folder, record)
    record = read_run(done.folder)  # as whoever resumes it finds it: tuples among its options are lists there
    again = [cell for cell in composed.plan.cells if cell.id in names]
    plan = with_repeats(replace(composed.plan, taken=()), again)
    return resumed(fresh_repeats(replace(composed, plan=plan)), done.folder, record, done.results)


def _with_waiting(record: RunRecord, planned: RunRecord, names: Collection[str]) -> tuple[CellRecord, ...]:
    waiting = {cell.id: cell for cell in planned.cells if cell.id in names}
    found: list[CellRecord] = []
    for cell in record.cells:
        found.append(cell)
        if cell.id in waiting:
            found.append(waiting[cell.id].model_copy(update={"id": f"{cell.id}{_SECOND}", "key": ""}))
    return tuple(found)
