"""The page itself: a template filled with a run, and everything it needs inside one file."""

from __future__ import annotations

import base64
import errno
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cache
from hashlib import sha256
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from harness.model.rule import Check, Rule
from harness.model.verdict import KINDS, STATUSES, Kind, Status
from harness.reports.findings import findings
from harness.reports.grid import variants
from harness.reports.page.columns import columns
from harness.reports.page.facts import PageGrid, evidence, lay_out, outline
from harness.reports.page.seen import Sightings
from harness.reports.page.timeline import timelines
from harness.reports.style import MARKS
from harness.runs.causes import told_causes
from harness.runs.cells import plural, status_counts, together
from harness.runs.model import RunDone
from harness.runs.programs import Reproduce
from harness.runs.published_bugs import published_bugs

_FINDINGS = 40
_BESIDE = 20  # columns of a grid that leaves room for the findings at its side
# Characters that HTML cannot carry, and halves of characters that UTF-8 cannot.
_NOT_HTML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")


def page_html(
    done: RunDone,
    sightings: Sightings | None = None,
    reproduce: Reproduce | None = None,
    news: Sequence[str] = (),
) -> str:
    """The whole page. ``sightings`` has read the cells' journals; without them the page has verdicts only. ``news`` are
    the lines with which a night ended."""
    found = columns(done.record)
    grid = lay_out(done, found)
    letters = [variants(row) for row in grid.results]
    small = outline(grid, done) | {
        "statuses": [[status, MARKS[status].glyph] for status in STATUSES],
        "kinds": list(KINDS),
        "letters": [list(row) for row in letters],
        "flat": list(grid.flat),
        "errnos": {str(number): name for number, name in errno.errorcode.items()},
    }
    large = evidence(grid, done, sightings or Sightings())
    large["reproducers"] = _reproducers(grid, reproduce)
    script = _asset("page.js")
    text = _environment().get_template("page.html.j2").render(
        done=done,
        run=done.record,
        headline=headline(done),
        news=news,
        counted=plural,
        beside=len(grid.columns) <= _BESIDE,
        counts=status_counts(done),
        kinds=_kinds(done),
        marks=MARKS,
        causes=told_causes(done, reproduce or (lambda rule, probe: ""))[:_FINDINGS],
        findings=_told_findings(done),
        families=_families(grid, letters),
        arches=[(arch, list(group)) for arch, group in groupby(grid.columns, lambda c: c.cell.arch)],
        columns=grid.columns,
        timelines=timelines(grid),
        bugs=published_bugs(done),
        outline=Markup(script_json(small)),
        evidence=Markup(packed(large)),
        style=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=base64.b64encode(sha256(script.encode()).digest()).decode("ascii"),
    )  # fmt: skip
    return _NOT_HTML.sub("\N{REPLACEMENT CHARACTER}", text)


@cache
def _environment() -> Environment:
    loader = PackageLoader("harness.reports", "templates/page")
    return Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def _asset(name: str) -> str:
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0]


def stylesheet() -> str:
    """The page's style, for other pages that are to look like it."""
    return _asset("page.css")


def script_json(data: Any) -> str:
    """JSON that can stand in a script element: nothing in it can end the element or open a comment."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c").replace(">", "\\u003e")


def packed(data: Any) -> str:
    """JSON, deflated (RFC 1950), in base64."""
    return base64.b64encode(zlib.compress(json.dumps(data, separators=(",", ":")).encode("ascii"), 6)).decode("ascii")


def headline(done: RunDone) -> str:
    """The run in one sentence, worst first, and never better than the verdicts."""
    worst: dict[str, set[str]] = {}
    where: dict[str, set[str]] = {}
    for cell, results in done.results.items():
        for result in results:
            worst.setdefault(result.status, set()).add(result.rule.id)
            where.setdefault(result.status, set()).add(cell)
    cells = len(done.record.cells)
    told = []
    for status, one, more in (("fail", "fails", "fail"), ("error", "gave an error", "gave an error")):
        if number := len(worst.get(status, ())):
            verb = one if number == 1 else more
            told.append(f"{plural(number, 'rule')} {verb} on {len(where[status])} of {plural(cells, 'cell')}")
    lost = [cell for cell in done.record.cells if not cell.whole]
    crashed = [cell for cell in done.record.cells if cell.whole and not cell.clean]
    if lost:
        told.append(f"{len(lost)} of {plural(cells, 'cell')} did not finish")
    elif "miss" in worst:
        told.append(f"{plural(len(worst['miss']), 'rule')} without an answer")
    if crashed:
        told.append(f"{len(crashed)} of {cells} kernels crashed while no probe ran")
    if done.record.state == "interrupted":
        told.insert(0, "Interrupted")
    if not told and not worst:
        return "Nothing was judged."
    return "; ".join(told) + "." if told else "No rule fails."


def _kinds(done: RunDone) -> Mapping[str, int]:
    found = Counter(r.kind for results in done.results.values() for r in results if r.kind)
    return {kind: found[kind] for kind in KINDS if found[kind]}


def _told_findings(done: RunDone) -> Sequence[Mapping[str, Any]]:
    """What no cause explains: it is no failure."""
    found = [
        {
            "rule": finding.rule,
            "status": finding.first.status,
            "kind": finding.first.kind,
            "reason": finding.first.reason,
            "probe": finding.first.probe,
            "where": together(done.record, finding.cells),
            "cell": finding.cells[0],
        }
        for finding in findings(done)
        if finding.first.status != "fail"
    ]
    return found[:_FINDINGS]


def _families(grid: PageGrid, letters: Sequence[Sequence[str]]) -> Sequence[tuple[str, Sequence[tuple[Check, Markup]]]]:
    """By family: each rule with the tiles of its row."""
    rows = [
        (rule, Markup().join(_tile(r and r.status, r and r.kind, of[i] if of else "") for i, r in enumerate(row)))
        for rule, row, of in zip(grid.rules, grid.results, letters, strict=True)
    ]
    return [(family, list(group)) for family, group in groupby(rows, lambda row: row[0].family)]


@cache
def _tile(status: Status | None, kind: Kind | None, letter: str) -> Markup:
    """One cell of the grid. ``letter`` tells behaviours apart where nothing is promised."""
    if status is None:
        return Markup('<td class="none" role="gridcell" aria-label="not run"></td>')
    says = f"{status} {kind}" if kind else status
    if not letter:
        return Markup('<td class="{}" role="gridcell" aria-label="{}">{}</td>').format(
            status, says, MARKS[status].glyph
        )
    return Markup('<td class="{}" role="gridcell" aria-label="{}, behaviour {}">{}<sup>{}</sup></td>').format(
        status, says, letter, MARKS[status].glyph, letter
    )


def _reproducers(grid: PageGrid, reproduce: Reproduce | None) -> Mapping[str, str]:
    """By rule and probe: a program for each cell's worst verdict; one for every probe would be too many."""
    if reproduce is None:
        return {}
    wrong = {
        (rule.id, result.worst.probe): rule
        for rule, row in zip(grid.rules, grid.results, strict=True)
        for result in row
        if result and result.status in ("fail", "known")
    }
    return {
        f"{name} {probe}": text
        for (name, probe), rule in wrong.items()
        if isinstance(rule, Rule) and (text := reproduce(rule, probe))
    }
