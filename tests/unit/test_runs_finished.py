"""A kernel that has answered is not asked the same again; a damaged answer is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from harness.kernels.store import Store
from harness.model.run_record import CellRecord
from harness.runs.execution.run import execute
from harness.runs.finished_cells import FinishedCells, Taken
from harness.runs.model import ProgressEvent
from harness.runs.plan import RunPlan
from harness.runs.run_store import load_run
from tests.support.scripted_runs import RULES, WHOLE, cell, guest, run_plan, seen, statuses

KEY = "k" * 40


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FinishedCells:
    """A store with the answers of cell ``a``, by a first run."""
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    plan = replace(run_plan(tmp_path / "first", [cell("a")]), keys={"a": KEY})
    execute(plan, lambda c, _: guest(tmp_path, *WHOLE), lambda told: None)
    return FinishedCells(Store(tmp_path / "cache"))


def second(tmp_path: Path, kept: FinishedCells) -> tuple[RunPlan, Taken]:
    plan = run_plan(tmp_path / "second", [cell("a"), cell("b")])
    taken = kept.find(KEY, plan.record.cells[0])
    assert taken is not None
    return replace(plan, cells=plan.cells[1:], taken=(taken,)), taken


def test_a_finished_cell_is_taken_and_judged_anew(tmp_path: Path, kept: FinishedCells) -> None:
    plan, _ = second(tmp_path, kept)
    booted: list[str] = []
    told: list[ProgressEvent] = []

    def make(one: object, _: Path) -> object:
        booted.append(one.id)  # type: ignore[attr-defined]
        return guest(tmp_path, *WHOLE)

    done = execute(plan, make, told.append)  # type: ignore[arg-type]
    assert booted == ["b"]
    assert statuses(done, "a") == statuses(done, "b")
    first = done.record.cells[0]
    assert (first.id, first.state, first.taken_from) == ("a", "finished", "first")
    assert any(event.note == "taken from run first" for event in told)
    again = load_run(tmp_path / "second", RULES)
    assert statuses(again, "a") == statuses(done, "a")
    assert again.exit_code == done.exit_code


def test_what_is_taken_is_not_kept_again(tmp_path: Path, kept: FinishedCells) -> None:
    plan, _ = second(tmp_path, kept)
    execute(replace(plan, keys={"a": "o" * 40}), lambda c, _: guest(tmp_path, *WHOLE), lambda told: None)
    assert kept.find("o" * 40, plan.record.cells[0]) is None


def _cut(folder: Path) -> None:
    path = folder / "observations.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-3])


def _forge(folder: Path) -> None:
    path = folder / "cell.json"
    path.write_text(path.read_text().replace('"finished"', '"lost"'))


def _other(folder: Path) -> None:
    (folder / "console.log.zst").unlink(missing_ok=True)
    (folder / "observations.jsonl.zst").unlink()


def _junk(folder: Path) -> None:
    (folder / "cell.json").write_text('{"run": 3}')


@pytest.mark.parametrize("damage", [_cut, _forge, _other, _junk])
def test_a_damaged_answer_is_none(tmp_path: Path, kept: FinishedCells, damage: Callable[[Path], None]) -> None:
    damage(tmp_path / "cache" / "finished" / KEY)
    assert kept.find(KEY, run_plan(tmp_path / "x", [cell("a")]).record.cells[0]) is None


def test_a_damaged_answer_is_replaced_by_the_next(tmp_path: Path, kept: FinishedCells) -> None:
    _cut(tmp_path / "cache" / "finished" / KEY)
    waiting = run_plan(tmp_path / "x", [cell("a")]).record.cells[0]
    assert kept.find(KEY, waiting) is None
    plan = replace(run_plan(tmp_path / "again", [cell("a")]), keys={"a": KEY})
    execute(plan, lambda c, _: guest(tmp_path, *WHOLE), lambda told: None)
    taken = kept.find(KEY, waiting)
    assert taken is not None
    assert (taken.record.taken_from, taken.judged) == ("again", True)


def test_a_cell_that_is_not_clean_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    plan = replace(run_plan(tmp_path / "first", [cell("a")]), keys={"a": KEY})
    execute(plan, lambda c, _: guest(tmp_path, *WHOLE[:1], seen(0)), lambda told: None)
    assert FinishedCells(Store(tmp_path / "cache")).find(KEY, plan.record.cells[0]) is None


def test_the_cells_used_longest_ago_make_room(tmp_path: Path, kept: FinishedCells) -> None:
    small = FinishedCells(Store(tmp_path / "cache"), largest=1)
    record = CellRecord(id="a", profile="p", arch="x86_64", state="finished")
    small.keep("n" * 40, "r", record, tmp_path / "first" / "cells" / "a")
    assert small.find(KEY, record) is None
