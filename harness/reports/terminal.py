"""A run on the terminal: the matrix of rules by cells, what went wrong, how it was run, and one line of sums."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from harness.compare.comparison import Comparison
from harness.model.run_record import CellRecord
from harness.model.verdict import STATUSES, Status
from harness.reports.compare import print_comparison
from harness.reports.details import FULL, MANY, print_causes, print_details, show_again
from harness.reports.folding import Folded, folded
from harness.reports.grid import Flat, Grid, GridRow, grid, grouped_flats
from harness.reports.nouns import noun
from harness.reports.style import MARKS, SHORT_KINDS, Ink, Page
from harness.runs.causes import told_causes
from harness.runs.cells import few, kernel_name, plural, profile_suffix, repeat_suffix, status_counts, together
from harness.runs.model import RunDone

_GAP = 2
_HEADLINES = 3  # causes told again beside the sums: what stands above may have scrolled away
_RULE_WIDTH = 34
_HEAD_WIDTH = 9
# Told even when there are none.
_ALWAYS: frozenset[Status] = frozenset({"fail", "error", "miss"})


def print_run(
    console: Console,
    done: RunDone,
    *,
    every: bool = False,
    comparison: Comparison | None = None,
    news: Sequence[str] = (),
) -> None:
    """Print a whole run. ``every``: one line for each rule, and every finding in full. What is new and what failed
    stand first, for that is on the first screen; then the ``comparison`` with the kernels of the run that are
    baselines. ``news`` are the lines with which a night ended."""
    page = Page(console)
    run = done.record
    page.line(f"run {run.id}: {_size(done)}, payload {run.payload_id}", style="bold")
    if news:
        page.head("Since last night")
    for line in news:
        page.line(line, _GAP)
    found = told_causes(done)
    print_causes(page, done, found)
    if comparison is not None:
        console.print()
        print_comparison(console, comparison, every=every, causes=found[:FULL])
    laid_out = grid(done, every)
    many = len(laid_out.cells) > MANY and bool(laid_out.rows) and not every
    wide = many and len(list(_blocks(console, page.ink, laid_out))) > 1
    if wide:
        _print_folded(console, page, done, folded(laid_out))
    else:
        _print_grid(console, page.ink, laid_out)
    _print_flats(page, done, laid_out.flats)
    print_details(page, done, laid_out, every=every)
    page.blank()
    for one in found[:_HEADLINES]:
        page.line(f"{page.ink.glyph('fail')} {one.sentence}", style=MARKS["fail"].style)
    page.line(last_line(page.ink, done))
    console.print(Text(page.ink.safe(str(done.folder))), soft_wrap=True)


def _size(done: RunDone) -> str:
    most = max(done.results.values(), key=len, default=())
    return f"{plural(len(done.record.cells), 'cell')}, {plural(len(most), noun(result.rule for result in most))}"


def last_line(ink: Ink, done: RunDone) -> Text:
    """``7 cells, 84 rules: 0 fail, 0 error, 0 miss, 500 pass``; every rule counts once for each cell."""
    counts = status_counts(done)
    text = Text(ink.safe(f"{_size(done)}: "), style="bold")
    told = [status for status in STATUSES if counts[status] or status in _ALWAYS]
    for i, status in enumerate(told):
        style = MARKS[status].style if counts[status] else "dim"
        text.append(", " if i else "", style="not bold").append(f"{counts[status]} {status}", style=style)
    unclean = Counter(cell.state for cell in done.record.cells if not cell.clean)
    for state, number in unclean.items():
        text.append(f"; {plural(number, 'cell')} {state}", style="bold magenta")
    if done.unasked:
        text.append("; no rule was asked", style="bold red")
    if done.record.state != "finished":
        text.append(f"; {done.record.state}", style="bold red")
    return text


def _print_grid(console: Console, ink: Ink, laid_out: Grid) -> None:
    if not laid_out.rows:
        return
    blocks = list(_blocks(console, ink, laid_out))
    for columns, short in blocks:
        console.print()
        console.print(_block(ink, laid_out, columns, short), soft_wrap=False)
    console.print()
    for line in _legend(ink, laid_out, any(short for _, short in blocks), console.width):
        console.print(line)


def _print_folded(console: Console, page: Page, done: RunDone, found: Folded) -> None:
    """A grid that does not fit: the rules that are news, then which cells agree, then all other rules, counted."""
    _print_grid(console, page.ink, found.grid)
    ink = page.ink
    page.blank()
    for group in found.agreeing:
        names = few(done.record, [cell.id for cell in group.others])
        page.line(f"{plural(len(group.others), 'cell')} like {group.like}: {names}")
    for one in found.counted:
        page.line(Text(f"{ink.glyph(one.status)} ", style=MARKS[one.status].style).append(one.says))
    if found.varying:
        page.whole(f"each rule on each cell: {show_again(done)}")


def _blocks(console: Console, ink: Ink, laid_out: Grid) -> Iterator[tuple[range, bool]]:
    """Cut the columns into tables that fit: all together, or by architecture, or as many as go in.

    Yields each table's columns and whether it needs the short words. No column is ever left out.
    """
    everything = range(len(laid_out.cells))
    for short in (False, True):
        if _width(ink, laid_out, everything, short) <= console.width:
            yield everything, short
            return
    for part in _by_arch(laid_out.cells):
        start = part.start
        while start < part.stop:
            stop = start + 1
            while stop < part.stop and _width(ink, laid_out, range(start, stop + 1), True) <= console.width:
                stop += 1
            yield range(start, stop), True
            start = stop


def _by_arch(cells: Sequence[CellRecord]) -> Iterator[range]:
    start = 0
    for i in range(1, len(cells) + 1):
        if i == len(cells) or cells[i].arch != cells[start].arch:
            yield range(start, i)
            start = i


def _width(ink: Ink, laid_out: Grid, columns: range, short: bool) -> int:
    rules = max(len(line) for row in laid_out.rows for line in _row_name(row))
    return rules + sum(_GAP + _column_width(ink, laid_out, i, short) for i in columns)


def _column_width(ink: Ink, laid_out: Grid, column: int, short: bool) -> int:
    words = [len(_word(ink, row, column, short)) for row in laid_out.rows]
    return max(*words, *(len(line) for line in _head(laid_out.cells[column])))


def _head(cell: CellRecord) -> list[str]:
    """A column's head: the kernel's name over its architecture, the profile where it is not the standard one, and the
    state of a cell that is not clean."""
    return [
        *fold(kernel_name(cell), _HEAD_WIDTH),
        cell.arch,
        *fold(profile_suffix(cell), _HEAD_WIDTH),
        *fold(repeat_suffix(cell), _HEAD_WIDTH),
        *([] if cell.clean else [cell.state]),  # a word of ours: broken in two it would be none
    ]


def _row_name(row: GridRow) -> list[str]:
    if len(row.rules) == 1:
        return fold(row.rules[0].id, _RULE_WIDTH)
    return fold(f"{row.rules[0].family}: {plural(len(row.rules), noun(row.rules))}", _RULE_WIDTH)


def _word(ink: Ink, row: GridRow, column: int, short: bool) -> str:
    result = row.results[column]
    if result is None:
        return ""
    glyph = ink.glyph(result.status)
    if result.status == "observed" and row.variants:
        return f"{glyph} {row.variants[column]}"
    if result.kind is None:
        return glyph if result.status in ("pass", "observed", "skip") else f"{glyph} {result.status}"
    return f"{glyph} {SHORT_KINDS[result.kind] if short else result.kind}"


def _block(ink: Ink, laid_out: Grid, columns: range, short: bool) -> Table:
    table = Table(box=None, padding=(0, _GAP, 0, 0), pad_edge=False, header_style="bold")
    table.add_column("rule", vertical="bottom", overflow="fold")
    heads = [_head(laid_out.cells[i]) for i in columns]
    tallest = max(len(head) for head in heads)
    for i, head in zip(columns, heads, strict=True):
        lines = [""] * (tallest - len(head)) + head
        width = _column_width(ink, laid_out, i, short)
        table.add_column(Text("\n".join(map(ink.safe, lines))), min_width=width, no_wrap=True)
    for row in laid_out.rows:
        words = [_word(ink, row, i, short) for i in columns]
        styles = [MARKS[result.status].style if (result := row.results[i]) else "" for i in columns]
        cells = [Text(word, style=style) for word, style in zip(words, styles, strict=True)]
        table.add_row(Text("\n".join(map(ink.safe, _row_name(row)))), *cells)
    return table


def _legend(ink: Ink, laid_out: Grid, short: bool, width: int) -> Iterator[Text]:
    """What the glyphs mean, those that appear."""
    results = [r for row in laid_out.rows for r in row.results if r is not None]
    seen = {r.status for r in results}
    line = Text()
    for status in (s for s in STATUSES if s in seen):
        entry = Text().append(f"{ink.glyph(status)} {status} ", style=MARKS[status].style)
        entry.append(MARKS[status].says, style="dim")
        if line and len(line) + 3 + len(entry) > width:
            yield line
            line = Text()
        line = line + Text("   ") + entry if line else entry
    yield line
    kinds = {r.kind: SHORT_KINDS[r.kind] for r in results if r.kind is not None and SHORT_KINDS[r.kind] != r.kind}
    if short and kinds:
        yield Text(", ".join(f"{word} = {kind}" for kind, word in kinds.items()), style="dim")
    if any(row.variants for row in laid_out.rows):
        yield Text("A, B: cells with the same letter were observed to behave the same", style="dim")


def _print_flats(page: Page, done: RunDone, flats: Sequence[Flat]) -> None:
    if flats:
        page.blank()
    ink = page.ink
    for group in grouped_flats(flats):
        flat = group[0]
        whole = flat.total > 1 and not flat.others
        share = f"all {flat.total} rules" if whole else f"{flat.rules} of {plural(flat.total, 'rule')}"
        text = Text(f"{ink.glyph(flat.status)} ", style=MARKS[flat.status].style)
        text.append(ink.safe(together(done.record, (f.cell.id for f in group))), style="bold")
        page.line(text.append(ink.safe(f": {share} {flat.status}: {flat.reason}")))
        for status, reason, rules in flat.others:
            names = ", ".join(rules) if len(rules) <= 3 else plural(len(rules), "rule")
            page.line(f"{ink.glyph(status)} {status}: {names}" + (f": {reason}" if reason else ""), 4)


def fold(text: str, width: int) -> list[str]:
    """Break a name into lines of at most ``width`` characters, at its hyphens and spaces where that is possible."""
    lines: list[str] = []
    rest = text
    while len(rest) > width:
        cut = max(rest.rfind(c, 0, width) for c in "-_ ") + 1
        cut = cut or width
        lines.append(rest[:cut].rstrip(" "))
        rest = rest[cut:]
    return [*lines, rest] if rest else lines
