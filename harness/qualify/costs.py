"""What a policy demands of costs: that no system call takes more instructions than on the baseline. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
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


@dataclass(frozen=True)
class MeasuredCosts:
    """The costs that were measured, by (sha256 of the kernel's image, architecture), and every row there is."""

    tables: Mapping[tuple[str, str], CostTable] = field(default_factory=dict)
    rows: tuple[str, ...] = ()


def costs_kept(demand: CostDemand, pairs: Iterable[CostPair], rows: Iterable[str] = ()) -> tuple[bool, str]:
    """Whether the demand is met, and what there is to say. What was not measured does not meet it: neither a cell, nor
    one of the ``rows`` there are that the demand means."""
    kept, said = True, []
    pairs, rows = list(pairs), tuple(rows)
    for pair in pairs:
        compared = _compared(demand, pair)
        grown = [change for change in compared if change.percent >= demand.by]
        missing = sorted(_demanded(demand, pair, rows) - {change.row for change in compared})
        again = f"sealmatrix cost {pair.candidate} --against {pair.baseline} -a {pair.arch}"
        if not compared:
            said.append(f"{pair.candidate} {pair.arch} was not measured beside {pair.baseline}: {again}")
        elif grown:
            worst = ", ".join(f"{change.row} {change.percent:+.1f} %" for change in grown[:_TOLD])
            more = f" and {len(grown) - _TOLD} more" if len(grown) > _TOLD else ""
            said.append(f"{pair.candidate} {pair.arch}: {len(grown)} of {len(compared)} costs grew: {worst}{more}")
        elif missing:
            said.append(
                f"{pair.candidate} {pair.arch}: {len(missing)} of {len(missing) + len(compared)} costs have no number "
                f"on both kernels, the first is {missing[0]}: {again}"
            )
        else:
            said.append(f"{pair.candidate} {pair.arch}: none of {len(compared)} costs grew")
        kept = kept and bool(compared) and not grown and not missing
    return kept and bool(pairs), "; ".join(said) or "no cell has a baseline"


def _compared(demand: CostDemand, pair: CostPair) -> list[CostChange]:
    if pair.here is None or pair.there is None:
        return []
    return [change for change in changes(pair.here, pair.there) if _means(demand, change.row)]


def _demanded(demand: CostDemand, pair: CostPair, rows: Iterable[str]) -> set[str]:
    """The rows that a demand means, of those there are and those that either kernel was asked. A glob that means none
    stands for itself."""
    told: Iterator[str] = (row for table in (pair.here, pair.there) if table for row in table.costs)
    every = {*rows, *told}
    idle = {glob for glob in demand.rows if not any(fnmatchcase(row, glob) for row in every)}
    return {row for row in every if _means(demand, row)} | idle


def _means(demand: CostDemand, row: str) -> bool:
    return any(fnmatchcase(row, glob) for glob in demand.rows)
