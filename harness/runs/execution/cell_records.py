"""What becomes of a cell's record while its cell runs: its machine comes up, it ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields

from harness.guests.model import Booted
from harness.model.rule import KernelFacts
from harness.model.run_record import CellRecord, CellState, CrashRecord, MachineRecord
from harness.model.verdict import Status
from harness.runs.execution.cell_worker import CellOutcome
from harness.runs.kernel_records import asked_config
from harness.verdicts.refused import FILTER_NOTE, filtered


def came_up(cell: CellRecord, booted: Booted | None) -> CellRecord:
    """A cell's record with what its guest said when it came up, if it did."""
    if cell.machine is None or booted is None:
        return cell
    found = {f.name: getattr(booted, f.name) for f in fields(Booted) if f.name in MachineRecord.model_fields}
    found["config"] = asked_config(booted.config)
    return cell.model_copy(update={"machine": cell.machine.model_copy(update=found)})


def remarked(cell: CellRecord, facts: KernelFacts | None) -> CellRecord:
    """A cell's record with what its payload found that a reader of every verdict has to know."""
    if cell.machine is None or facts is None or not filtered(facts):
        return cell
    return cell.model_copy(update={"machine": cell.machine.model_copy(update={"filter": FILTER_NOTE})})


def finished_cell(
    cell: CellRecord, outcome: CellOutcome, state: CellState, reason: str, statuses: Mapping[Status, int]
) -> CellRecord:
    """A cell's record after it ended."""
    exited = outcome.exited
    return cell.model_copy(
        update={
            "state": state,
            "reason": reason,
            "started": outcome.started,
            "seconds": outcome.seconds,
            "garbage": len(outcome.journalled.garbage) if outcome.journalled else 0,
            "crashes": tuple(CrashRecord.model_validate(asdict(crash)) for crash in outcome.crashes),
            "exit_status": exited.status if exited else None,
            "exit_signal": exited.signal if exited else None,
            "statuses": dict(statuses),
            "host": outcome.host,
            "lost_on": outcome.lost_on,
        }
    )
