"""A results folder as the history keeps it. The verdicts are those the run wrote, where ``run.json`` has the digest of
what it wrote; everything else is judged anew from the journals."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from harness.errors import UsageError
from harness.model.documents import CellPart, RunVerdicts
from harness.model.rule import Rule
from harness.model.run_record import CellRecord, RunRecord, read_run
from harness.model.stored_files import read_stored
from harness.names import printable
from harness.runs.cells import upstream_version
from harness.runs.run_store import load_run, run_lock
from harness.runs.summary import summary_json


@dataclass(frozen=True)
class Recorded:
    """One run, ready to be kept: rows as the tables want them, but for the numbers the database gives."""

    run: Mapping[str, Any]
    rules: Mapping[str, Mapping[str, str]]
    cells: tuple[Mapping[str, Any], ...]
    results: Mapping[str, Mapping[str, Mapping[str, str]]]  # cell, then rule


def read_folder(folder: Path, catalogue: Mapping[str, Rule]) -> Recorded:
    """Read one run. Raises ``UsageError`` with one line for a folder that is no whole run, or one not yet ended."""
    record = read_run(folder)
    if record.state == "running":
        with run_lock(folder):
            pass  # nobody holds it: the run was killed, and what it left is judged
    summary = _written(folder, record) or _summary(summary_json(load_run(folder, catalogue)), folder)
    if summary.run != record.id:
        raise UsageError(f"{folder}: run.json is of {record.id}, verdicts.json of {summary.run}")
    return _recorded(folder, record, summary)


def _written(folder: Path, record: RunRecord) -> RunVerdicts | None:
    """What the run wrote when it ended; None where that is not there or was altered since."""
    path = folder / "verdicts.json"
    try:
        data = read_stored(path)
    except FileNotFoundError:
        return None
    except OSError as problem:
        raise UsageError(f"{path}: cannot be read: {problem.strerror}") from problem
    if record.state == "running" or record.reports.get(path.name) != sha256(data).hexdigest():
        return None
    try:
        return RunVerdicts.model_validate_json(data, extra="ignore")
    except ValidationError as problem:
        raise _not_verdicts(path, problem) from problem


def _summary(data: Mapping[str, Any], folder: Path) -> RunVerdicts:
    try:
        return RunVerdicts.model_validate(data)
    except ValidationError as problem:
        raise _not_verdicts(folder, problem) from problem


def _not_verdicts(path: Path, problem: ValidationError) -> UsageError:
    first = problem.errors(include_url=False, include_input=False)[0]
    return UsageError(f"{path}: {printable('.'.join(map(str, first['loc']))) or 'verdicts'}: {first['msg']}")


def _recorded(folder: Path, record: RunRecord, summary: RunVerdicts) -> Recorded:
    records = {cell.id: cell for cell in record.cells}
    cells = [cell for cell in summary.cells if cell.cell in records]
    return Recorded(
        run={
            "id": record.id,
            "folder": os.fsencode(folder.resolve()).decode("utf-8", "backslashreplace"),  # databases hold text
            "started": record.started,
            "finished": summary.finished,
            "state": record.state if record.state != "running" else "interrupted",
            "sealmatrix": record.sealmatrix,
            "payload_id": record.payload_id,
            "catalogue_sha256": record.catalogue_sha256,
            "plan_sha256": _plan_digest(folder),
            "exit_code": summary.exit_code,
            "counts": summary.counts,
        },
        rules={
            name: rule.model_dump(include={"contract", "family", "statement"}) for name, rule in summary.rules.items()
        },
        cells=tuple(_cell(record.id, records[cell.cell], cell) for cell in cells),
        results={
            cell.cell: {
                rule: {"status": r.status, "kind": r.kind or "", "reason": r.reason, "follows": r.follows or ""}
                for rule, r in cell.rules.items()
            }
            for cell in cells
        },
    )


def _cell(run: str, record: CellRecord, cell: CellPart) -> Mapping[str, Any]:
    return {
        "run_id": run,
        "cell": cell.cell,
        "kernel": cell.kernel.name,
        "release": cell.kernel.release,
        "version": upstream_version(record),
        "arch": record.arch,
        "profile": record.profile,
        "page_size": cell.kernel.page_size,
        "kernel_sha256": cell.kernel.sha256,
        "state": cell.state,
        "reason": cell.reason,
        "acceleration": cell.acceleration,
        "seconds": sum(record.seconds.values()),
        "boot": record.seconds.get("boot", 0.0),
    }


def _plan_digest(folder: Path) -> str:
    """Which probes were planned; runs of a part of them are not repeats of the whole."""
    try:
        return sha256(read_stored(folder / "plan.json")).hexdigest()
    except OSError:
        return ""
