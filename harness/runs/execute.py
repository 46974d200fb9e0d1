"""A run: cells observed side by side, judged one after another, and one record of all of them on disk."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import Interrupted, StoreError, UsageError
from harness.model.architectures import Arch
from harness.model.run_record import CellRecord, RunRecord, RunState, answers_expected, write_atomically, write_run
from harness.model.verdict import EXIT_NO_ANSWER, EXIT_OK, STATUSES, RuleResult, exit_code
from harness.observations.journal import read_journal
from harness.runs.cell import JOURNAL, CellOutcome
from harness.runs.cell_records import came_up, finished_cell, remarked
from harness.runs.finished import FinishedCells, Taken
from harness.runs.judging import (
    KeptResults,
    Question,
    judge_cell,
    judge_stored,
    probes_of,
    recorded_facts,
    verdicts_json,
    write_plan,
)
from harness.runs.local import LocalPool
from harness.runs.model import Cell, MakeGuest, Tell, Told, Workload
from harness.runs.pool import Begun, Event, Pool
from harness.runs.schedule import room
from harness.runs.state import ended, other_machine


@dataclass(frozen=True)
class RunPlan:
    """A run before it starts. ``record`` has a waiting cell for each of ``cells``, in the same order, and among them
    those of an earlier sitting, whose results are in ``earlier``. ``expected`` are seconds by cell, where known;
    ``sharing`` says that there may be several guests for one cell. ``taken`` are finished cells of earlier runs that
    are not run again; ``keys`` says under which key a cell is kept when it has finished."""

    folder: Path
    record: RunRecord
    cells: tuple[Cell, ...]
    workloads: Mapping[Arch, Workload]
    assignment: Question
    jobs: int
    earlier: Mapping[str, tuple[RuleResult, ...]] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)
    sharing: bool = False
    taken: tuple[Taken, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class RunDone:
    """A run after it ended, however it ended."""

    folder: Path
    record: RunRecord
    results: Mapping[str, tuple[RuleResult, ...]]

    @property
    def exit_code(self) -> int:
        """DESIGN.md's exit code. A cell that is not clean is no answer, even if every probe had been observed."""
        if self.record.state == "interrupted":
            return Interrupted.exit_code
        code = exit_code(result.status for results in self.results.values() for result in results)
        answered = all(cell.clean for cell in self.record.cells) and not self.unasked
        return EXIT_NO_ANSWER if code == EXIT_OK and not answered else code

    @property
    def unasked(self) -> bool:
        """Whether all that was to be asked was skipped: no rule in any of the cells where one was expected to answer.

        A scenario says itself where there is nothing to ask.
        """
        expected = [self.results.get(cell.id, ()) for cell in self.record.cells if answers_expected(cell)]
        rules = [result for results in expected for result in results if result.rule.family != "scenario"]
        return bool(rules) and all(result.status == "skip" for result in rules)


def new_run_id() -> str:
    """A name that sorts by time and does not collide: ``20261123-214500-3fa2``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder for one process. Raises ``UsageError`` when another one has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        raise StoreError(f"{folder}: cannot be written: {problem.strerror}") from problem
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        os.close(fd)
        raise UsageError(f"{folder} belongs to a run that is still going on") from problem
    try:
        yield
    finally:
        os.close(fd)


class _Execution:
    """One run, from the thread that started it: cells are observed elsewhere, and judged and written down here, one
    after another, while the next ones are being observed."""

    def __init__(self, plan: RunPlan, pool: Pool, tell: Tell) -> None:
        self._plan, self._pool, self._tell = plan, pool, tell
        self._record = plan.record
        self._judged: list[str] = []

    def go(self) -> RunDone:
        """Run all cells. ``KeyboardInterrupt`` ends the guests and marks what is not finished as interrupted."""
        state: RunState = "finished"
        with run_lock(self._plan.folder), self._pool as pool:
            planned = next(iter(self._plan.workloads.values())).planned
            write_plan(self._plan.folder, self._record.payload_id, planned, self._plan.assignment)
            self._write(self._record)
            for taken in self._plan.taken:
                self._place(taken)
            try:
                pool.start(self._plan.cells)
                self._take_all()
            except KeyboardInterrupt:
                state = "interrupted"
                pool.stop()
                self._take_all()
            except BaseException:
                pool.stop()
                self._finish("interrupted")
                raise
            results = self._finish(state)
        return RunDone(self._plan.folder, self._record, results)

    def _place(self, taken: Taken) -> None:
        """Put a finished cell of an earlier run into this one, and judge it by today's catalogue."""
        folder = self._plan.folder / "cells" / taken.record.id
        taken.place(folder)
        record, results = judge_stored(self._plan.assignment, folder, taken.record, self._record.payload_id)
        counted = Counter(result.status for result in results)
        record = record.model_copy(update={"statuses": {s: counted[s] for s in STATUSES if counted[s]}})
        self._write_verdicts(record, results)
        self._tell(Told(record.id, "done", 0.0, note=f"taken from run {record.taken_from}", statuses=counted))

    def _write_verdicts(self, record: CellRecord, results: Sequence[RuleResult]) -> None:
        folder = self._plan.folder / "cells" / record.id
        facts = recorded_facts(record, read_journal(folder / JOURNAL))
        verdicts = verdicts_json(self._record.id, record, facts, results)
        write_atomically(folder / "verdicts.json", json.dumps(verdicts, indent=1) + "\n")
        self._judged.append(record.id)
        self._update(record)

    def _take_all(self) -> None:
        while (event := self._pool.event()) is not None:
            self._take(event)
            self._pool.ack()

    def _take(self, event: Event) -> None:
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
        self._tell(Told(cell.id, "judging", took))
        if not outcome.lost:
            outcome.lost = other_machine(record, outcome.journalled)
        facts = recorded_facts(record, outcome.journalled)
        record = remarked(record, facts)
        results = judge_cell(
            self._plan.assignment, facts, outcome.journalled, outcome.lost, outcome.crashes, outcome.second
        )
        state, reason = ended(outcome.lost, outcome.crashes, probes_of(self._plan.assignment))
        counted = Counter(result.status for result in results)
        statuses = {status: counted[status] for status in STATUSES if counted[status]}
        done = finished_cell(record, outcome, "interrupted" if outcome.interrupted else state, reason, statuses)
        verdicts = verdicts_json(self._record.id, done, facts, results)
        write_atomically(self._folder(cell) / "verdicts.json", json.dumps(verdicts, indent=1) + "\n")
        self._judged.append(cell.id)
        self._update(done)
        if key := self._plan.keys.get(cell.id):
            self._keep(key, done, self._folder(cell))
        seen = len(outcome.journalled.observations) if outcome.journalled else 0
        planned = len(self._plan.workloads[cell.arch].planned)
        self._tell(Told(cell.id, "done", took, seen, planned, reason, statuses))

    def _keep(self, key: str, record: CellRecord, folder: Path) -> None:
        """Keep the cell for later runs. That it cannot be kept costs a later run a boot, and is no reason to end."""
        with suppress(StoreError):
            FinishedCells().keep(key, self._record.id, record, folder)

    def _finish(self, state: RunState) -> KeptResults:
        going = ("waiting", "running")
        cells = tuple(c.model_copy(update=_INTERRUPTED) if c.state in going else c for c in self._record.cells)
        others = dict(self._plan.earlier)
        for cell in cells:
            if cell.id not in self._judged and cell.id not in others:
                others[cell.id] = judge_cell(self._plan.assignment, None, None, cell.reason, ())
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


_INTERRUPTED = {"state": "interrupted", "reason": "the run was interrupted before this cell began"}


def execute(plan: RunPlan, make_guest: MakeGuest, tell: Tell) -> RunDone:
    """Run a plan on this machine. What a guest does becomes verdicts; ``StoreError`` when results cannot be kept."""
    cells = plan.folder / "cells"
    local = LocalPool(make_guest, plan.workloads, cells, room(plan.jobs), plan.expected, tell, sharing=plan.sharing)
    return execute_in(local, plan, tell)


def execute_in(pool: Pool, plan: RunPlan, tell: Tell) -> RunDone:
    """Run a plan in a pool, which is released afterwards."""
    return _Execution(plan, pool, tell).go()
