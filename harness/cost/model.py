"""Costs: what the cost payload reports, settled into one number for each row, and how two kernels differ. Pure.

A row's id is ``OPERATION/MAPPINGS/SEALS`` (``guest_payload/cost/cost.c``); a cost is a number of instructions.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import LostGuest, UsageError, nearest
from harness.model.json_text import parse_json
from harness.observations.model import errno_name

INSTRUCTIONS_A_SECOND = 10**9
"""Of the guest's time: QEMU's ``-icount shift=0``."""

DEFAULT_BY = 2.0
"""Per cent by which a cost has to grow to count as grown."""

_SETTLED_FROM = 3  # the first third of the calls fills the kernel's caches
_QUANTILE = 5  # the lowest fifth of the rest: an interrupt, or a list that is refilled, only ever adds


class _Line(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class PlanLine(_Line):
    """What the payload says first. ``frequency`` is the counter's, in values a second."""

    plan: int
    frequency: int
    mseal: bool


class RowLine(_Line):
    """One row: ``ended`` is the wait status of its process, ``spent`` one value for each call, in order."""

    row: str
    ended: int
    result: int
    errno: int
    spent: list[int]


@dataclass(frozen=True)
class Cost:
    """What one row costs, in instructions: ``first`` the first call, ``settled`` one for which the kernel is prepared.

    ``spread`` is how far, in per cent, half of the settled calls lie above it. ``errno`` is the error's name where
    the call was refused. ``trouble`` says why there is no cost; then the numbers are 0.
    """

    row: str
    first: float = 0.0
    settled: float = 0.0
    spread: float = 0.0
    calls: int = 0
    errno: str = ""
    trouble: str = ""

    @property
    def operation(self) -> str:
        """Such as ``munmap``."""
        return self.row.split("/")[0]

    @property
    def mappings(self) -> int:
        """How many mappings the range has, or lie beside the one that is meant."""
        return int(self.row.split("/")[1])

    @property
    def seals(self) -> str:
        """``none``, ``beside`` or ``refused``."""
        return self.row.split("/")[2]

    @property
    def without(self) -> str:
        """Why it has no number, "" where it has one."""
        return self.trouble or ("" if self.settled else "nothing was counted")


@dataclass(frozen=True)
class CostTable:
    """All costs of one kernel. ``lost`` says why there are none, or not all. ``pinned`` is what was held still,
    ``sha256`` the digest of the kernel's image as it was published."""

    kernel: str
    arch: str
    release: str = ""
    version: str = ""
    costs: Mapping[str, Cost] = field(default_factory=dict)
    mseal: bool = True
    pinned: tuple[str, ...] = ()
    lost: str = ""
    sha256: str = ""

    @property
    def troubles(self) -> tuple[Cost, ...]:
        """The rows without a cost."""
        return tuple(cost for cost in self.costs.values() if cost.trouble)


@dataclass(frozen=True)
class CostChange:
    """One row on two kernels. ``percent`` is how much more it costs here than there."""

    row: str
    here: Cost
    there: Cost

    @property
    def percent(self) -> float:
        """Of the cost there."""
        return 100.0 * (self.here.settled - self.there.settled) / self.there.settled


def settle(row: str, spent: Sequence[int], unit: float) -> Cost:
    """Condense the calls of one row. ``unit`` is how many instructions lie between two values of the counter.

    The settled cost is the lowest fifth of the later calls. Where the counter is coarse, the calls begin at different
    places between two of its values, and the mean of those within one value of it is finer than the counter.
    """
    later = sorted(spent[len(spent) // _SETTLED_FROM :])
    low = later[len(later) // _QUANTILE]
    near = [value for value in later if abs(value - low) <= 1]
    settled = unit * sum(near) / len(near)
    middle = unit * later[len(later) // 2]
    spread = 100.0 * max(0.0, middle - settled) / settled if settled else 0.0
    return Cost(row, round(unit * spent[0], 1), round(settled, 1), round(spread, 3), len(spent))


def read_costs(lines: Iterable[bytes]) -> tuple[PlanLine, dict[str, Cost]]:
    """Read what the payload wrote. Raises ``LostGuest`` for anything else, and where the end is missing."""
    plan: PlanLine | None = None
    costs: dict[str, Cost] = {}
    ended = False
    for line in lines:
        try:
            record = parse_json(line)
            if plan is None:
                plan = PlanLine.model_validate(record)
            elif record == {"end": 1}:
                ended = True
            else:
                cost = _cost(RowLine.model_validate(record), INSTRUCTIONS_A_SECOND / plan.frequency)
                if ended or cost.row in costs:
                    raise LostGuest(f"the cost payload told of {cost.row} twice, or after its end")
                costs[cost.row] = cost
        except (ValueError, ValidationError) as problem:
            raise LostGuest(f"the cost payload wrote something else than a record: {line[:80]!r}") from problem
    if plan is None or not ended:
        raise LostGuest(f"the cost payload ended after {len(costs)} rows, without its last line")
    return plan, costs


def _cost(line: RowLine, unit: float) -> Cost:
    if line.ended or not line.spent:
        signal = line.ended & 0x7F
        how = f"was killed by signal {signal}" if signal else f"ended with status {line.ended >> 8}"
        return Cost(line.row, calls=len(line.spent), trouble=f"its process {how} after {len(line.spent)} calls")
    settled = settle(line.row, line.spent, unit)
    refused = line.row.endswith("/refused")
    if bool(line.errno) != refused:
        said = f"failed with {errno_name(line.errno)}" if line.errno else "was not refused"
        return Cost(line.row, calls=len(line.spent), errno=errno_name(line.errno) if line.errno else "", trouble=said)
    if not refused:
        return settled
    return Cost(line.row, settled.first, settled.settled, settled.spread, settled.calls, errno_name(line.errno))


def changes(here: CostTable, there: CostTable) -> list[CostChange]:
    """Every row that both kernels have a cost for, those that grew most first."""
    both = (
        CostChange(row, cost, there.costs[row])
        for row, cost in here.costs.items()
        if row in there.costs and cost.settled and there.costs[row].settled
    )
    return sorted(both, key=lambda change: -change.percent)


def _wants_mseal(row: str) -> bool:
    operation, _, seals = row.split("/")
    return operation == "mseal" or seals != "none"


def without_number(table: CostTable, rows: Iterable[str]) -> dict[str, str]:
    """Those of ``rows`` for which a table has no number, and why. Of a kernel without mseal no row with seals is
    wanted."""
    wanted = (row for row in rows if table.mseal or not _wants_mseal(row))
    costs = {row: table.costs.get(row) for row in wanted}
    return {row: "it was not asked" if cost is None else cost.without for row, cost in costs.items()
            if cost is None or cost.without}  # fmt: skip


def uncompared(here: CostTable, there: CostTable) -> dict[str, str]:
    """The rows that were asked of either kernel and have no number on one of them, and why."""
    rows = tuple({**here.costs, **there.costs})
    if not (here.mseal and there.mseal):
        rows = tuple(row for row in rows if not _wants_mseal(row))
    return {**without_number(there, rows), **without_number(here, rows)}


def slopes(costs: Mapping[str, Cost]) -> Iterator[tuple[str, str, float, float]]:
    """For each operation and seals: (operation, seals, instructions for each further mapping, the rest), fitted by
    least squares over the numbers of mappings."""
    groups: dict[tuple[str, str], list[tuple[int, float]]] = {}
    for cost in costs.values():
        if cost.settled:
            groups.setdefault((cost.operation, cost.seals), []).append((cost.mappings, cost.settled))
    for (operation, seals), points in groups.items():
        if len(points) > 1:
            n = len(points)
            mean_x, mean_y = sum(x for x, _ in points) / n, sum(y for _, y in points) / n
            slope = sum((x - mean_x) * (y - mean_y) for x, y in points) / sum((x - mean_x) ** 2 for x, _ in points)
            yield operation, seals, slope, mean_y - slope * mean_x


def chosen_rows(all_rows: Sequence[str], wanted: Sequence[str]) -> tuple[str, ...]:
    """The rows that are meant: ids, globs, or the beginning of an id. None means all. Raises ``UsageError``."""
    chosen: dict[str, None] = {}
    for word in wanted:
        found = [row for row in all_rows if fnmatchcase(row, word) or row.startswith(word.rstrip("/") + "/")]
        if not found:
            raise UsageError(f"{word}: no such cost{nearest(word, all_rows, listed_by='sealmatrix cost --list')}")
        chosen.update(dict.fromkeys(found))
    return tuple(row for row in all_rows if row in chosen)
