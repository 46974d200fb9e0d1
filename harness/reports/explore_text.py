"""What exploration found, for a terminal: one screen for each kernel. ``explore.json`` has all of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from harness.explore.against import DifferenceClass
from harness.explore.exploration import Exploration, finding_lines
from harness.explore.record import record_of
from harness.explore.verdicts import stale_bug
from harness.reports.explore import Explored
from harness.reports.style import Page
from harness.runs.cells import plural

_IN_FULL = 2  # findings, or differences, that are shown with their programs
_ONE_LINE = 5  # more of them, with their first line only
_RECORDED = 3
KEPT = "explore.json"


def print_explored(page: Page, explored: Explored, folder: Path) -> None:
    """Print what became of one kernel; ``folder`` has the rest."""
    for line in explored_lines(explored, folder):
        text = line.lstrip(" ")
        page.line(text, len(line) - len(text))


def explored_lines(explored: Explored, folder: Path) -> Iterator[str]:
    """What ran, how far it came, what was found, and what was recorded that nobody promises."""
    outcome = explored.outcome
    head = f"{explored.kernel} {explored.arch}" + (f" ({outcome.release})" if outcome.release else "")
    if explored.skipped:
        yield f"{head}: skipped: {explored.why_not}"
        return
    if explored.unsealed is not None:
        yield f"{head}: {'failed' if explored.refused else 'no answer'}: {explored.why_not}"
        return
    yield f"{head}: {_came_to(explored)}"
    yield from _how_far(outcome)
    if outcome.lost:
        yield f"  incomplete: {outcome.lost}"
    yield from _findings(explored, folder)
    if stale := stale_bug(record_of(outcome), outcome.kernel):
        yield f"  fixed: {stale}"
    if outcome.unconfirmed:
        problem, _ = outcome.unconfirmed[0]
        yield f"  seen once and not again: {len(outcome.unconfirmed)}, the first: {problem.oracle}: {problem.text}"
    yield from class_lines(explored.classes, explored.other, folder)
    yield from _recorded(outcome, folder)


def _came_to(explored: Explored) -> str:
    """The result in a few words."""
    new, old = len(explored.news), len(explored.outcome.findings) - len(explored.news)
    found = [text for text in (plural(new, "finding") * bool(new), f"{old} known" * bool(old)) if text]
    without = "no finding" if explored.asked else explored.why_not
    return ", ".join([*found, *(["incomplete"] if explored.outcome.lost else [])] or [without])


def _how_far(outcome: Exploration) -> Iterator[str]:
    """All of this part; only of the exhaustive programs it is told how many ran in all parts, for that list ends."""
    rate = f" ({outcome.programs / outcome.seconds:.0f} a second)" if outcome.seconds else ""
    ran = f"{plural(outcome.programs, 'program')}{rate}, {plural(outcome.steps, 'step')}"
    yield f"  ran {ran} in {outcome.seconds:.0f} s; seed {outcome.seed}"
    parts = f" ({outcome.exhausted} with the parts before)" if outcome.exhausted_before else ""
    here = outcome.exhausted - outcome.exhausted_before
    yield f"  {here} of them exhaustive{parts}; {outcome.states} abstract states"
    if outcome.pairs:
        yield f"  {outcome.pairs} pairs of blocks of the instrumented code ran, one after the other"


def _findings(explored: Explored, folder: Path) -> Iterator[str]:
    new = [(n, f) for n, f in enumerate(explored.outcome.findings, 1) if explored.known(f) is None]
    for number, (_, finding) in enumerate(new[: _IN_FULL + _ONE_LINE]):
        first, *more = finding_lines(finding)
        yield f"  {first}"
        yield from (f"  {line}" for line in more if number < _IN_FULL)
    if len(new) > _IN_FULL + _ONE_LINE:
        yield f"  and {plural(len(new) - _IN_FULL - _ONE_LINE, 'more finding')}"
    if new:
        yield f"  written as programs: {folder / (explored.cell or explored.kernel)}: finding-N.txt, finding-N.c"
    causes = {known.id: known for f in explored.outcome.findings if (known := explored.known(f)) is not None}
    for known in causes.values():
        yield f"  known as {known.id}: {known.cited}"


def class_lines(classes: Sequence[DifferenceClass], other: str, folder: Path) -> Iterator[str]:
    """What two kernels do differently, the most frequent first."""
    shown = sorted(classes, key=lambda c: -c.count)
    for number, one in enumerate(shown[: _IN_FULL + _ONE_LINE]):
        yield f"  differs from {other}: {one.difference.sort} ({plural(one.count, 'program')})"
        if number < _IN_FULL:
            yield f"    here {one.difference.here}; there {one.difference.there}"
            yield from (f"    {line}" for line in one.program.lines())
    if shown:
        more = len(shown) - _IN_FULL - _ONE_LINE
        rest = f"{plural(more, 'more difference')}, and a" if more > 0 else "a"
        yield f"  {rest} program for each difference: {folder / KEPT}"


def _recorded(outcome: Exploration, folder: Path) -> Iterator[str]:
    """What refused calls did that the contract leaves open, the most frequent first."""
    if not outcome.recorded:
        return
    shown = sorted(outcome.recorded.items(), key=lambda item: (-item[1][0], item[0]))
    yield "  recorded; no failure, because the contract leaves it open:"
    for what, (count, _) in shown[:_RECORDED]:
        yield f"    {plural(count, 'time')}: {what}"
    more = len(shown) - _RECORDED
    rest = f"{more} more, and a program for each" if more > 0 else "a program for each"
    yield f"    {rest}: {folder / KEPT}"
