"""``show``: the verdicts of a run, probe by probe, with what both halves of each probe did."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase

from rich.console import Console
from rich.text import Text

from harness.errors import UsageError, nearest
from harness.model.run_record import CellRecord
from harness.model.verdict import STATUSES, RuleResult, Status, Verdict, worst_first
from harness.observations.model import Half, Observation
from harness.reports.style import MARKS, Page
from harness.runs.cells import label, stored_observations
from harness.runs.model import RunDone
from harness.verdicts.window import changes

# Statuses for which the windows are shown unit by unit.
_IN_FULL: frozenset[Status] = frozenset({"fail", "error", "known", "fixed"})
Selected = tuple[CellRecord, Sequence[tuple[RuleResult, Sequence[Verdict]]]]


def print_verdicts(
    console: Console, done: RunDone, *, cell: str = "*", rule: str = "*", status: str | None = None
) -> None:
    """Print the verdicts selected by a glob over cell ids, a glob over rule ids, and a status.

    Raises ``UsageError`` when a glob or the status names nothing there is. Journals are read from the run's folder.
    """
    page = Page(console)
    count = 0
    for record, results in select(done, cell, rule, status):
        observations = stored_observations(done, record.id)
        why = f": {record.reason}" if record.reason else ""
        page.head(f"{label(record)} ({record.state}{why})")
        for result, verdicts in results:
            _rule(page, result)
            for verdict in verdicts:
                _verdict(page, verdict, observations.get(verdict.probe))
                count += 1
    page.blank()
    page.line(f"{count} verdicts" if count != 1 else "1 verdict")


def select(done: RunDone, cell: str, rule: str, status: str | None) -> Iterator[Selected]:
    """The cells, rules and verdicts that are asked for, rules worst first, verdicts in the payload's order.

    Cells without a verdict of that status are left out. Raises ``UsageError`` as ``print_verdicts`` does.
    """
    if status is not None and status not in STATUSES:
        raise UsageError(f"there is no status {status!r}{nearest(status, STATUSES)}")
    _must_match("cell", cell, done.results, "sealmatrix show")
    _must_match(
        "rule", rule, {r.rule.id for results in done.results.values() for r in results}, "sealmatrix rules list"
    )
    for record in done.record.cells:
        if not fnmatchcase(record.id, cell):
            continue
        found = []
        for result in worst_first(done.results.get(record.id, ())):
            verdicts = [v for v in result.verdicts if status is None or v.status == status]
            if fnmatchcase(result.rule.id, rule) and verdicts:
                found.append((result, verdicts))
        if found:
            yield record, found


def _must_match(noun: str, glob: str, names: Mapping[str, object] | set[str], listed_by: str) -> None:
    if not any(fnmatchcase(name, glob) for name in names):
        raise UsageError(f"no {noun} of this run matches {glob!r}{nearest(glob, names, listed_by=listed_by)}")


def _rule(page: Page, result: RuleResult) -> None:
    rule = result.rule
    counts = ", ".join(f"{n} {status}" for status, n in result.counts.items())
    follows = f"; follows {result.follows}" if result.follows else ""
    text = Text(f"{page.ink.glyph(result.status)} ", style=MARKS[result.status].style)
    text.append(page.ink.safe(rule.id), style="bold")
    page.line(text.append(page.ink.safe(f" ({rule.contract}, {rule.level}): {counts}{follows}")), 2)
    page.line(rule.statement, 4, "dim")


def _verdict(page: Page, verdict: Verdict, seen: Observation | None) -> None:
    kind = f" {verdict.kind}" if verdict.kind else ""
    why = f": {verdict.reason}" if verdict.reason else ""
    mark = f"{page.ink.glyph(verdict.status)} {verdict.status}{kind}"
    page.line(f"{mark}  {verdict.probe}{why}", 4, MARKS[verdict.status].style)
    if seen is None:
        if verdict.observed:
            page.line(verdict.observed, 8)
        return
    for name, half in (("control", seen.control), ("sealed", seen.sealed)):
        page.line(f"{name:<8}{_half(half)}", 8)
    if verdict.status in _IN_FULL:
        _windows(page, seen)


def _half(half: Half) -> str:
    """What one half answered, and what that did to its window."""
    extra = [f"{name} {value}" for name, value in half.extra.items()]
    happened = (changes(half, range(len(half.before))) or ["nothing changed"]) if half.stage == "done" else []
    return "; ".join([half.said, *extra, *happened])


def _windows(page: Page, seen: Observation) -> None:
    page.line(f"window  {seen.layout}, units of {seen.unit} bytes: before, after, then store, mprotect, munmap", 8)
    for name, half in (("control", seen.control), ("sealed", seen.sealed)):
        for i, before in enumerate(half.before):
            after = half.after[i] if i < len(half.after) else "not read"
            tail = f"  {half.write[i]} {half.mprotect[i]} {half.munmap[i]}" if half.stage == "done" else ""
            page.line(f"{name:<8}{seen.layout[i]}  {before:<22} {after:<22}{tail}", 10, "dim")
