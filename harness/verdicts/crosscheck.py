"""Two payloads on one kernel: where both observed a probe, they must have observed the same.

Pure. What is compared is what a verdict can rest on. Left out are what the payloads may rightly differ in: times, which
pages happened to be present, and whether smaps was read.
"""

from __future__ import annotations

from collections.abc import Iterator

from harness.observations.model import Half, Observation, Unit, errno_name


def disagreement(first: Observation, second: Observation, one_is: str = "C", other_is: str = "Python") -> str | None:
    """The first thing two observations of one probe differ in, with both sides; None when they agree."""
    if first.layout != second.layout:
        return f"layout: {one_is} {first.layout}, {other_is} {second.layout}"
    if first.unit != second.unit:
        return f"bytes of a unit: {one_is} {first.unit}, {other_is} {second.unit}"
    halves = (("control", first.control, second.control), ("sealed", first.sealed, second.sealed))
    for name, one, other in halves:
        for (what, c), (_, python) in zip(_facts(one), _facts(other), strict=False):
            if c != python:
                return f"{name} half, {what}: {one_is} {c}, {other_is} {python}"
    return None


def _facts(half: Half) -> Iterator[tuple[str, str]]:
    yield "how it ended", _ending(half)
    yield "sealing", " ".join(map(errno_name, half.seal))
    yield "answer", half.said if half.step is None else ""
    yield "before", _window(half.units_before)
    yield "after", _window(half.units_after)
    yield "stores", half.write
    yield "mprotect of each unit", " ".join(map(errno_name, half.mprotect))
    yield "munmap of each unit", " ".join(map(errno_name, half.munmap))


def _ending(half: Half) -> str:
    """A step that failed goes by its error, for each payload names it in its own words."""
    if half.step is not None:
        return f"in {half.stage}, for want of something ({errno_name(half.step_errno)})"
    return half.said if half.stage != "done" or half.timeout or half.signal is not None else "done"


def _window(units: tuple[Unit | None, ...]) -> str:
    return ", ".join(f"{unit.perms} {unit.backing} {unit.data}" if unit else "-" for unit in units)
