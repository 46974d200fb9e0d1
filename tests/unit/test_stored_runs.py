"""Runs that commit 8085df5 left on disk still load, and every report still says the same of them.

Held are ids, statuses, kinds and counts; the wording of sentences is free to change. Where a later judge is meant to
say something else of the same observations, ``CHANGED`` has it, with the reason.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections import Counter
from collections.abc import Mapping
from io import StringIO
from pathlib import Path
from typing import Any

import junitparser
import pytest
from rich.console import Console

from harness.cli.report import FORMATS
from harness.compare.comparison import compare_machines, compare_picks, compare_versions
from harness.compare.sides import loader, pick
from harness.history.database import database_url, reading
from harness.history.queries import rule_history, runs
from harness.history.record import import_folders
from harness.model.verdict import STATUSES
from harness.reports.compare_json import comparison_json
from harness.reports.listing import print_verdicts
from harness.reports.page import Sightings, page_html
from harness.reports.terminal import print_run
from harness.reports.write import write_reports
from harness.rules.load import load_catalogue
from harness.runs.model import RunDone
from harness.runs.repeats import first_id
from harness.runs.run_store import load_run
from harness.runs.summary import summary_json
from tests.stored_runs import NAMES, RUNS, copy_of, stored

# (run, cell, rule) → (status, kind) that the code at hand gives where 8085df5 said something else.
# Cells whose state is another one by the code at hand: a crash before the first probe went unnoticed.
STATES = {"report-at-boot.x86_64": "crashed"}
CHANGED: Mapping[tuple[str, str, str], tuple[str, str | None]] = {}

# Rules that came later, and what they say of each cell of a run, in the run's order.
ADDED: Mapping[str, Mapping[str, str]] = {
    "sealing-changes-nothing": {
        "matrix": "skip pass pass pass",
        "repeats": "pass pass",
        "faults": "pass pass error pass error pass pass miss miss miss",
    },
}

# Failures of the stored runs: what must be told wherever failures are told.
FAILURES = {
    ("bypass.x86_64", "munmap-blocked", "bypass"),
    ("bypass.x86_64", "mprotect-blocked", "wrong-errno"),
    ("panic-within.x86_64", "mprotect-blocked", "crash"),
}
EXIT_CODES = {"matrix": 0, "repeats": 0, "faults": 1}


def then(name: str) -> Mapping[str, Any]:
    """What 8085df5 said of a run."""
    data: dict[str, Any] = json.loads((RUNS / name / "verdicts.json").read_bytes())
    return data


def wanted(name: str) -> dict[tuple[str, str], tuple[str, str | None]]:
    """(cell, rule) → (status, kind)."""
    told = {(c["cell"], rule): (r["status"], r["kind"]) for c in then(name)["cells"] for rule, r in c["rules"].items()}
    added: dict[tuple[str, str], tuple[str, str | None]] = {
        (cell["cell"], rule): (status, None)
        for rule, said in ADDED.items()
        for cell, status in zip(then(name)["cells"], said[name].split(), strict=True)
    }
    return {key: CHANGED.get((name, *key), said) for key, said in told.items()} | added


def counts(name: str, cell: str | None = None) -> Counter[str]:
    return Counter(status for (where, _), (status, _) in wanted(name).items() if cell in (None, where))


@pytest.mark.parametrize("name", NAMES)
def test_a_stored_run_is_judged_as_it_was(name: str) -> None:
    done = stored(name)
    found = {(cell, r.rule.id): (r.status, r.kind) for cell, results in done.results.items() for r in results}
    assert found == wanted(name)
    probes = {(c["cell"], rule): r["probes"] for c in then(name)["cells"] for rule, r in c["rules"].items()}
    for cell, results in done.results.items():
        for r in (r for r in results if r.rule.id not in ADDED):
            assert len(r.verdicts) == sum(probes[cell, r.rule.id].values())
    assert done.exit_code == EXIT_CODES[name] == then(name)["exit_code"]
    assert [cell.id for cell in done.record.cells] == [cell["cell"] for cell in then(name)["cells"]]
    states = {cell["cell"]: cell["state"] for cell in then(name)["cells"]} | (STATES if name == "faults" else {})
    assert {cell.id: cell.state for cell in done.record.cells} == states


def test_the_failures_are_those_we_know() -> None:
    failed = {(cell, rule, kind) for (cell, rule), (status, kind) in wanted("faults").items() if status == "fail"}
    assert failed == FAILURES
    assert not [status for name in ("matrix", "repeats") for status in counts(name) if status in ("fail", "error")]


@pytest.mark.parametrize("name", NAMES)
def test_json(name: str) -> None:
    told = summary_json(stored(name))
    assert {
        (c["cell"], rule): (r["status"], r["kind"]) for c in told["cells"] for rule, r in c["rules"].items()
    } == wanted(name)
    assert told["counts"] == {status: counts(name)[status] for status in STATUSES}
    assert told["exit_code"] == EXIT_CODES[name]
    assert then(name).keys() <= told.keys()
    for before, after in zip(then(name)["cells"], told["cells"], strict=True):
        assert before.keys() <= after.keys()


@pytest.mark.parametrize("name", NAMES)
def test_junit(name: str) -> None:
    done = stored(name)
    document = junitparser.JUnitXml.fromstring(FORMATS["junit"](done, "x").encode())
    suites = {suite.hostname: suite for suite in document}
    assert list(suites) == [cell.id for cell in done.record.cells]
    for cell, suite in suites.items():
        cases = {case.name: case for case in suite}
        for rule, (status, kind) in ((r, said) for (c, r), said in wanted(name).items() if c == cell):
            if rule not in cases:  # the kernel has no mseal: its family is one skipped case
                families = [case for case in cases.values() if rule in (case.result[0].text or "").split()]
                assert (status, [type(case.result[0]).__name__ for case in families]) == ("skip", ["Skipped"])
                continue
            results = [(type(result).__name__, result.type) for result in cases[rule].result]
            assert results == {
                "fail": [("Failure", kind)],
                "error": [("Error", "error")],
                "miss": [("Error", "miss")],
                "known": [("Skipped", "skipped")],
                "skip": [("Skipped", "skipped")],
            }.get(status, []), f"{cell} {rule}"


@pytest.mark.parametrize("name", NAMES)
def test_ktap(name: str) -> None:
    told = FORMATS["ktap"](stored(name), "x")
    assert told.startswith("KTAP version 1\n")
    lines: dict[str, dict[str, str]] = {}
    cell = ""
    for line in told.splitlines():
        if subtest := re.match(r"  # Subtest: (\S+)$", line):
            cell = subtest[1]
        elif test := re.match(r"  (ok|not ok) \d+ (\S+)(?: # (\w+))?", line):
            lines.setdefault(cell, {})[test[2]] = " ".join(filter(None, (test[1], test[3])))
    word = {"fail": "not ok", "error": "not ok ERROR", "miss": "not ok ERROR", "skip": "ok SKIP", "known": "ok XFAIL"}
    for (where, rule), (status, _) in wanted(name).items():
        assert lines[where][rule] == word.get(status, "ok"), f"{where} {rule}"


@pytest.mark.parametrize("name", NAMES)
def test_kcidb(name: str) -> None:
    told = json.loads(FORMATS["kcidb"](stored(name), "lab"))
    assert told["version"] == {"major": 5, "minor": 3}
    statuses = {"fail": "FAIL", "known": "FAIL", "error": "ERROR", "miss": "MISS", "skip": "SKIP", "observed": "DONE"}
    run = stored(name).record.id
    found = {test["id"]: (test["status"], test["misc"].get("kind")) for test in told["tests"]}
    for (cell, rule), (status, kind) in wanted(name).items():
        assert found[f"lab:{run}/{cell}/{rule}"] == (statuses.get(status, "PASS"), kind)


@pytest.mark.parametrize("name", NAMES)
def test_markdown(name: str) -> None:
    told = FORMATS["markdown"](stored(name), "x")
    head = told.splitlines()[0]
    for status in ("fail", "error", "miss"):
        assert f"{counts(name)[status]} {status}" in head
    for cell in stored(name).record.cells:
        assert (cell.kernel.name if cell.kernel else cell.id.removesuffix(".x86_64")) in told
    for _, rule, kind in FAILURES if name == "faults" else ():
        assert f"**fail {kind}** `{rule}`" in told


def printed(done: RunDone) -> str:
    console = Console(width=200, record=True, file=StringIO())
    print_run(console, done, every=True)
    print_verdicts(console, done)
    return console.export_text()


@pytest.mark.parametrize("name", NAMES)
def test_terminal(name: str) -> None:
    told = printed(stored(name))
    sums = next(line for line in told.splitlines() if re.match(r"\d+ cells?, \d+ rules?: ", line))
    for status in STATUSES:
        if counts(name)[status] or status in ("fail", "error", "miss"):
            assert f"{counts(name)[status]} {status}" in sums
    for _, rule, kind in FAILURES if name == "faults" else ():
        assert f"fail {kind}: {rule}" in told
    for rule in {rule for _, rule in wanted(name)}:
        assert rule in told


def page_data(page: str) -> tuple[dict[str, Any], dict[str, Any]]:
    outline = re.search(r'<script type="application/json" id="outline">(.*?)</script>', page, re.DOTALL)
    evidence = re.search(r'<script type="text/plain" id="evidence">(.*?)</script>', page, re.DOTALL)
    assert outline and evidence
    return json.loads(outline[1]), json.loads(zlib.decompress(base64.b64decode(evidence[1])))


@pytest.mark.parametrize("name", NAMES)
def test_page(name: str) -> None:
    done = stored(name)
    sightings = Sightings()
    for cell in done.record.cells:
        sightings.read(cell.id, done.folder / "cells" / cell.id / "observations.jsonl")
    outline, evidence = page_data(page_html(done, sightings))
    cells = [kernel["cell"] for kernel in outline["kernels"]]
    found = {
        (cells[column], outline["rules"][row]["id"]): tuple(outline["verdicts"][entry[0]][:2])
        for row, entries in enumerate(outline["worst"])
        for column, entry in enumerate(entries)
        if entry
    }
    assert found == {key: (status, kind or "") for key, (status, kind) in wanted(name).items()}
    seen = Counter(number >= 0 for row in evidence["seen"] for number in row)
    journals = [p.read_bytes() for p in (RUNS / name).glob("cells/*/observations.jsonl")]
    assert seen[True] == sum(text.count(b'{"type":"observation"') for text in journals)


@pytest.mark.parametrize("name", NAMES)
def test_all_files_are_written_again(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    written = write_reports(load_run(folder, load_catalogue()))
    assert {path.name for path in written} == {"junit.xml", "report.html", "verdicts.json"}
    again = json.loads((folder / "verdicts.json").read_bytes())
    assert {
        (c["cell"], rule): (r["status"], r["kind"]) for c in again["cells"] for rule, r in c["rules"].items()
    } == wanted(name)


def test_the_history_takes_them_in(tmp_path: Path) -> None:
    folders = [copy_of(name, tmp_path) for name in NAMES]
    taken = import_folders(database_url(tmp_path), folders)
    assert taken.remarks == ()
    assert set(taken.runs) == {stored(name).record.id for name in NAMES}
    with reading(database_url(tmp_path)) as connection:
        lines = {line.id: line for line in runs(connection)}
        points = rule_history(connection, "munmap-blocked").points
    for name in NAMES:
        line = lines[stored(name).record.id]
        cells = {first_id(cell.id) for cell in stored(name).record.cells}
        assert (line.exit_code, line.cells) == (EXIT_CODES[name], len(cells))
        # It was written before there was a digest of the verdicts: it is judged anew.
        if len(cells) == len(stored(name).record.cells):
            assert line.counts == {status: counts(name)[status] for status in STATUSES}
        else:  # a cell that ran twice counts once
            assert line.counts == {status: counts(name)[status] // 2 for status in STATUSES}
    told = {(point.run, point.cell): (point.status, point.kind) for point in points}
    for name in NAMES:
        for (cell, rule), (status, kind) in wanted(name).items():
            if rule == "munmap-blocked":
                assert told[stored(name).record.id, cell] == (status, kind or "")


def test_kernels_of_a_run_are_compared_along_their_versions() -> None:
    load = loader(load_catalogue())
    told = comparison_json(compare_versions(pick(RUNS, "matrix", load)))
    found = {(p["before"]["cell"], p["after"]["cell"]): (p["regressed"], p["counts"]) for p in told["pairs"]}
    assert {pair: (lost, {c: n for c, n in changes.items() if n}) for pair, (lost, changes) in found.items()} == {
        ("debian-6.1.x86_64", "debian-6.12.x86_64"): (False, {"gained": 18, "unchanged": 2}),
        ("debian-6.12.x86_64", "debian-newest.x86_64"): (False, {"unchanged": 20}),
    }


def test_machines_of_a_run_are_compared() -> None:
    load = loader(load_catalogue())
    told = comparison_json(compare_machines(pick(RUNS, "matrix", load)))
    (pair,) = told["pairs"]
    assert (pair["before"]["cell"], pair["after"]["cell"]) == ("debian-6.12.x86_64", "debian-6.12-16k.arm64")
    assert {c: n for c, n in pair["counts"].items() if n} == {"lost coverage": 2, "gained": 1, "unchanged": 17}
    assert told["exit_code"] == 0


def test_repeats_of_a_cell_are_one_side_and_a_broken_cell_is_a_regression() -> None:
    load = loader(load_catalogue())
    told = comparison_json(compare_picks(pick(RUNS, "repeats", load), pick(RUNS, "repeats", load)))
    (pair,) = told["pairs"]
    assert (pair["after"]["repeats"], told["exit_code"]) == (2, 0)
    assert {c: n for c, n in pair["counts"].items() if n} == {"unchanged": 38}
    broken = comparison_json(compare_picks(pick(RUNS, "faults:healthy", load), pick(RUNS, "faults:bypass", load)))
    changes = {rule["rule"]: rule["change"] for rule in broken["pairs"][0]["rules"]}
    assert changes["munmap-blocked"] == changes["mprotect-blocked"] == "introduced"
    assert broken["exit_code"] == 1
