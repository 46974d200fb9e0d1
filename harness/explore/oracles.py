"""What can be wrong with a program's run: the oracles, and a step that one of them found wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Oracle = Literal["sealed-unchanged", "refused", "same-as-twin", "exactly-sealed", "answer", "console"]
ORACLES: Mapping[Oracle, str] = {
    "sealed-unchanged": "Sealed pages are unchanged after every step.",
    "refused": "What must be refused is refused with EPERM whenever the twin without seals succeeds.",
    "same-as-twin": "What is permitted does the same as in the twin without seals.",
    "exactly-sealed": "In the end exactly the sealed pages behave as sealed.",
    "answer": "mseal answers within the model's set.",
    "console": "Nothing is on the console, and every process ends cleanly.",
}


@dataclass(frozen=True, slots=True)
class StepProblem:
    """What a step did that it may not. ``step`` is its index, -1 the window as it was made, the number of steps the
    end.

    ``clauses`` are those of the contract; ``units`` the ones it shows at. ``child`` says that a forked child saw it.
    """

    oracle: Oracle
    step: int
    operation: str
    text: str
    clauses: tuple[str, ...]
    units: tuple[int, ...] = ()
    child: bool = False

    @property
    def same(self) -> tuple[str, str]:
        """What a smaller program has to show as well, to be an example of the same finding."""
        return self.oracle, self.operation
