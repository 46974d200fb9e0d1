"""What a policy demands of costs: that no system call takes more instructions than on the baseline. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from harness.cost.model import CostChange, CostTable, changes
from harness.qualify.policy import CostDemand

_TOLD = 3


@dataclass(frozen=True)
class CostPair:
    """The costs of one cell's kernel and of its baseline's, None where they were not measured."""

    candidate: str
    baseline: str
    arch: str
    here: CostTable | None
    there: CostTable | None


def costs_kept(demand: CostDemand, pairs: Iterable[CostPair]) -> tuple[bool, str]:
    """Whether the demand is met, and what there is to say. What was not measured does not meet it."""
    kept, said = True, []
    pairs = list(pairs)
    for pair in pairs:
        compared = _compared(demand, pair)
        grown = [change for change in compared if change.percent >= demand.by]
        if not compared:
            said.append(
                f"{pair.candidate} {pair.arch} was not measured beside {pair.baseline}: "
                f"sealmatrix cost {pair.candidate} --against {pair.baseline} -a {pair.arch}"
            )
        elif grown:
            worst = ", ".join(f"{change.row} {change.percent:+.1f} %" for change in grown[:_TOLD])
            more = f" and {len(grown) - _TOLD} more" if len(grown) > _TOLD else ""
            said.append(f"{pair.candidate} {pair.arch}: {len(grown)} of {len(compared)} costs grew: {worst}{more}")
        else:
            said.append(f"{pair.candidate} {pair.arch}: none of {len(compared)} costs grew")
        kept = kept and bool(compared) and not grown
    return kept and bool(pairs), "; ".join(said) or "no cell has a baseline"


def _compared(demand: CostDemand, pair: CostPair) -> list[CostChange]:
    if pair.here is None or pair.there is None:
        return []
    return [c for c in changes(pair.here, pair.there) if any(fnmatchcase(c.row, glob) for glob in demand.rows)]
