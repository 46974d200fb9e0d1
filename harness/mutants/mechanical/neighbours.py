"""What to ask first: the rules and probes that killed the mutants nearest to this one. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from harness.mutants.mechanical.model import MechanicalMutant

Failure = tuple[str, str]
"""A rule, and one of its probes."""


@dataclass
class Neighbours:
    """The mutants of one run, and what failed for those that were killed: pairs of a rule and one of its probes."""

    mutants: Sequence[MechanicalMutant]
    _failed: dict[str, tuple[Failure, ...]] = field(default_factory=dict)

    def learn(self, mutant: str, failures: Iterable[Failure]) -> None:
        """A mutant was killed by these."""
        if found := tuple(failures):
            self._failed[mutant] = found

    def ask_first(self, mutant: str) -> tuple[Failure, ...]:
        """In the order in which they promise most: the first failure of each, from the nearest on; then the second."""
        by_id = {m.id: m for m in self.mutants}
        near = sorted(self._failed, key=lambda other: _distance(by_id.get(mutant), by_id.get(other)))
        turns = max((len(failures) for failures in self._failed.values()), default=0)
        found = (
            self._failed[other][turn] for turn in range(turns) for other in near if turn < len(self._failed[other])
        )
        return tuple(dict.fromkeys(found))


def _distance(one: MechanicalMutant | None, other: MechanicalMutant | None) -> tuple[bool, bool, int]:
    """Another file, another function, and how many lines there are between."""
    if one is None or other is None:
        return True, True, 0
    a, b = one.about, other.about
    return a.file != b.file, a.function != b.function, abs(a.line - b.line)
