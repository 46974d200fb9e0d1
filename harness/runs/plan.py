"""A run before it starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import inf
from pathlib import Path

from harness.model.architectures import Arch
from harness.model.run_record import RunRecord
from harness.model.verdict import RuleResult
from harness.runs.finished_cells import Taken
from harness.runs.judging import Question
from harness.runs.model import Cell, Workload


@dataclass(frozen=True)
class RunPlan:
    """A run before it starts. ``record`` has a waiting cell for each of ``cells``, in the same order, and among them
    those of an earlier sitting, whose results are in ``earlier``. ``expected`` are seconds by cell, where known.
    ``taken`` are finished cells of earlier runs that are not run again; ``keys`` says under which key a cell is kept
    when it has finished. No cell begins after ``until``, in seconds of the monotonic clock."""

    folder: Path
    record: RunRecord
    cells: tuple[Cell, ...]
    workloads: Mapping[Arch, Workload]
    assignment: Question
    jobs: int
    earlier: Mapping[str, tuple[RuleResult, ...]] = field(default_factory=dict)
    expected: Mapping[str, float] = field(default_factory=dict)
    taken: tuple[Taken, ...] = ()
    keys: Mapping[str, str] = field(default_factory=dict)
    until: float = inf
