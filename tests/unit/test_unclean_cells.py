"""A cell whose guest was lost, or whose kernel crashed while no probe ran, is clean for no report and no consumer.

The cells are real: in each of them every probe was observed, and what the rules say is as good as on the healthy one.
"""

from __future__ import annotations

import io
import json
import re
from dataclasses import replace
from datetime import date
from pathlib import Path

import junitparser
import pytest
from rich.console import Console

from harness.bisect.predicate import SeenRule
from harness.bisect.trial_runner import trouble_of
from harness.cli.report import FORMATS
from harness.compare.comparison import compare_picks
from harness.compare.sides import Picked, pick
from harness.guests.console import Crash
from harness.history.database import database_url, reading
from harness.history.queries import latest_results, rule_history, runs
from harness.history.record import import_folders
from harness.model.run_record import write_run
from harness.qualify.load import parse_policy
from harness.qualify.qualification import judge_picks
from harness.reports.compare import print_comparison
from harness.reports.compare_json import comparison_json
from harness.reports.junit_compare import comparison_xml
from harness.reports.page import page_html
from harness.reports.page.render import headline
from harness.reports.site import build_site
from harness.reports.terminal import print_run
from harness.rules.load import load_catalogue
from harness.runs.cell_states import ended
from harness.runs.model import RunDone
from harness.runs.run_store import load_run
from harness.runs.summary import summary_json
from tests.bisect_fakes import BAD, GOOD, question
from tests.stored_runs import copy_of, stored

HEALTHY = "healthy.x86_64"
# Cell → its state. All of their probes were observed, and no rule fails.
UNCLEAN = {"panic-at-end.x86_64": "lost", "dies-at-end.x86_64": "lost", "report-at-boot.x86_64": "crashed"}
POLICY = (
    b"version: 1\ntitle: T\narchitectures: [x86_64]\nrequire:\n  - {levels: [required], families: [munmap, mprotect]}\n"
)


def only(cell: str) -> RunDone:
    """The stored run with one of its cells alone."""
    done = stored("faults")
    cells = tuple(record for record in done.record.cells if record.id == cell)
    record = done.record.model_copy(update={"cells": cells, "options": {}})
    return RunDone(done.folder, record, {cell: done.results[cell]})


def on_disk(cell: str, results: Path) -> Path:
    folder = copy_of("faults", results, [cell])
    record = stored("faults").record
    write_run(folder, record.model_copy(update={"cells": tuple(one for one in record.cells if one.id == cell)}))
    return folder


def picked(cell: str) -> Picked:
    """A cell of the stored run. That it asked a few probes only is passed over: a policy would refuse it for that."""
    done = stored("faults")
    whole = RunDone(done.folder, done.record.model_copy(update={"options": {}}), done.results)
    return pick(done.folder.parent, f"faults:{cell}", lambda _: whole)


def text_of(print_it: object, *things: object) -> str:
    console = Console(width=160, record=True, file=io.StringIO())
    print_it(console, *things)  # type: ignore[operator]
    return console.export_text()


unclean = pytest.mark.parametrize(("cell", "state"), UNCLEAN.items())


def test_the_cells_look_good_by_their_rules_alone() -> None:
    for cell in UNCLEAN:
        kept = [[(r.rule.id, r.status) for r in stored("faults").results[name]] for name in (cell, HEALTHY)]
        assert kept[0] == kept[1]
        assert {status for _, status in kept[0]} == {"pass", "observed"}


@unclean
def test_the_run(cell: str, state: str) -> None:
    assert only(HEALTHY).exit_code == 0
    assert only(cell).exit_code == 3
    told = summary_json(only(cell))
    assert (told["exit_code"], told["cells"][0]["state"]) == (3, state)
    assert told["cells"][0]["reason"]


@unclean
def test_junit(cell: str, state: str) -> None:
    good, bad = (junitparser.JUnitXml.fromstring(FORMATS["junit"](only(c), "x").encode()) for c in (HEALTHY, cell))
    assert (good.errors, good.failures) == (0, 0)
    assert (bad.errors, bad.failures) == (1, 0)
    (case,) = (case for suite in bad for case in suite if case.name == "cell")
    assert [(type(result).__name__, result.type) for result in case.result] == [("Error", state)]


@unclean
def test_ktap(cell: str, state: str) -> None:
    assert "not ok" not in FORMATS["ktap"](only(HEALTHY), "x")
    told = FORMATS["ktap"](only(cell), "x").splitlines()
    assert told[-1] == f"not ok 1 {cell}"
    number = len(stored("faults").results[cell]) + 1
    assert re.match(rf"  not ok {number} cell # ERROR {state}: ", told[-2])
    assert f"  1..{number}" in told


@unclean
def test_kcidb(cell: str, state: str) -> None:
    good, bad = (json.loads(FORMATS["kcidb"](only(c), "lab")) for c in (HEALTHY, cell))
    assert "ERROR" not in {test["status"] for test in good["tests"]}
    (test,) = (test for test in bad["tests"] if test["status"] == "ERROR")
    assert (test["path"], test["misc"]["state"]) == ("sealmatrix.cell", state)


@unclean
def test_markdown(cell: str, state: str) -> None:
    good, bad = (FORMATS["markdown"](only(c), "x").splitlines() for c in (HEALTHY, cell))
    assert good[0].startswith("## ✓")
    assert bad[0].startswith("## !")
    assert f"{state}: " in bad[2]


@unclean
def test_terminal(cell: str, state: str) -> None:
    good, bad = (text_of(print_run, only(c)) for c in (HEALTHY, cell))
    assert "1 cell lost" not in good
    assert f"1 cell {state}" in bad
    assert f"{cell.removesuffix('.x86_64')} x86_64 {state}: " in bad


@unclean
def test_page(cell: str, state: str) -> None:
    assert headline(only(HEALTHY)) == "No rule fails."
    assert headline(only(cell)) != "No rule fails."
    assert f"{cell} {state}: " in page_html(only(cell))
    assert f"{HEALTHY} " not in page_html(only(HEALTHY)).partition("<main>")[0]


@unclean
def test_history_and_site(cell: str, state: str, tmp_path: Path) -> None:
    folder = on_disk(cell, tmp_path / "results")
    url = database_url(tmp_path)
    assert import_folders(url, [folder]).remarks == ()
    with reading(url) as connection:
        (line,) = runs(connection)
        (point,) = rule_history(connection, "munmap-blocked").points
        marks = latest_results(connection, line.id)
        build_site(connection, tmp_path / "site", load_catalogue(), 5)
    assert (line.exit_code, line.cells, line.unclean) == (3, 1, 1)
    assert (point.status, point.state, point.stands) == ("pass", state, "error")
    assert {status for *_, status in marks} == {"error"}
    site = tmp_path / "site"
    assert "1, 1 not clean" in (site / "index.html").read_text()
    assert f"pass, the cell is {state}" in (site / "rules/munmap-blocked.html").read_text()
    assert f"{cell} {state}: " in (site / "runs" / line.id / "report.html").read_text()


@unclean
def test_compare(cell: str, state: str) -> None:
    healthy, bad = picked(HEALTHY), picked(cell)
    found = compare_picks(healthy, bad)
    assert found.exit_code == 1
    assert compare_picks(bad, bad).exit_code == 3
    assert compare_picks(bad, healthy).exit_code == 0
    told = comparison_json(found)
    assert (told["exit_code"], told["pairs"][0]["regressed"]) == (1, True)
    assert told["pairs"][0]["after"]["trouble"].startswith(f"{state}: ")
    text = text_of(print_comparison, found)
    assert "nothing changed" not in text
    assert "1 cell not clean" in text
    assert f"{state}: " in text
    document = junitparser.JUnitXml.fromstring(comparison_xml(found).encode())
    assert (document.errors, document.failures) == (1, 0)


@unclean
def test_qualify(cell: str, state: str) -> None:
    catalogue = {r.id: r for r in load_catalogue().values() if r.id in ("munmap-blocked", "mprotect-blocked")}
    policy = parse_policy(POLICY, Path("policy.yaml"), catalogue)
    found = judge_picks(picked(cell), picked(HEALTHY), policy, POLICY, date(2026, 12, 1), catalogue)
    well = judge_picks(picked(HEALTHY), picked("dies-at-end.x86_64"), policy, POLICY, date(2026, 12, 1), catalogue)
    assert well.qualification.verdict == "qualified"
    assert found.qualification.verdict == "not qualified"
    refused = [check for check in found.qualification.checks if check.met == "not met"]
    assert [state in check.says for check in refused] == [True]


def test_bisect() -> None:
    asked = question()
    assert trouble_of(asked, GOOD) == trouble_of(asked, BAD) == ""
    assert trouble_of(asked, GOOD, whole=False) == "no-answer"
    assert trouble_of(asked, BAD, whole=False) == ""
    observed = SeenRule("observed", "", "", (("munmap/anon-rw/exact", "control 0, sealed 0"),))
    assert trouble_of(question("open", "open"), observed, whole=False) == "no-answer"
    records = {record.id: record for record in stored("faults").record.cells}
    assert [records[cell].whole for cell in UNCLEAN] == [False, False, True]


FATAL = Crash("sanitizer", "BUG: KASAN", (), None, fatal=True)


@pytest.mark.parametrize(
    ("lost", "crash", "state"),
    [
        ("", None, "finished"),
        ("gone", None, "lost"),
        ("gone", FATAL, "lost"),
        ("", FATAL, "crashed"),
        ("", replace(FATAL, fatal=False), "finished"),
        ("", replace(FATAL, during="p"), "finished"),  # a verdict tells it
        ("", replace(FATAL, during="x", also=("p",)), "finished"),
        ("", replace(FATAL, during="x"), "crashed"),  # of a probe that nobody judges
    ],
)
def test_how_a_cell_ended(lost: str, crash: Crash | None, state: str) -> None:
    found, reason = ended(lost, [crash] if crash else [], ["p"])
    assert found == state
    assert bool(reason) == (state != "finished")


@pytest.mark.parametrize(
    ("cell", "edit", "state"),
    [
        (HEALTHY, lambda text: text, "finished"),
        (HEALTHY, lambda text: text[: text.rindex('{"type":"end"')], "lost"),
        (HEALTHY, lambda text: text[text.index("\n") + 1 :], "lost"),
        ("dies-at-end.x86_64", lambda text: text, "lost"),
    ],
    ids=["whole", "no end", "no plan", "the journal says lost"],
)
def test_a_record_that_says_finished_is_held_against_its_journal(
    cell: str, edit: object, state: str, tmp_path: Path
) -> None:
    folder = copy_of("faults", tmp_path, [cell])
    record = stored("faults").record
    cells = (one.model_copy(update={"state": "finished", "reason": ""}) for one in record.cells if one.id == cell)
    write_run(folder, record.model_copy(update={"cells": tuple(cells)}))
    journal = folder / "cells" / cell / "observations.jsonl"
    journal.write_text(edit(journal.read_text()))  # type: ignore[operator]
    done = load_run(folder, load_catalogue())
    assert done.record.cells[0].state == state
    assert (done.exit_code == 0) == (state == "finished")
    journal.unlink()
    assert load_run(folder, load_catalogue()).record.cells[0].state == "lost"
