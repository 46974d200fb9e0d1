"""Costs that were measured before, as ``sealmatrix cost`` left them in its results folder."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from harness.cost.model import Cost, CostTable
from harness.errors import UsageError

FOLDER = "cost"
COSTS = "cost.json"


Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class _StoredCost(BaseModel):
    model_config = ConfigDict(frozen=True)
    row: str
    first: Amount
    settled: Amount
    spread_percent: Amount
    calls: int
    errno: str = ""
    trouble: str = ""


class _StoredTable(BaseModel):
    model_config = ConfigDict(frozen=True)
    kernel: str
    kernel_sha256: str
    arch: str
    release: str
    version: str
    mseal: bool
    pinned: tuple[str, ...]
    lost: str
    costs: tuple[_StoredCost, ...]


_TABLES = TypeAdapter(list[_StoredTable])


def stored_costs(results: Path) -> Mapping[tuple[str, str], CostTable]:
    """The newest answer of each kernel, by (sha256 of its image, architecture); a row that was not asked then is from
    an earlier answer of the same machine. Raises ``UsageError``."""
    found: dict[tuple[str, str], CostTable] = {}
    for path in sorted((results / FOLDER).glob(f"*/{COSTS}")):
        try:
            tables = _TABLES.validate_json(path.read_bytes())
        except (OSError, ValidationError) as problem:
            first = str(problem).splitlines()[0]
            raise UsageError(f"{path}: these are no costs: {first}; remove the folder, or measure again") from problem
        for table in tables:
            if table.kernel_sha256 and not table.lost:
                key = table.kernel_sha256, table.arch
                found[key] = _beside(found.get(key), _table(table))
    return found


def costs_digest(tables: Mapping[tuple[str, str], CostTable]) -> str:
    """What tells whether anything was counted since: the sha256 of all numbers, "" where there are none."""
    told = sorted(
        (*key, cost.row, cost.settled, cost.trouble) for key, table in tables.items() for cost in table.costs.values()
    )
    return sha256(json.dumps(told).encode()).hexdigest() if told else ""


def _beside(before: CostTable | None, now: CostTable) -> CostTable:
    """An answer with the rows of an earlier one that it lacks: `--row` asks some of them again."""
    if before is None or (before.pinned, before.mseal) != (now.pinned, now.mseal):
        return now
    return replace(now, costs={**before.costs, **now.costs})


def _table(told: _StoredTable) -> CostTable:
    costs = {
        cost.row: Cost(cost.row, cost.first, cost.settled, cost.spread_percent, cost.calls, cost.errno, cost.trouble)
        for cost in told.costs
    }
    return CostTable(
        told.kernel, told.arch, told.release, told.version, costs, told.mseal, told.pinned, sha256=told.kernel_sha256
    )
