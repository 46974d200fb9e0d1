"""What to ask first: the probes that killed the mutants nearest to this one. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from harness.mutants.mechanical.model import MechanicalMutant

_MOST = 48  # probes; one of them is a few milliseconds


@dataclass
class Neighbours:
    """The mutants of one run, and which probes failed for those that were killed."""

    mutants: Sequence[MechanicalMutant]
    _failed: dict[str, tuple[str, ...]] = field(default_factory=dict)

    def learn(self, mutant: str, probes: Sequence[str]) -> None:
        """A mutant was killed by these probes."""
        if probes:
            self._failed[mutant] = tuple(probes)

    def ask_first(self, mutant: str) -> tuple[str, ...]:
        """Probes in the order in which they promise most: of the nearest mutants, some of each."""
        by_id = {m.id: m for m in self.mutants}
        near = sorted(self._failed, key=lambda other: _distance(by_id.get(mutant), by_id.get(other)))
        turns = max((len(probes) for probes in self._failed.values()), default=0)
        found = dict.fromkeys(
            self._failed[other][turn] for turn in range(turns) for other in near if turn < len(self._failed[other])
        )
        return tuple(found)[:_MOST]


def _distance(one: MechanicalMutant | None, other: MechanicalMutant | None) -> tuple[bool, bool, int]:
    """Another file, another function, and how many lines there are between."""
    if one is None or other is None:
        return True, True, 0
    a, b = one.about, other.about
    return a.file != b.file, a.function != b.function, abs(a.line - b.line)
