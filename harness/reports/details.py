"""Below the matrix: what went wrong in words, the cells that gave no answer, and how the cells were run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from harness.errors import some_of
from harness.model.run_record import CellRecord, CrashRecord
from harness.reports.findings import Finding, differences, findings, missing, readings
from harness.reports.grid import Grid, skipped_rules
from harness.reports.style import MARKS, Page
from harness.runs.causes import ReportedCause, command_line
from harness.runs.cells import few, kernel_name, label, plural, ran_on, release, together
from harness.runs.commands import again_command
from harness.runs.crashes import shared_crashes
from harness.runs.model import RunDone
from harness.runs.published_bugs import PUBLISHED, by_bug, published_bugs

# Findings told in full before the reader is sent to ``show``.
FULL = 20
_CRASH_LINES = 12
_AGAIN = 5  # further reports of one mishap that are named
MANY = 12  # cells, or kernels of one architecture, that are named one by one
_NAMED = 6  # rules that were skipped for one reason
_IN, _DEEP = 2, 6  # columns of indentation


def show_again(done: RunDone) -> str:
    """The command that shows all of a run."""
    return again_command(done.folder, "show", "--all")


def print_causes(page: Page, done: RunDone, found: Sequence[ReportedCause]) -> None:
    """What failed, by cause: what broke, where, the plainest probe that shows it, and what to do next."""
    if found:
        page.head(f"What failed, by cause ({plural(len(found), 'cause')})")
    for one in found[:FULL]:
        page.line(f"{page.ink.glyph('fail')} {one.sentence}", _IN, MARKS["fail"].style)
        for line in one.evidence():
            page.line(line, _DEEP)
        for command in one.commands:
            page.whole(command_line(command), _DEEP)
    if len(found) > FULL:
        page.whole(f"… and {plural(len(found) - FULL, 'more cause')}: {done.folder / 'report.html'}", _IN)


def print_details(page: Page, done: RunDone, laid_out: Grid, *, every: bool) -> None:
    """Print every section that has something to say. Of many cells only the first are named, unless ``every`` is."""
    name: CellNames = partial(together if every else few, done.record)
    _findings(page, done, every=every)
    _differences(page, done, name, every=every)
    _readings(page, done, name, every=every)
    _skips(page, done, laid_out, name, every=every)
    _missing(page, done, laid_out)
    _consoles(page, done)
    _kernels(page, done, name, every=every)
    _bugs(page, done, name, every=every)
    _machines(page, done, name, every=every)


CellNames = Callable[[Sequence[str]], str]
"""Cells for people."""


def _findings(page: Page, done: RunDone, *, every: bool) -> None:
    """Rule by rule: what is no failure (those stand in the causes), and with ``every`` the failures, too."""
    found = [f for f in findings(done) if every or f.first.status != "fail"]
    folded = {"known"} if _many(done, every) else set()
    known = [f for f in found if f.first.status in folded]
    alone = [f for f in found if f.first.status not in folded]
    shown = alone if every else alone[:FULL]
    if found:
        page.head("Findings by rule, worst first")
    for finding in shown:
        _finding(page, done, finding)
    if len(alone) > len(shown):
        page.whole(f"… and {len(alone) - len(shown)} more: {show_again(done)}", _IN)
    _known(page, done, known)


def _many(done: RunDone, every: bool) -> bool:
    """Whether sections are to say only how many, so that all of them fit on two screens."""
    return not every and len(done.record.cells) > MANY


def _known(page: Page, done: RunDone, found: Sequence[Finding]) -> None:
    """What is known, by its cause: only where it is seen and by which rules, without the probe that shows it."""
    causes: dict[str, list[Finding]] = {}
    for finding in found:
        cause, seen_on, _ = finding.first.reason.rpartition("known: ")[2].partition("; seen on ")
        causes.setdefault(cause + ("]" if seen_on else ""), []).append(finding)
    for cause, alike in causes.items():
        where = together(done.record, (cell for finding in alike for cell in finding.cells))
        page.line(f"{page.ink.glyph('known')} known: {cause}", _IN, MARKS["known"].style)
        page.line(f"on {where}, by {', '.join(finding.rule.id for finding in alike)}", _DEEP)


def _finding(page: Page, done: RunDone, finding: Finding) -> None:
    rule, first = finding.rule, finding.first
    kind = f" {first.kind}" if first.kind else ""
    head = f"{page.ink.glyph(first.status)} {first.status}{kind}: {rule.id}"
    page.line(f"{head} ({rule.contract}, {rule.level})", _IN, MARKS[first.status].style)
    page.line(rule.statement, _DEEP)
    counts = ", ".join(f"{n} {status}" for status, n in finding.counts.items())
    probes = plural(sum(finding.counts.values()), "probe")
    page.line(f"on {together(done.record, finding.cells)}; of {probes}: {counts}", _DEEP)
    page.line(f"{first.probe}: {first.reason}", _DEEP)
    if first.observed and first.observed not in first.reason:
        page.line(f"observed: {first.observed}", _DEEP)


def _differences(page: Page, done: RunDone, name: CellNames, *, every: bool) -> None:
    found = differences(done)
    if found:
        page.head("Observed differently (nothing is promised here)")
    if found and _many(done, every):
        page.line(", ".join(f"{one.rule.id} ({plural(one.probes, 'probe')})" for one in found), _IN)
        page.whole(f"which cells in which way: {show_again(done)}", _IN)
        return
    for difference in found:
        more = f" (and {plural(difference.probes - 1, 'more probe')})" if difference.probes > 1 else ""
        page.line(f"{page.ink.glyph('observed')} {difference.rule.id}: {difference.probe}{more}", _IN)
        for observed, cells in difference.observed:
            page.line(f"{name(cells)}: {observed}", _DEEP)


def _readings(page: Page, done: RunDone, name: CellNames, *, every: bool) -> None:
    """Which reading is followed; where a kernel keeps both on every cell there is nothing to choose."""
    found = {rule: cells for rule, cells in readings(done).items() if every or set(cells) != {"both"}}
    if found:
        page.head("Rules that the mail thread and upstream's documentation read differently")
    said: dict[str, list[str]] = {}
    for rule, cells in found.items():
        said.setdefault("; ".join(f"{follows}: {name(ids)}" for follows, ids in cells.items()), []).append(rule)
    for how, rules in said.items():
        page.line(f"{', '.join(rules)} {'follows' if len(rules) == 1 else 'follow'} {how}", _IN)


def _skips(page: Page, done: RunDone, laid_out: Grid, name: CellNames, *, every: bool) -> None:
    """Why which rules were skipped: rules that were skipped for one reason on the same cells stand together; of many
    cells, all that were skipped for one reason."""
    skipped = skipped_rules(laid_out, done)
    if skipped and _many(done, every):
        page.head("Skipped")
        where = {reason: {cell for cells in rules.values() for cell in cells} for reason, rules in skipped.items()}
        widest = sorted(skipped, key=lambda reason: -len(where[reason]))
        for reason in widest[:_NAMED]:
            page.line(f"{some_of(skipped[reason])} on {plural(len(where[reason]), 'cell')}: {reason}", _IN)
        more = f"{plural(len(widest) - _NAMED, 'more reason')}, and " if len(widest) > _NAMED else ""
        page.whole(f"{more}which on which cell: {show_again(done)}", _IN)
        return
    found: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for reason, rules in skipped.items():
        for rule, cells in rules.items():
            found.setdefault((reason, cells), []).append(rule)
    if found:
        page.head("Skipped")
    for (reason, cells), named in found.items():
        shown = named if every else named[:_NAMED]
        more = f" and {len(named) - len(shown)} more" if len(shown) < len(named) else ""
        page.line(f"{', '.join(shown)}{more} on {name(cells)}: {reason}", _IN)
    if any(len(named) > _NAMED for named in found.values()) and not every:
        page.whole(f"all of them: {show_again(done)}", _IN)


def _missing(page: Page, done: RunDone, laid_out: Grid) -> None:
    """Cells that are not clean. Those of which nothing came have been told whole, below the grid."""
    gaps = missing(done)
    told = {flat.cell.id for flat in laid_out.flats if flat.status == "miss" and not flat.others}
    cells = [c for c in done.record.cells if c.id not in told and (not c.clean or c.id in gaps)]
    if cells:
        page.head("Cells that were lost or interrupted, or whose kernel crashed while no probe ran")
    for cell in cells:
        page.line(f"{label(cell)} {cell.trouble or 'did not finish'}", _IN, "magenta")
        for reason, rules in gaps.get(cell.id, {}).items():
            why = "" if reason == cell.reason else f": {reason}"
            page.line(f"{rules} of {plural(len(done.results[cell.id]), 'rule')} miss{why}", _DEEP)


def _consoles(page: Page, done: RunDone) -> None:
    """Quote what kernels reported, also where no probe was harmed; what has the same stack is told once."""
    alike = shared_crashes(done.record.cells)
    if alike:
        page.head("Reports on consoles")
    for one in alike:
        (cell, crash), *others = one.seen
        page.line(f"{label(cell)}: {crash.title}{_during(crash)}", _IN, "red" if crash.fatal else "yellow")
        if one.where:
            page.line(f"at {one.where}; finding {one.id}", _DEEP)
        for line in crash.lines[:_CRASH_LINES]:
            page.line(line, _DEEP, "dim")
        if len(crash.lines) > _CRASH_LINES:
            more = plural(len(crash.lines) - _CRASH_LINES, "more line")
            page.line(f"… {more} in cells/{cell.id}/console.log", _DEEP, "dim")
        for other, again in others[:_AGAIN]:
            page.line(f"the same on {label(other)}{_during(again)}", _DEEP)
        if len(others) > _AGAIN:
            page.line(f"… and {plural(len(others) - _AGAIN, 'more report')} of it", _DEEP)


def _during(crash: CrashRecord) -> str:
    return f" during {' or '.join((crash.during, *crash.also))}" if crash.during else ""


def _kernels(page: Page, done: RunDone, name: CellNames, *, every: bool) -> None:
    """Which builds the names stood for in this run."""
    builds: dict[str, list[str]] = {}
    for cell in done.record.cells:
        if found := release(cell):
            builds.setdefault(cell.arch, []).append(f"{kernel_name(cell)} is {found}")
    notes = _grouped(done.record.cells, _note)
    if builds or notes:
        page.head("Kernels")
    for arch, names in builds.items():
        distinct = [*dict.fromkeys(names)]
        if not every and len(distinct) > MANY:
            page.whole(f"{arch}: {len(distinct)} kernels, by name: {show_again(done)}", _IN)
        else:
            page.line(f"{arch}: {', '.join(distinct)}", _IN)
    for text, cells in notes.items():
        page.line(f"{name(cells)}: {text}", _IN)


def _bugs(page: Page, done: RunDone, name: CellNames, *, every: bool) -> None:
    """What is published of the kernels: of each kernel, or where they are many, of each bug."""
    found = published_bugs(done)
    by_sentence: dict[str, list[str]] = {}
    many = _many(done, every)
    for cell, bugs in found.items():
        if bugs.sentence and not (many and bugs.found):
            by_sentence.setdefault(bugs.sentence, []).append(cell)
    alike = by_bug(found) if many else []
    if by_sentence or alike:
        page.head("Published bugs")
    for one, cells in alike:
        page.line(f"{name(cells)}: {PUBLISHED}: {one.says}", _IN)
    for sentence, ids in by_sentence.items():
        page.line(f"{name(ids)}: {sentence}", _IN)


def _acceleration(cell: CellRecord) -> str:
    machine = cell.machine
    if machine is None or not machine.acceleration:
        return ""
    return ": ".join(filter(None, (machine.acceleration, machine.acceleration_reason)))


def _start(cell: CellRecord) -> str:
    """How it came up. What a restored guest came from differs from cell to cell, and stands in ``run.json``."""
    machine = cell.machine
    if cell.taken_from:
        return f"taken from an earlier run: {cell.taken_from}, which asked the same of the same bytes"
    if machine is None or not machine.start:
        return ""
    if machine.start == "warm":
        return "warm: restored from a saved guest"
    return ": ".join(filter(None, (machine.start, machine.start_reason)))


def _note(cell: CellRecord) -> str:
    return cell.kernel.note if cell.kernel else ""


def _garbage(cell: CellRecord) -> str:
    return f"{plural(cell.garbage, 'line')} in the stream were no records" if cell.garbage else ""


def _lacking(cell: CellRecord) -> str:
    """What the profile asked for and the guest could not set up: rules that need it were skipped."""
    notes = cell.machine.notes if cell.machine else ()
    return f"could not be provided: {'; '.join(notes)}" if notes else ""


def _filter(cell: CellRecord) -> str:
    return cell.machine.filter if cell.machine else ""


def _machines(page: Page, done: RunDone, name: CellNames, *, every: bool) -> None:
    many = _many(done, every)
    facts = (
        ("Acceleration", _acceleration),
        ("Start", _start),
        ("Workers", ran_on),
        ("Machines", _lacking),
        ("Seccomp filter", _filter),
        ("Streams", _garbage),
    )
    for title, fact in facts:
        told = _grouped(done.record.cells, fact)
        if told:
            page.head(title)
        if many and fact in (_acceleration, _start):
            counts = Counter[str]()
            for text, cells in told.items():
                counts[text.partition(":")[0]] += len(cells)
            page.line(", ".join(f"{plural(number, 'cell')} {word}" for word, number in counts.items()), _IN)
            continue
        for text, cells in told.items():
            alike = fact in (_acceleration, _start) and len(told) == 1 and len(cells) > 1
            who = "all cells that booted" if alike else name(cells)
            page.line(f"{who}: {text}", _IN)


def _grouped(cells: Iterable[CellRecord], fact: Callable[[CellRecord], str]) -> Mapping[str, list[str]]:
    """Cells by what a fact says of them; those of which it says nothing are left out."""
    groups: dict[str, list[str]] = {}
    for cell in cells:
        if text := fact(cell):
            groups.setdefault(text, []).append(cell.id)
    return groups
