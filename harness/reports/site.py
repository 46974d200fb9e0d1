"""Static pages of the history: the trend, each rule over time, each run's, each kernel's and each regression's page.

Addresses stay: a rule's page has its id, a run's the run's, a regression's its name, a kernel's its digest.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from sqlalchemy import Connection

from harness.errors import StoreError, UsageError
from harness.history.kernels import KernelHistory, KernelStanding, kernel_histories, naming
from harness.history.queries import RuleHistory, RunLine, latest_results, rule_history, rule_names, runs
from harness.history.regressions import LIVING, Regression, regressions
from harness.kernels.versions import version_key
from harness.model.atomic_files import write_text
from harness.model.rule import Rule
from harness.model.run_record import read_run
from harness.model.stored_files import read_stored
from harness.model.verdict import STATUSES, Status
from harness.names import NotAName, identifier
from harness.nightly.marks import read_mark
from harness.nightly.messages import repeating
from harness.reports.feed import feed
from harness.reports.junit import PAGES
from harness.reports.page import stylesheet
from harness.reports.style import MARKS
from harness.reports.write import page_of
from harness.runs.published_bugs import bugs_of
from harness.runs.repeats import first_id, repeat_of
from harness.runs.run_store import NIGHTLY, load_run

# Runs a rule's page shows side by side.
_SHOWN = 60
_HEIGHT, _STEP = 120, 12
_QUIET: frozenset[str] = frozenset({"pass", "observed", "skip"})
_NAME = re.compile(r"\b(R\d+)\b")  # of a regression, in a line of news
_STACK: tuple[Status, ...] = tuple(reversed(STATUSES))


@dataclass(frozen=True)
class Built:
    """What was written; ``remarks`` tell what was left out."""

    runs: int
    rules: int
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class TrendBar:
    """A part of a run's column in the trend; units of the SVG."""

    status: Status
    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True)
class TrendMark:
    """One run of a rule in one cell; empty where the run had no such cell."""

    status: str
    glyph: str
    says: str
    run: str


def build_site(connection: Connection, output: Path, catalogue: Mapping[str, Rule], limit: int) -> Built:
    """Write the site. Runs whose folder is gone stay in the trend without a page. Raises ``StoreError``."""
    newest = runs(connection, limit)
    remarks, pages = [], set()
    for run in newest:
        try:
            _write(output / "runs" / identifier(run.id) / "report.html", _report(run, catalogue))
            pages.add(run.id)
        except (UsageError, NotAName) as problem:
            remarks.append(f"run {run.id} has no page: {problem}")
    rules = []
    told = {run.id for run in newest}
    for rule in rule_names(connection):
        try:  # others may write to the database
            path = output / "rules" / f"{identifier(rule.replace('/', '__'))}.html"  # a test's id is a path
        except NotAName as problem:
            remarks.append(f"a rule has no page: {problem}")
            continue
        rules.append(rule)
        _write(path, rule_page(rule_history(connection, rule), newest, pages))
    found = regressions(connection)
    kernels = kernel_histories(connection)
    for one in found:
        _write(output / "regressions" / f"{one.name}.html", regression_page(one, kernels, rules, pages))
    _write(output / "regressions" / "index.html", _regressions(found))
    for kernel in kernels:
        try:
            path = output / "kernels" / f"{identifier(kernel.page)}.html"
        except NotAName as problem:
            remarks.append(f"a kernel has no page: {problem}")
            continue
        _write(path, kernel_page(kernel, found, rules, pages))
    _write(output / "kernels" / "index.html", _kernels(kernels, pages))
    _write(output / "feed.xml", feed(found, os.environ.get(PAGES, "").rstrip("/")))
    _write(output / "style.css", stylesheet())
    last = latest_results(connection, newest[-1].id) if newest else ()
    _write(output / "index.html", index_page(newest, pages, last, rules, found))
    return Built(len(told), len(rules), tuple(remarks))


def _report(run: RunLine, catalogue: Mapping[str, Rule]) -> str:
    """The run's own page; made anew where it was never written, or is not what the run wrote."""
    folder = Path(run.folder)
    record = read_run(folder)
    try:
        data = read_stored(folder / "report.html")
    except OSError:
        data = b""
    if sha256(data).hexdigest() == record.reports.get("report.html"):
        return data.decode("utf-8")
    return page_of(load_run(folder, catalogue))


def index_page(
    newest: Sequence[RunLine],
    pages: set[str],
    last: Sequence[tuple[str, str, str, str]],
    rules: Sequence[str],
    known: Sequence[Regression] = (),
) -> str:
    """The first page: the trend, the runs newest first, and the rules with how they stand in the newest run."""
    standing: dict[str, dict[str, int]] = {rule: {} for rule in rules}
    for rule, _, _, status in last:
        if rule not in standing:
            continue  # it has no page
        standing[rule][status] = standing[rule].get(status, 0) + 1
    ordered = {rule: {s: found[s] for s in STATUSES if s in found} for rule, found in standing.items()}
    width = max(len(newest), 1) * _STEP
    return _render(
        "index.html.j2",
        runs=list(reversed(newest)),
        pages=pages,
        bars=list(zip(newest, trend(newest), strict=True)),
        width=width,
        height=_HEIGHT,
        rules=ordered,
        statuses=STATUSES,
        news=[_NAME.split(line) for line in _news(newest)],
        named={one.name for one in known},
        living=[one for one in reversed(known) if one.state in LIVING],
    )


def _news(newest: Sequence[RunLine]) -> tuple[str, ...]:
    """What the last night ended with."""
    for run in reversed(newest):
        folder = Path(run.folder)
        if (folder / NIGHTLY).is_file():
            try:
                return read_mark(folder).news
            except UsageError:
                continue
    return ()


def regression_page(one: Regression, kernels: Sequence[KernelHistory], rules: Sequence[str], pages: set[str]) -> str:
    """One regression: where it was seen, the commands that repeat it, what happened to it."""
    cells = [(cell, naming(kernels, cell, one.first, one.last)) for cell in one.cells]
    return _render("regression.html.j2", one=one, cells=cells, commands=repeating(one), rules=rules, pages=pages)


def _regressions(found: Sequence[Regression]) -> str:
    newest = list(reversed(found))
    living = [one for one in newest if one.state in LIVING]
    return _render("regressions.html.j2", living=living, ended=[one for one in newest if one not in living])


def _kernels(kernels: Sequence[KernelHistory], pages: set[str]) -> str:
    counts = [one.cells[0].counts for one in kernels]
    return _render("kernels.html.j2", kernels=kernels, statuses=_occurring(counts), pages=pages)


def _occurring(counts: Iterable[Mapping[str, int]]) -> tuple[Status, ...]:
    """Statuses that some of the counts have: a table needs no column for the others."""
    seen = {status for found in counts for status, number in found.items() if number}
    return tuple(status for status in STATUSES if status in seen)


def kernel_page(one: KernelHistory, known: Sequence[Regression], rules: Sequence[str], pages: set[str]) -> str:
    """One kernel: how the rules stand on it, what went wrong first, and the runs that had it."""
    ordered = sorted(one.standing, key=lambda standing: STATUSES.index(standing.status))
    quiet: dict[str, list[KernelStanding]] = {}
    for standing in ordered:
        if standing.status in _QUIET:
            quiet.setdefault(standing.status, []).append(standing)
    return _render(
        "kernel.html.j2",
        one=one,
        bugs=bugs_of(one.version, {standing.rule: standing.status for standing in reversed(ordered)}),
        told=[standing for standing in ordered if standing.status not in _QUIET],
        quiet=quiet,
        regressions=[r for r in reversed(known) if any(one in naming([one], c, r.first, r.last) for c in r.cells)],
        rules=rules,
        pages=pages,
        statuses=_occurring(cell.counts for cell in one.cells),
    )


def trend(newest: Sequence[RunLine]) -> list[tuple[TrendBar, ...]]:
    """One column a run, oldest first: how many rules have which status, all cells together. A cell that is not clean
    counts as one more error."""
    most = max((sum(run.counts.values()) + run.unclean for run in newest), default=0) or 1
    columns = []
    for number, run in enumerate(newest):
        y = float(_HEIGHT)
        bars = []
        for status in _STACK:
            if count := run.counts.get(status, 0) + (run.unclean if status == "error" else 0):
                # What went wrong must be seen among a thousand passes.
                height = max(_HEIGHT * 0.9 * count / most, 2.0)
                y -= height
                bars.append(TrendBar(status, number * _STEP + 1, round(y, 2), _STEP - 2, round(height, 2)))
        columns.append(tuple(bars))
    return columns


def rule_page(found: RuleHistory, newest: Sequence[RunLine], pages: set[str]) -> str:
    """One rule: cells by runs."""
    shown = [run for run in newest if any(point.run == run.id for point in found.points)][-_SHOWN:]
    cells: dict[str, dict[str, TrendMark]] = {}
    wanted = {run.id for run in shown}
    for point in found.points:
        if point.run in wanted:
            unclean = "" if point.state == "finished" else f", the cell is {point.state}"
            said = f"{point.status} {point.kind}".strip() + unclean
            says = said + f", {point.run}: {point.release} {point.reason}".rstrip()
            mark = TrendMark(point.stands, MARKS[point.stands].glyph, says, point.run)  # type: ignore[index]
            cells.setdefault(point.cell, {})[point.run] = mark
    rows = [(cell, [marks.get(run.id) for run in shown]) for cell, marks in sorted(cells.items(), key=_by_version)]
    statuses = {mark.status for _, found_marks in rows for mark in found_marks if mark is not None}
    return _render("rule.html.j2", rule=found, runs=shown, rows=rows, pages=pages, statuses=statuses)


def _by_version(row: tuple[str, object]) -> Any:
    """Cells by their names, and numbers in them as numbers: 6.12.43 before 6.12.117; repeats behind their cell."""
    return version_key(first_id(row[0])), repeat_of(row[0])


@cache
def _environment() -> Environment:
    loader = PackageLoader("harness.reports", "site_templates")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _render(name: str, **facts: object) -> str:
    text = _environment().get_template(name).render(marks=MARKS, quietly=_QUIET, **facts)
    return text.encode("utf-8", "replace").decode("utf-8")


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as problem:
        raise StoreError(f"{path.parent}: cannot be written: {problem.strerror}") from problem
    write_text(path, text)
