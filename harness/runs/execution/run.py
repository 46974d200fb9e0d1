"""A run: cells observed side by side, judged one after another, and one record of all of them on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import StoreError
from harness.model.atomic_files import write_text
from harness.model.json_text import pretty_json
from harness.model.run_record import LEFT, CellRecord, RunRecord, RunState, write_run
from harness.model.verdict import STATUSES, RuleResult
from harness.observations.journal import read_journal
from harness.runs.cell_states import ended, evidence_of, other_machine
from harness.runs.commands import kernel_words
from harness.runs.execution.cell_records import came_up, finished_cell, remarked
from harness.runs.execution.cell_worker import CellOutcome
from harness.runs.execution.local_pool import LocalPool
from harness.runs.execution.pool import Begun, Pool, PoolEvent
from harness.runs.finished_cells import FinishedCells, Taken
from harness.runs.judging import (
    KeptResults,
    explored_results,
    judge_cell,
    judge_stored,
    probes_of,
    recorded_facts,
    verdicts_json,
    write_plan,
)
from harness.runs.model import JOURNAL, Cell, MakeGuest, OnProgress, ProgressEvent, RunDone
from harness.runs.plan import RunPlan
from harness.runs.planning.schedule import room
from harness.runs.run_store import run_lock
from harness.runs.symbols import built_vmlinux, symbolised


class _Execution:
    """One run, from the thread that started it: cells are observed elsewhere, and judged and written down here, one
    after another, while the next ones are being observed."""

    def __init__(self, plan: RunPlan, pool: Pool, on_progress: OnProgress) -> None:
        self._plan, self._pool, self._on_progress = plan, pool, on_progress
        self._record = plan.record
        self._judged: list[str] = []

    def go(self) -> RunDone:
        """Run all cells. ``KeyboardInterrupt`` ends the guests and marks what is not finished as interrupted; it is
        raised again, after the run is written down, where nothing is left of the run that could be resumed."""
        asked: KeyboardInterrupt | None = None
        with run_lock(self._plan.folder), self._pool as pool:
            planned = next(iter(self._plan.workloads.values())).planned
            write_plan(self._plan.folder, self._record.payload_id, planned, self._plan.assignment)
            self._write(self._record)
            try:
                try:
                    for taken in self._plan.taken:
                        self._place(taken)
                    pool.start(self._plan.cells)
                    self._take_all()
                except KeyboardInterrupt as problem:
                    asked = problem
                    pool.stop()
                    self._take_all()
                results = self._finish(interrupted=asked is not None)
            except BaseException:  # also an interrupt while the record is finished, or another one after the first
                pool.stop()
                self._finish(interrupted=True)
                raise
        if asked is not None and self._record.state == "finished":
            raise asked
        return RunDone(self._plan.folder, self._record, results)

    def _place(self, taken: Taken) -> None:
        """Put a finished cell of an earlier run into this one, and judge it by today's catalogue."""
        folder = self._plan.folder / "cells" / taken.record.id
        taken.place(folder)
        record = taken.record
        if taken.judged:
            self._judged.append(record.id)
            self._update(record)
        else:
            record, results = judge_stored(self._plan.assignment, folder, taken.record, self._record.payload_id)
            counted = Counter(result.status for result in results)
            record = record.model_copy(update={"statuses": {s: counted[s] for s in STATUSES if counted[s]}})
            self._write_verdicts(record, results)
        statuses = {status: record.statuses.get(status, 0) for status in STATUSES}
        self._on_progress(
            ProgressEvent(record.id, "done", 0.0, note=f"taken from run {record.taken_from}", statuses=statuses)
        )

    def _write_verdicts(self, record: CellRecord, results: Sequence[RuleResult]) -> None:
        folder = self._plan.folder / "cells" / record.id
        facts = recorded_facts(record, read_journal(folder / JOURNAL))
        verdicts = verdicts_json(self._record.id, record, facts, results)
        write_text(folder / "verdicts.json", pretty_json(verdicts))
        self._judged.append(record.id)
        self._update(record)

    def _take_all(self) -> None:
        while (event := self._pool.event()) is not None:
            self._take(event)
            self._pool.ack()

    def _take(self, event: PoolEvent) -> None:
        """Deal with an event; a second time, when the first was interrupted."""
        match event:
            case Begun(cell):
                self._update(self._cell(cell).model_copy(update={"state": "running"}))
            case CellOutcome():
                self._judge(event)

    def _judge(self, outcome: CellOutcome) -> None:
        cell = outcome.cell
        record = came_up(self._cell(cell), outcome.booted)
        took = sum(outcome.seconds.values())
        self._on_progress(ProgressEvent(cell.id, "judging", took))
        if not outcome.lost:
            outcome.lost = other_machine(record, outcome.journalled)
        if outcome.crashes:
            given = kernel_words(self._record, record)[0]
            outcome.crashes = symbolised(outcome.crashes, built_vmlinux(given, cell.arch))
        facts = recorded_facts(record, outcome.journalled)
        record = remarked(record, facts)
        results = judge_cell(
            self._plan.assignment,
            facts,
            outcome.journalled,
            outcome.lost,
            outcome.crashes,
            outcome.second,
            findings=outcome.findings,
        )
        results = (*results, *explored_results(record, self._folder(cell)))
        state, reason = ended(outcome.lost, outcome.crashes, probes_of(self._plan.assignment))
        counted = Counter(result.status for result in results)
        statuses = {status: counted[status] for status in STATUSES if counted[status]}
        done = finished_cell(record, outcome, "interrupted" if outcome.interrupted else state, reason, statuses)
        done = done.model_copy(update={"evidence": evidence_of(self._folder(cell), done)})
        verdicts = verdicts_json(self._record.id, done, facts, results)
        write_text(self._folder(cell) / "verdicts.json", pretty_json(verdicts))
        self._judged.append(cell.id)
        self._update(done)
        if key := self._plan.keys.get(cell.id):
            self._keep(key, done, self._folder(cell))
        seen = len(outcome.journalled.observations) if outcome.journalled else 0
        planned = len(self._plan.workloads[cell.arch].planned)
        self._on_progress(ProgressEvent(cell.id, "done", took, seen, planned, reason, statuses))

    def _keep(self, key: str, record: CellRecord, folder: Path) -> None:
        """Keep the cell for later runs. That it cannot be kept costs a later run a boot, and is no reason to end."""
        with suppress(StoreError):
            FinishedCells().keep(key, self._record.id, record, folder)

    def _finish(self, *, interrupted: bool) -> KeptResults:
        """Write down how the run ended: one that was interrupted when every cell had its verdicts is finished."""
        left = _INTERRUPTED if interrupted else _OUT_OF_TIME
        cells = tuple(c.model_copy(update=left) if c.state in _GOING else c for c in self._record.cells)
        state: RunState = "interrupted" if interrupted and any(c.state in LEFT for c in cells) else "finished"
        others = dict(self._plan.earlier)
        for cell in cells:
            if cell.id not in self._judged and cell.id not in others:
                asked = judge_cell(self._plan.assignment, None, None, cell.reason, ())
                others[cell.id] = (*asked, *explored_results(cell))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(self._record.model_copy(update={"cells": cells, "state": state, "finished": now}))
        return KeptResults(self._plan.folder / "cells", self._judged, self._plan.assignment, others)

    def _folder(self, cell: Cell) -> Path:
        return self._plan.folder / "cells" / cell.id

    def _cell(self, cell: Cell) -> CellRecord:
        return next(c for c in self._record.cells if c.id == cell.id)

    def _update(self, cell: CellRecord) -> None:
        cells = tuple(cell if c.id == cell.id else c for c in self._record.cells)
        self._write(self._record.model_copy(update={"cells": cells}))

    def _write(self, record: RunRecord) -> None:
        self._record = record
        write_run(self._plan.folder, record)


_GOING = ("waiting", "running")
_INTERRUPTED = {"state": "interrupted", "reason": "the run was interrupted before this cell began"}
_OUT_OF_TIME = {"state": "interrupted", "reason": "the run's time was used up before this cell began"}


def execute(plan: RunPlan, make_guest: MakeGuest, on_progress: OnProgress) -> RunDone:
    """Run a plan on this machine. What a guest does becomes verdicts; ``StoreError`` when results cannot be kept."""
    cells = plan.folder / "cells"
    space = room(plan.jobs, asked=plan.record.options.get("jobs", plan.jobs) is not None)
    local = LocalPool(make_guest, plan.workloads, cells, space, plan.expected, on_progress, until=plan.until)
    return execute_in(local, plan, on_progress)


def execute_in(pool: Pool, plan: RunPlan, on_progress: OnProgress) -> RunDone:
    """Run a plan in a pool, which is released afterwards."""
    return _Execution(plan, pool, on_progress).go()
