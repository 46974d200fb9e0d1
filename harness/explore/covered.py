"""What programs ran of an instrumented kernel's code, and which of them came to some that none before them had.

A *pair* is a block of code that ran and the one before it, by the lower 32 bits of their addresses, as KCOV reports
them (``guest_payload/c/coverage.c``). The guest is given a bit for each pair that is known, and leaves those out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

SEEN_BITS = 20  # COVERAGE_SEEN_BITS of guest_payload/c/payload.h
_SPREAD = 0x9E3779B97F4A7C15


class ReachedCode:
    """The pairs that have run so far. Two pairs may share a bit; then the second is never heard of."""

    def __init__(self) -> None:
        self._seen = bytearray((1 << SEEN_BITS) // 8)
        self.pairs: set[tuple[int, int]] = set()

    @property
    def seen(self) -> bytes:
        """A bit for each pair that is known."""
        return bytes(self._seen)

    def take(self, told: Mapping[int, Sequence[tuple[int, int]]]) -> list[int]:
        """Take what the programs of a batch told, by index; returns those that came to something new."""
        first = []
        for index, pairs in sorted(told.items()):
            if self.pairs.issuperset(pairs):
                continue
            first.append(index)
            self.pairs.update(pairs)
            for pair in pairs:
                bit = _bit(*pair)
                self._seen[bit // 8] |= 1 << bit % 8
        return first


def _bit(before: int, block: int) -> int:
    return ((before << 32 | block) * _SPREAD & (1 << 64) - 1) >> 64 - SEEN_BITS
