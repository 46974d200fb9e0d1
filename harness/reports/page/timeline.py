"""The picture of a family along kernel versions: for each kernel, how many of its rules have which status."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.model.verdict import STATUSES, RuleResult, Status
from harness.model.version import version_order
from harness.reports.page.columns import versions
from harness.reports.page.facts import PageGrid

# Drawn from the bottom upwards, so that trouble stands on top.
_STACK: tuple[Status, ...] = ("skip", "observed", "pass", "fixed", "known", "miss", "error", "fail")
_LEFT, _WIDTH, _LANE, _GAP, _FOOT = 74.0, 380.0, 40.0, 16.0, 46.0
_WIDEST = 24.0
_LABELS = 14


@dataclass(frozen=True)
class Bar:
    """A part of a column of the picture; units of the SVG."""

    status: Status
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class Slot:
    """One kernel in one lane: its bars, and what a pointer or a screen reader is told."""

    x: float
    says: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Lane:
    """One architecture. ``base`` is the bottom of its bars."""

    name: str
    base: float
    slots: tuple[Slot, ...]


@dataclass(frozen=True)
class Timeline:
    """The picture of one family, ready to be written as SVG. ``labels`` are (x, version)."""

    family: str
    says: str
    width: float
    height: float
    left: float
    lanes: tuple[Lane, ...]
    labels: tuple[tuple[float, str], ...]


def timelines(grid: PageGrid) -> tuple[Timeline, ...]:
    """One picture a family in which something differs along the versions, in the order of the grid: failing first.

    Cells that have one thing to say throughout stand in the grid; here they would be columns of empty boxes.
    """
    lanes: dict[str, list[int]] = {}
    for number, column in enumerate(grid.columns):
        if column.version and not grid.flat[number]:
            lanes.setdefault(column.lane, []).append(number)
    along = versions(grid.columns[number] for numbers in lanes.values() for number in numbers)
    families: dict[str, list[int]] = {}
    for number, rule in enumerate(grid.rules):
        families.setdefault(rule.family, []).append(number)
    return tuple(
        _timeline(family, rows, grid, along, lanes)
        for family, rows in families.items()
        if len(along) > 1 and any(_differs(rows, grid, numbers) for numbers in lanes.values())
    )


def _differs(rows: Sequence[int], grid: PageGrid, lane: Sequence[int]) -> bool:
    """Whether some rule of a family stands otherwise on one kernel of a lane than on another."""
    return any(len({r.status for number in lane if (r := grid.results[row][number])}) > 1 for row in rows)


def _timeline(
    family: str, rows: Sequence[int], grid: PageGrid, along: Sequence[str], lanes: Mapping[str, Sequence[int]]
) -> Timeline:
    step = _WIDTH / len(along)
    places = {version: _LEFT + (i + 0.5) * step for i, version in enumerate(along)}
    drawn, said = [], []
    for number, (name, cells) in enumerate(lanes.items()):
        base = 6 + _LANE + number * (_LANE + _GAP)
        kernels = _kernels(grid, cells)
        slots: list[Slot] = []
        for version in sorted({version for version, _ in kernels}, key=version_order):
            slots += _slots(name, version, grid, rows, kernels, (places[version], base, min(_WIDEST, step * 0.76)))
        drawn.append(Lane(name, base, tuple(slots)))
        said.append(_summary(name, slots, [_counts(grid, rows, repeats) for repeats in kernels.values()]))
    thin = -(-len(along) // _LABELS)
    labels = tuple((places[v], v) for i, v in enumerate(along) if (len(along) - 1 - i) % thin == 0)
    height = 6 + len(lanes) * (_LANE + _GAP) + _FOOT
    return Timeline(family, f"{family}: {'; '.join(said)}", _LEFT + _WIDTH + 8, height, _LEFT, tuple(drawn), labels)


Kernels = Mapping[tuple[str, str], Sequence[int]]
"""Cells by version and kernel: a kernel's name and its machine. Repeats of a cell are of one kernel."""


def _kernels(grid: PageGrid, lane: Sequence[int]) -> Kernels:
    found: dict[tuple[str, str], list[int]] = {}
    for number in lane:
        column = grid.columns[number]
        found.setdefault((column.version, f"{column.name} {column.variety}".rstrip()), []).append(number)
    return found


def _slots(
    lane: str, version: str, grid: PageGrid, rows: Sequence[int], kernels: Kernels, place: tuple[float, float, float]
) -> Iterator[Slot]:
    """The kernels of one version, side by side: two of one release are two. ``place`` is middle, base and width."""
    middle, base, width = place
    here = [(name, cells) for (of, name), cells in kernels.items() if of == version]
    each = width / len(here)
    for number, (name, cells) in enumerate(here):
        counts = _counts(grid, rows, cells)
        told = ", ".join(f"{n} {status}" for status, n in counts.items())
        which = f" ({name})" if len(here) > 1 else ""
        x = middle - width / 2 + (number + 0.5) * each
        yield Slot(x, f"{lane}, {version}{which}: {told}", _bars(counts, x, base, each))


def _summary(name: str, slots: Sequence[Slot], counts: Sequence[Mapping[Status, int]]) -> str:
    """One sentence for who cannot see the picture; the table holds the rest."""
    failing = sum(1 for found in counts if found.get("fail"))
    return f"{name}: {len(slots)} kernels, {failing} with failing rules" if failing else f"{name}: none fails"


def _counts(grid: PageGrid, rows: Sequence[int], cells: Sequence[int]) -> Mapping[Status, int]:
    """Rules by status, worst first; of the repeats of a cell each rule counts with its worst."""
    found: Counter[Status] = Counter()
    for row in rows:
        results: list[RuleResult] = [r for cell in cells if (r := grid.results[row][cell])]
        if results:
            found[min(results, key=lambda r: r.worst.badness).status] += 1
    return {status: found[status] for status in STATUSES if found[status]}


def _bars(counts: Mapping[Status, int], middle: float, base: float, width: float) -> tuple[Bar, ...]:
    total = sum(counts.values()) or 1
    bars, y = [], base
    for status in _STACK:
        if number := counts.get(status, 0):
            # One failing rule of fifty must still be seen.
            height = max(_LANE * number / total, 3.0)
            y -= height
            bars.append(Bar(status, round(middle - width / 2, 2), round(y, 2), round(width, 2), round(height, 2)))
    return tuple(bars)
