"""Resuming a run: the cells that have no verdict yet are run, everything else is kept as it was seen.

What ran in the first sitting and what runs in the next must be the same experiment, or a run would answer no question:
the same matrix, payload, plan, catalogue and kernels are demanded.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from harness.errors import StoreError, UsageError, some_of
from harness.matrix.model import CellSpec, Matrix
from harness.model.run_record import LEFT, CellRecord, RunRecord, SittingRecord, read_run
from harness.model.verdict import RuleResult
from harness.runs.judging import WithSuites, judge_stored, read_plan, read_suites
from harness.runs.model import Workload
from harness.runs.plan import RunPlan
from harness.runs.planning.compose import Composed, Options
from harness.runs.repeats import first_id
from harness.runs.run_store import run_lock

_LISTS = ("probes", "crosscheck", "suites", "suite_arguments", "suite_files", "suite_environment")


def left_over(folder: Path) -> RunRecord:
    """Read a run that can be resumed. Raises ``UsageError`` for one that still goes on, or has nothing left to do."""
    record = read_run(folder)
    with run_lock(folder):
        pass
    if not any(cell.state in LEFT for cell in record.cells):
        raise UsageError(f"run {record.id} is {record.state}: every cell has verdicts; there is nothing to resume")
    return record


def recorded_options(record: RunRecord, options: Options) -> Options:
    """What the first sitting was asked for, with the results folder and the command line of this one."""
    names = {f.name for f in fields(Options)} - {"results", "command", "jobs", "offline"}
    kept: dict[str, Any] = {name: value for name, value in record.options.items() if name in names}
    kept |= {name: tuple(record.options.get(name, ())) for name in _LISTS}
    return replace(options, **kept)


def specs_left(record: RunRecord, matrix: Matrix) -> tuple[CellSpec, ...]:
    """The cells left over as the matrix describes them. Raises ``UsageError`` when it is not the matrix of the run."""
    if matrix.sha256 != record.matrix.get("sha256"):
        raise UsageError(
            f"{matrix.path} is not the matrix of run {record.id} ({record.matrix.get('path', 'no matrix')}, "
            f"sha256 {record.matrix.get('sha256', 'unknown')[:16]}…); give that file with -f, or start a new run"
        )
    wanted = {first_id(cell.id) for cell in record.cells if cell.state in LEFT}
    return tuple(spec for spec in _all_specs(matrix) if spec.id in wanted)


def _all_specs(matrix: Matrix) -> Iterator[CellSpec]:
    for kernel in matrix.kernels.values():
        for arch in kernel.arches:
            for profile in matrix.profiles.values():
                yield CellSpec(kernel, arch, profile)


def resumed(
    composed: Composed, folder: Path, record: RunRecord, judged: Mapping[str, tuple[RuleResult, ...]] | None = None
) -> Composed:
    """Turn a freshly composed run into the rest of an earlier one. Raises ``UsageError`` when they are not the same.

    ``judged`` are the results of its other cells, where these are known; else they are judged again.
    """
    fresh = composed.plan
    left = {cell.id: cell for cell in record.cells if cell.state in LEFT}
    cells = tuple(cell for cell in fresh.cells if cell.id in left)
    taken = tuple(one for one in fresh.taken if one.record.id in left)
    if missing := sorted(set(left) - {cell.id for cell in cells} - {one.record.id for one in taken}):
        raise UsageError(f"run {record.id} cannot be resumed here: {some_of(missing)} can no longer be set up")
    _same_experiment(fresh, folder, record)
    waiting = {cell.id: cell for cell in fresh.record.cells}
    _same_payloads(fresh, record)
    for cell in cells:
        _same_kernel(left[cell.id], waiting[cell.id])
    with run_lock(folder):
        if read_run(folder) != record:
            raise UsageError(f"run {record.id} has been resumed by another process; look at its state")
        _put_aside(folder, tuple(left), len(record.sittings) + 1)
    sitting = SittingRecord(
        started=datetime.now(UTC).isoformat(timespec="seconds"),
        command=fresh.record.command,
        sealmatrix=fresh.record.sealmatrix,
        host=fresh.record.host,
        cells=tuple(left),
    )
    others = [cell for cell in record.cells if cell.id not in left]
    kept = {cell.id: cell for cell in others}
    earlier: Mapping[str, tuple[RuleResult, ...]] = judged or {}
    if judged is None:
        again = {
            cell.id: judge_stored(fresh.assignment, folder / "cells" / cell.id, cell, record.payload_id)
            for cell in others
        }
        kept = {name: cell for name, (cell, _) in again.items()}
        earlier = {name: results for name, (_, results) in again.items()}
    update = {
        "state": "running",
        "finished": "",
        "sittings": (*record.sittings, sitting),
        "cells": tuple(waiting[cell.id] if cell.id in left else kept[cell.id] for cell in record.cells),
    }
    plan = replace(
        fresh, folder=folder, record=record.model_copy(update=update), cells=cells, taken=taken, earlier=earlier
    )
    return replace(composed, plan=plan)


def _same_experiment(fresh: RunPlan, folder: Path, record: RunRecord) -> None:
    planned = next(iter(fresh.workloads.values())).planned
    for what, now, then in (
        ("payload", fresh.record.payload_id, record.payload_id),
        ("catalogue", fresh.record.catalogue_sha256, record.catalogue_sha256),
    ):
        if now != then:
            raise UsageError(
                f"run {record.id} cannot be resumed: its {what} was {then[:16]} and is {now[:16]} now; start a new run"
            )
    suites = fresh.assignment.suites if isinstance(fresh.assignment, WithSuites) else ()
    if suites != read_suites(folder):
        raise UsageError(f"run {record.id} cannot be resumed: its suites are others now; start a new run")
    if planned != read_plan(folder):
        raise UsageError(f"run {record.id} cannot be resumed: the payload plans other probes now; start a new run")


def _same_payloads(fresh: RunPlan, record: RunRecord) -> None:
    """The same sources, by another compiler or out of a damaged cache, are not the same program."""
    workloads: dict[str, Workload] = {str(arch): workload for arch, workload in fresh.workloads.items()}
    for cell in record.cells:
        now = workloads.get(cell.arch)
        if now is None:
            continue
        second = now.second.sha256 if now.second else ""
        for what, then, here in (
            ("payload", cell.payload_sha256, now.sha256),
            ("payload of the crosscheck", cell.second_sha256, second),
        ):
            if then != here:
                raise UsageError(
                    f"run {record.id} cannot be resumed: the {what} of {cell.id} had the sha256 {then[:16] or 'none'} "
                    f"and has {here[:16] or 'none'} now; start a new run"
                )


def _same_kernel(then: CellRecord, now: CellRecord) -> None:
    """A kernel that could not be had in the first sitting may be had now; one that was had must be the same, as it is
    configured, too."""
    if then.kernel is not None and (
        now.kernel is None
        or (now.kernel.sha256, now.kernel.config_sha256) != (then.kernel.sha256, then.kernel.config_sha256)
    ):
        found = f"sha256 {now.kernel.sha256[:16]}…" if now.kernel else "not available"
        raise UsageError(
            f"{then.id}: the kernel was {then.kernel.release} (sha256 {then.kernel.sha256[:16]}…) and is {found} now; "
            "start a new run"
        )


def _put_aside(folder: Path, cells: tuple[str, ...], number: int) -> None:
    """Keep what an interrupted cell had seen: ``sittings/1/CELL``."""
    for cell in cells:
        seen = folder / "cells" / cell
        if seen.is_dir():
            aside = folder / "sittings" / str(number)
            try:
                aside.mkdir(parents=True, exist_ok=True)
                seen.rename(aside / cell)
            except OSError as problem:
                raise StoreError(f"{aside}: cannot be written: {problem.strerror}") from problem
