"""A small set of probes that reaches all that the whole set reaches. Pure."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterable, Mapping

from harness.coverage.model import Code, CoveragePair, Way, gone

ReachedPart = int | tuple[int, int]
"""A block, or a branch (by its place in ``Code.branches``) with one of its sides."""


def parts_of(code: Code) -> Callable[[Iterable[CoveragePair]], frozenset[ReachedPart]]:
    """A function from the pairs of a trace to the blocks that ran and the sides of branches that were taken."""
    ways: dict[int, list[tuple[ReachedPart, Way]]] = {}
    for place, branch in enumerate(code.branches):
        for side, those in enumerate(branch.sides):
            for way in those:
                ways.setdefault(way.to, []).append(((place, side), way))

    def reached(pairs: Iterable[CoveragePair]) -> frozenset[ReachedPart]:
        found: set[ReachedPart] = set()
        for before, block in pairs:
            if block in code.symbols:
                found.add(block)
                found.update(part for part, way in ways.get(block, ()) if gone(way, before, code))
        return frozenset(found)

    return reached


def smallest(reached: Mapping[str, frozenset[ReachedPart]]) -> tuple[str, ...]:
    """Choose probes, each time the one that adds most, until they reach what all do; of equals the first by name.

    The smallest set of all is beyond computing; this one is never much larger.
    """
    waiting = [(-len(parts), name) for name, parts in reached.items()]
    heapq.heapify(waiting)
    covered: set[ReachedPart] = set()
    chosen: list[str] = []
    while waiting:
        promised, name = heapq.heappop(waiting)
        adds = len(reached[name] - covered)
        if adds and (-adds > promised and waiting and (-adds, name) > waiting[0]):
            heapq.heappush(waiting, (-adds, name))  # it adds less by now than the next one may
        elif adds:
            chosen.append(name)
            covered |= reached[name]
    return tuple(chosen)
