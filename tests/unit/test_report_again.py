"""A disk that is full at the end: the run says so, and ``report --all`` makes every derived file from the journals."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from harness.cli.ending import end
from harness.cli.going_on import telling_how_to_go_on
from harness.cli.main import main
from harness.errors import StoreError
from harness.history.database import database_url
from harness.history.record import import_folders
from harness.reports.write import write_reports
from harness.rules.load import load_catalogue
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.programs import reproduce
from harness.runs.run_store import run_lock
from harness.verdicts.judge import assign
from tests.fakes import FakeGuest
from tests.stored_runs import copy_of
from tests.support.scripted_runs import PLAN, PROBES, WHOLE, cell, run_plan, seen

DERIVED = ("junit.xml", "verdicts.json", "report.html")


@pytest.fixture
def done(tmp_path: Path) -> RunDone:
    """A run of two cells, one of them lost, that ended without reports."""
    scripts = {"good": WHOLE, "bad": (PLAN, seen(0))}
    plan = run_plan(tmp_path / "results" / "20261123-000000-aaaa", [cell(name) for name in scripts])
    plan = replace(plan, assignment=assign(load_catalogue(), PROBES))
    return execute(plan, lambda c, _: FakeGuest(script=scripts[c.id]), lambda told: None)


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str, str]]:
    def called(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sealmatrix", "report", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    return called


def derived(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.name in DERIVED}


def test_all_reports_come_back_byte_for_byte(done: RunDone, report: Callable[..., tuple[int, str, str]]) -> None:
    write_reports(done, reproduce)
    written = derived(done.folder)
    assert len(written) == 3 + 2 * 2
    for name in written:
        (done.folder / name).unlink()
    code, out, err = report(str(done.folder), "--all")
    assert (code, err) == (0, "")
    assert derived(done.folder) == written
    assert {Path(line).relative_to(done.folder).as_posix() for line in out.splitlines()} == set(written)


def test_an_altered_report_is_made_anew(done: RunDone, report: Callable[..., tuple[int, str, str]]) -> None:
    write_reports(done, reproduce)
    written = derived(done.folder)
    for name in written:
        (done.folder / name).write_text("all is well")
    assert report(str(done.folder), "--all")[0] == 0
    assert derived(done.folder) == written


def test_a_run_of_an_earlier_sealmatrix_gets_its_reports(
    tmp_path: Path, report: Callable[..., tuple[int, str, str]]
) -> None:
    folder = copy_of("faults", tmp_path)
    assert report(str(folder), "--all")[0] == 0
    assert {"junit.xml", "report.html", "cells/no-kernel.x86_64/junit.xml"} <= set(derived(folder))
    assert import_folders(database_url(tmp_path), [folder]).remarks == ()


@pytest.mark.parametrize("words", [("--all", "-F", "ktap"), ("--all", "-o", "x"), ()])
def test_wrong_words_write_nothing(
    done: RunDone, report: Callable[..., tuple[int, str, str]], words: tuple[str, ...]
) -> None:
    before = derived(done.folder)
    assert report(str(done.folder), *words)[0] == 2
    assert derived(done.folder) == before


def test_a_run_that_goes_on_is_left_alone(done: RunDone, report: Callable[..., tuple[int, str, str]]) -> None:
    with run_lock(done.folder):
        code, _, err = report(str(done.folder), "--all")
    assert (code, "still active" in err) == (2, True)
    assert not (done.folder / "junit.xml").exists()


@pytest.mark.parametrize("name", DERIVED)
def test_a_run_whose_reports_cannot_be_written_says_so(done: RunDone, name: str) -> None:
    blocked = done.folder / name
    blocked.mkdir()  # as good as a full disk: nothing can be renamed to it
    (blocked / "x").touch()
    aside = Console(file=io.StringIO(), width=80)
    healthy = RunDone(done.folder, done.record.model_copy(update={"cells": done.record.cells[:1]}), {})
    good = {"good": done.results["good"]}
    assert end(replace(healthy, results=good), aside, as_json=True, show_all=False) == 3
    said = aside.file.getvalue()  # type: ignore[attr-defined]
    assert f"{blocked}: cannot be written" in said
    assert f": sealmatrix report {done.folder} --all" in said


def test_a_disk_that_is_full_while_cells_run_is_told_with_the_way_on(done: RunDone, tmp_path: Path) -> None:
    full = StoreError("x: cannot be written: No space left on device")
    said = r"No space left on device; observations are kept.*--all"
    with pytest.raises(StoreError, match=said), telling_how_to_go_on(done.folder):
        raise full
    with pytest.raises(StoreError, match=r"No space left on device$"), telling_how_to_go_on(tmp_path / "none"):
        raise full
