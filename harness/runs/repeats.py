"""Repeats of a cell: the first has the cell's own id, the others ``ID~2``, ``ID~3``.

No kernel, architecture or profile may have ``~`` in its name, so that an id can be read one way only.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from harness.runs.model import Cell

_MARK = "~"


def repeated(cells: Sequence[Cell], times: int) -> tuple[Cell, ...]:
    """Each cell ``times`` times, repeats behind one another: what is flaky shows in one sitting."""
    return tuple(
        cell if n == 1 else replace(cell, id=f"{cell.id}{_MARK}{n}") for cell in cells for n in range(1, times + 1)
    )


def first_id(cell: str) -> str:
    """The id of the cell that a repeat repeats."""
    return cell.partition(_MARK)[0]


def repeat_of(cell: str) -> int:
    """Which repeat an id means; 1 is the first."""
    number = cell.partition(_MARK)[2]
    return int(number) if number.isdigit() else 1
