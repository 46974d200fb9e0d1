"""The rounds of a race, as a half tells them in ``outcomes``. Pure."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from harness.observations.model import Half, errno_name

_OUTCOME = re.compile(r"(-|\d+) (-|\d+) (kept|changed|partly|-) (kept|changed|partly) (\d+) (\d+)")


@dataclass(frozen=True)
class RoundOutcome:
    """Rounds that went alike: ``seal`` and ``operation`` are errnos by name, ``"-"`` for an mseal that was not tried,
    or an operation whose answer was not seen.

    ``then`` is how the range was when mseal had returned, ``end`` in the end; ``first`` is the number of the first.
    """

    seal: str
    operation: str
    then: str
    end: str
    count: int
    first: int

    @property
    def told(self) -> str:
        """As a rule's ``rounds`` writes it."""
        return f"{self.seal} {self.operation} {self.then} {self.end}"

    @property
    def said(self) -> str:
        """For a person."""
        seal = "" if self.seal == "-" else f"mseal answered {self.seal} and "
        then = "" if self.then == "-" else f"{self.then} when mseal had returned and "
        operation = "gave no answer that was seen" if self.operation == "-" else self.operation
        return f"{seal}the operation {operation}, the range was {then}{self.end} in the end"

    def breaks(self, rounds: Sequence[str]) -> bool:
        """Whether no round may go so. An answer that was not seen may have been any."""
        if self.operation != "-":
            return self.told not in rounds
        seen = (self.seal, self.then, self.end)
        return seen not in {(seal, then, end) for seal, _, then, end in (wanted.split() for wanted in rounds)}

    def bypasses(self, *, changing: bool) -> bool:
        """Whether something was done to a range after it had been sealed; or, of an operation that is ``changing`` the
        range, both calls claim to have come first."""
        claimed = changing and (self.operation == "0") == (self.end == "kept")
        return self.seal == "0" and (self.then != self.end or claimed)


def read_outcomes(half: Half) -> tuple[RoundOutcome, ...]:
    """The rounds a half tells of; empty when it ran none. Raises ``ValueError`` for a text that is no such list."""
    text = half.extra.get("outcomes", "")
    if not text:
        return ()
    outcomes = []
    for part in str(text).split("; "):
        match = _OUTCOME.fullmatch(part)
        if match is None:
            raise ValueError(f"not the outcome of a race: {part[:60]!r}")
        seal, operation, then, end, count, first = match.groups()
        seal, operation = (word if word == "-" else errno_name(int(word)) for word in (seal, operation))
        outcomes.append(RoundOutcome(seal, operation, then, end, int(count), int(first)))
    return tuple(outcomes)
