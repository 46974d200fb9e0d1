"""A run: cells side by side, each in a thread of its own, and one record of all of them on disk."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import InfrastructureError, Interrupted, StoreError, UsageError
from harness.matrix.model import Arch
from harness.runs.cell import CellOutcome, CellWorker
from harness.runs.judging import judge_cell, kernel_facts, verdicts_json, write_plan
from harness.runs.model import Cell, MakeGuest, Tell, Told, Workload
from harness.runs.record import CellRecord, CellState, RunRecord, RunState, finished_cell, write_atomically, write_run
from harness.verdicts.judge import Assignment
from harness.verdicts.model import EXIT_NO_ANSWER, EXIT_OK, RuleResult, exit_code


@dataclass(frozen=True)
class RunPlan:
    """A run before it starts. ``record`` has a waiting cell for each of ``cells``, in the same order, and among them
    those of an earlier sitting, whose results are in ``earlier``."""

    folder: Path
    record: RunRecord
    cells: tuple[Cell, ...]
    workloads: Mapping[Arch, Workload]
    assignment: Assignment
    jobs: int
    earlier: Mapping[str, tuple[RuleResult, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class RunDone:
    """A run after it ended, however it ended."""

    folder: Path
    record: RunRecord
    results: Mapping[str, tuple[RuleResult, ...]]

    @property
    def exit_code(self) -> int:
        """DESIGN.md's exit code. A cell that was lost is no answer, even if every probe had already been observed."""
        if self.record.state == "interrupted":
            return Interrupted.exit_code
        code = exit_code(result.status for results in self.results.values() for result in results)
        lost = any(cell.state != "finished" for cell in self.record.cells)
        return EXIT_NO_ANSWER if code == EXIT_OK and lost else code


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
    """The moving parts of one run. Worker threads enter by ``_cell``; the lock guards what they share."""

    def __init__(self, plan: RunPlan, make_guest: MakeGuest, tell: Tell) -> None:
        self._plan, self._make_guest, self._tell = plan, make_guest, tell
        self._record = plan.record
        self._results = dict(plan.earlier)
        self._live: dict[str, CellWorker] = {}
        self._lock = threading.Lock()
        self._stopping = threading.Event()

    def go(self) -> RunDone:
        """Run all cells. ``KeyboardInterrupt`` ends the guests and marks what is not finished as interrupted."""
        state: RunState = "finished"
        with run_lock(self._plan.folder), ThreadPoolExecutor(self._plan.jobs, "cell") as pool:
            planned = next(iter(self._plan.workloads.values())).planned
            write_plan(self._plan.folder, self._record.payload_id, planned)
            self._write(self._record)
            futures = [pool.submit(self._cell, cell) for cell in self._plan.cells]
            try:
                for future in as_completed(futures):
                    future.result()
            except KeyboardInterrupt:
                state = "interrupted"
                self._stop(futures)
            except BaseException:
                self._stop(futures)
                self._finish("interrupted")
                raise
            pool.shutdown(wait=True)
            self._finish(state)
        return RunDone(self._plan.folder, self._record, dict(self._results))

    def _stop(self, futures: Sequence[Future[None]]) -> None:
        self._stopping.set()
        for future in futures:
            future.cancel()
        with self._lock:
            live = list(self._live.values())
        for worker in live:
            worker.interrupt()

    def _finish(self, state: RunState) -> None:
        with self._lock:
            cells = tuple(
                c if c.state in ("finished", "lost", "interrupted") else c.model_copy(update=_INTERRUPTED)
                for c in self._record.cells
            )
            for cell in cells:
                if cell.id not in self._results:
                    self._results[cell.id] = judge_cell(self._plan.assignment, None, None, cell.reason, ())
            now = datetime.now(UTC).isoformat(timespec="seconds")
            self._write(self._record.model_copy(update={"cells": cells, "state": state, "finished": now}))

    def _write(self, record: RunRecord) -> None:
        self._record = record
        write_run(self._plan.folder, record)

    def _update(self, cell: CellRecord) -> None:
        with self._lock:
            cells = tuple(cell if c.id == cell.id else c for c in self._record.cells)
            self._write(self._record.model_copy(update={"cells": cells}))

    def _cell(self, cell: Cell) -> None:
        record = next(c for c in self._record.cells if c.id == cell.id)
        folder = self._plan.folder / "cells" / cell.id
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise StoreError(f"{folder}: cannot be written: {problem.strerror}") from problem
        self._update(record.model_copy(update={"state": "running"}))
        begun = time.monotonic()
        outcome = self._observe(cell, folder)
        self._tell(Told(cell.id, "judging", time.monotonic() - begun))
        upstream = record.kernel.version if record.kernel else ""
        facts = kernel_facts(cell.arch, outcome.journalled, upstream)
        results = judge_cell(self._plan.assignment, facts, outcome.journalled, outcome.lost, outcome.crashes)
        state: CellState = "finished"
        if outcome.lost:
            state = "interrupted" if self._stopping.is_set() else "lost"
        done = finished_cell(record, outcome, state, Counter(result.status for result in results))
        verdicts = verdicts_json(self._record.id, done, facts, results)
        write_atomically(folder / "verdicts.json", json.dumps(verdicts, indent=1) + "\n")
        with self._lock:
            self._results[cell.id] = results
        self._update(done)
        seen = len(outcome.journalled.observations) if outcome.journalled else 0
        planned = len(self._plan.workloads[cell.arch].planned)
        self._tell(Told(cell.id, "done", time.monotonic() - begun, seen, planned, outcome.lost, results))

    def _observe(self, cell: Cell, folder: Path) -> CellOutcome:
        if isinstance(cell.kernel, InfrastructureError):
            return CellOutcome(cell, lost=str(cell.kernel))
        try:
            guest = self._make_guest(cell, folder)
        except InfrastructureError as problem:
            return CellOutcome(cell, lost=str(problem))
        worker = CellWorker(cell, self._plan.workloads[cell.arch], folder, guest, self._tell)
        with self._lock:
            self._live[cell.id] = worker
        if self._stopping.is_set():
            worker.interrupt()
        try:
            return worker.run()
        finally:
            with self._lock:
                del self._live[cell.id]


_INTERRUPTED = {"state": "interrupted", "reason": "the run was interrupted before this cell began"}


def execute(plan: RunPlan, make_guest: MakeGuest, tell: Tell) -> RunDone:
    """Run a plan to its end. What a guest does becomes verdicts; ``StoreError`` when results cannot be kept."""
    return _Execution(plan, make_guest, tell).go()
