"""A run as Markdown that GitHub and GitLab render: for job summaries and merge request comments, so kept short.

What is new stands first, then what failed, by cause, then the grid: of many cells only those that differ.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from harness.model.run_record import CellRecord
from harness.model.verdict import STATUSES, Status
from harness.names import escaped
from harness.reports.details import MANY
from harness.reports.findings import Finding, findings
from harness.reports.folding import Folded, folded
from harness.reports.grid import Flat, Grid, GridRow, grid, grouped_flats
from harness.reports.nouns import noun
from harness.reports.style import MARKS
from harness.runs.causes import told_causes
from harness.runs.cells import (
    few,
    kernel_name,
    label,
    plural,
    profile_suffix,
    release,
    repeat_suffix,
    status_counts,
    together,
)
from harness.runs.model import RunDone
from harness.runs.published_bugs import PUBLISHED, KernelBugs, by_bug, published_bugs

# A comment may have 65,536 characters on GitHub; this many findings stay below that.
_FINDINGS = 30
_REASON = 400
_NAMED = 3  # rules of a cell with one thing to say, that say another
_ALWAYS: frozenset[Status] = frozenset({"fail", "error", "miss"})
# What begins a construct inside a line in one of the two dialects; ``@``, ``#`` and ``!`` would call people and issues.
_SPECIAL = re.compile(r"[\\`*_\[\]<>#!|~@$&%]")


def markdown(done: RunDone, news: Sequence[str] = ()) -> str:
    """The whole document. ``news`` are the lines with which a night ended."""
    laid_out = grid(done)
    above = [*_head(done), *_news(news), *_causes(done), *_grid(done, laid_out), *_flats(done, laid_out.flats)]
    lines = [*above, *_findings(done), *_kernels(done)]
    return "\n".join(lines) + "\n"


def text(words: str) -> str:
    """Words that render as they are: on one line, with nothing in them that either dialect would act on."""
    shown = " ".join("".join(c if c.isprintable() else escaped(c) for c in words).split())
    return _SPECIAL.sub(lambda match: f"\\{match[0]}" if match[0] not in "<>&@" else f"&#{ord(match[0])};", shown)


def code(words: str) -> str:
    """Words in a code span, which takes no escapes: a backtick becomes an apostrophe, a bar ends no table cell."""
    shown = " ".join("".join(c if c.isprintable() else escaped(c) for c in words).split())
    return f"`{shown.replace('`', chr(39)).replace('|', '¦')}`" if shown else ""


def _head(done: RunDone) -> Iterator[str]:
    counts = status_counts(done)
    told = ", ".join(f"{counts[s]} {s}" for s in STATUSES if counts[s] or s in _ALWAYS)
    found: list[Status] = [s for s in STATUSES if counts[s]] or ["miss"]
    unclean = [cell for cell in done.record.cells if not cell.clean]
    worst: Status = "error" if unclean and found[0] != "fail" else found[0]
    yield f"## {MARKS[worst].glyph} Memory sealing: {told}"
    yield ""
    for cell in unclean:
        yield f"- {MARKS['error'].glyph} **{text(label(cell))}** {text(cell.trouble[:_REASON])}"
    if unclean:
        yield ""
    state = "" if done.record.state == "finished" else f" The run is **{done.record.state}**."
    state += " **No rule was asked.**" if done.unasked else ""
    cells = plural(len(done.record.cells), "cell")
    yield f"Run {code(done.record.id)}, {cells}, payload {code(done.record.payload_id)}.{state}"
    yield ""


def _news(news: Sequence[str]) -> Iterator[str]:
    if news:
        yield "### Since last night"
        yield ""
        yield from (f"- {text(line)}" for line in news)
        yield ""


def _causes(done: RunDone) -> Iterator[str]:
    """What failed, by cause, with the commands that follow."""
    found = told_causes(done)
    if not found:
        return
    yield "### What failed, by cause"
    yield ""
    for one in found[:_FINDINGS]:
        yield f"- {MARKS['fail'].glyph} **{text(one.sentence)}**"
        for line in one.evidence():
            yield f"  {text(line[:_REASON])}  "
        kinds = {verdict.rule: verdict.kind for verdict in reversed(one.cause.verdicts)}
        yield f"  {', '.join(f'**fail {kind}** {code(rule)}' for rule, kind in kinds.items())}  "
        for command in one.commands:
            yield f"  {text(command.what)}: {code(command.line)}  "
    if len(found) > _FINDINGS:
        yield f"- and {len(found) - _FINDINGS} more: {code(f'sealmatrix show {done.record.id}')}"
    yield ""


def _grid(done: RunDone, laid_out: Grid) -> Iterator[str]:
    """All cells where they are few. Of many the rules that are news, then who agrees, then all other rules, counted."""
    if len(laid_out.cells) <= MANY:
        yield from _table(laid_out)
        return
    found: Folded = folded(laid_out)
    yield from _table(found.grid)
    for group in found.agreeing:
        names = few(done.record, [cell.id for cell in group.others])
        yield f"- {plural(len(group.others), 'cell')} like **{text(group.like)}**: {text(names)}"
    for one in found.counted:
        yield f"- {MARKS[one.status].glyph} {text(one.says)}"
    yield ""


def _table(laid_out: Grid) -> Iterator[str]:
    if not laid_out.rows:
        return
    heads = [_column(cell) for cell in laid_out.cells]
    yield f"| rule | {' | '.join(heads)} |"
    yield f"|:--|{':-:|' * len(heads)}"
    for row in laid_out.rows:
        yield f"| {_row_name(row)} | {' | '.join(_word(row, i) for i in range(len(heads)))} |"
    yield ""
    seen = {result.status for row in laid_out.rows for result in row.results if result}
    yield ", ".join(f"{MARKS[s].glyph} {s}: {MARKS[s].says}" for s in STATUSES if s in seen)
    yield ""


def _column(cell: CellRecord) -> str:
    parts = (kernel_name(cell), cell.arch, profile_suffix(cell), repeat_suffix(cell), "" if cell.clean else cell.state)
    return "<br>".join(text(part) for part in parts if part)


def _row_name(row: GridRow) -> str:
    if len(row.rules) == 1:
        return code(row.rules[0].id)
    return f"{text(row.rules[0].family)}: {plural(len(row.rules), noun(row.rules))}"


def _word(row: GridRow, column: int) -> str:
    result = row.results[column]
    if result is None:
        return ""
    parts = [MARKS[result.status].glyph, result.kind or ("" if result.status in ("pass", "skip") else result.status)]
    if result.status == "observed":
        parts[1] = row.variants[column] if row.variants else ""
    return " ".join(filter(None, parts))


def _flats(done: RunDone, flats: Sequence[Flat]) -> Iterator[str]:
    """Cells with one thing to say; those that say the same stand together."""
    for group in grouped_flats(flats):
        flat = group[0]
        share = f"{flat.rules} of {plural(flat.total, 'rule')} {flat.status}"
        names = together(done.record, [one.cell.id for one in group])
        yield f"- **{text(names)}**: {share}: {text(flat.reason)}"
        for status, reason, rules in flat.others:
            named = ", ".join(map(code, rules)) if len(rules) <= _NAMED else plural(len(rules), "rule")
            yield f"  - {status}: {named}" + (f": {text(reason)}" if reason else "")
    if flats:
        yield ""


def _findings(done: RunDone) -> Iterator[str]:
    found = [finding for finding in findings(done) if finding.first.status != "fail"]
    if not found:
        return
    yield "<details open><summary>What else was found, worst first</summary>"
    yield ""
    for finding in found[:_FINDINGS]:
        yield from _finding(done, finding)
    if len(found) > _FINDINGS:
        yield f"- and {len(found) - _FINDINGS} more: {code(f'sealmatrix show {done.record.id} --all')}"
    yield ""
    yield "</details>"
    yield ""


def _finding(done: RunDone, finding: Finding) -> Iterator[str]:
    first = finding.first
    what = f"{first.status} {first.kind}" if first.kind else first.status
    names = few(done.record, finding.cells)
    yield f"- {MARKS[first.status].glyph} **{what}** {code(finding.rule.id)} on {text(names)}"
    yield f"  {text(finding.rule.statement)}  "
    yield f"  {code(first.probe)}: {text(first.reason[:_REASON])}"


def _kernels(done: RunDone) -> Iterator[str]:
    bugs = published_bugs(done)
    yield "<details><summary>Kernels</summary>"
    yield ""
    yield f"| cell | release | acceleration | state | {PUBLISHED} |"
    yield "|:--|:--|:--|:--|:--|"
    for cell in done.record.cells:
        machine = cell.machine
        acceleration = ", ".join(filter(None, (machine.acceleration, machine.start))) if machine else ""
        state = text(cell.trouble or cell.state)
        has = _bugs(bugs[cell.id]) if cell.id in bugs else ""
        yield f"| {text(label(cell))} | {text(release(cell))} | {acceleration} | {state} | {has} |"
    yield ""
    for one, cells in by_bug(bugs):
        yield f"- **{text(one.bug.id)}** {text(one.bug.title)}: {text(few(done.record, cells))} ({text(one.seen)})"
    yield ""
    yield "</details>"


def _bugs(found: KernelBugs) -> str:
    """The bugs of one kernel; what sees them stands below the table."""
    named = ", ".join(one.bug.id for one in found.found)
    return text("; ".join(filter(None, (named, f"not known: {found.outside}" if found.outside else ""))))
