"""A cell that is explored: what generated programs show stands in the run like what the probes show."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.cli.report import FORMATS
from harness.compare.diff import compare
from harness.compare.sides import sides_of
from harness.errors import BootFailed
from harness.explore.corpus import Kept
from harness.explore.program import Step, parse_program
from harness.explore.verdicts import EXPLORE_RULES
from harness.guests.model import Booted
from harness.model.run_record import ExploreRecord
from harness.runs.causes import told_causes
from harness.runs.execution.run import execute
from harness.runs.model import RunDone
from harness.runs.run_store import load_run
from tests.fakes import BOOTED, FakeGuest
from tests.support.promising_kernel import MUNMAP, Memory, PromisingKernel
from tests.support.scripted_runs import RULES, WHOLE, cell, guest, run_plan

WINDOW = "window 3 x 1 page, usual: anon 3 rw sealed written\nmunmap 0-2\nmprotect 0-0 r"


@dataclass
class Bootable(PromisingKernel):
    booted: Booted | Exception = BOOTED

    def boot(self) -> Booted:
        if isinstance(self.booted, Exception):
            raise self.booted
        return self.booted


def broken(memory: Memory, step: Step) -> bool:
    return step.op == MUNMAP


@pytest.fixture(autouse=True)
def _one_program(monkeypatch: pytest.MonkeyPatch) -> None:
    corpus = (Kept("one", "why", parse_program(WINDOW)),)
    monkeypatch.setattr("harness.runs.execution.explorer.load_corpus", lambda: corpus)


def run(folder: Path, probed: FakeGuest, explored: PromisingKernel) -> RunDone:
    asked = ExploreRecord(seconds=1e-9, seed=7)
    plan = run_plan(folder, [replace(cell("a"), explore=asked)])
    cells = tuple(record.model_copy(update={"explore": asked}) for record in plan.record.cells)
    plan = replace(plan, record=plan.record.model_copy(update={"cells": cells}))
    return execute(plan, lambda _, where: explored if where.name == "exploration" else probed, lambda _: None)


def explored(tmp_path: Path, name: str, **facts: object) -> RunDone:
    (tmp_path / f"{name}-guest").mkdir()
    kernel = Bootable(tmp_path / f"{name}-guest", **facts)  # type: ignore[arg-type]
    return run(tmp_path / name, guest(tmp_path, *WHOLE), kernel)


def statuses(done: RunDone) -> dict[str, str]:
    return {result.rule.id: result.status for result in done.results["a"]}


def test_what_programs_show_is_judged_with_what_probes_show(tmp_path: Path) -> None:
    done = explored(tmp_path, "good")
    assert done.exit_code == 0 and done.record.cells[0].clean
    told = statuses(done)
    assert set(told) == {"munmap-blocked", *EXPLORE_RULES}
    assert told["explore-refused"] == "pass" and told["explore-answer"] == "skip"
    assert done.record.cells[0].seconds["explore"] > 0
    assert statuses(load_run(tmp_path / "good", RULES)) == told
    stored = json.loads((tmp_path / "good/cells/a/verdicts.json").read_text())
    assert {rule["rule"] for rule in stored["rules"]} == set(told)


def test_a_finding_fails_the_run_and_its_commands_replay_the_program(tmp_path: Path) -> None:
    done = explored(tmp_path, "bad", defect=broken)
    assert done.exit_code == 1
    results = {result.rule.id: result for result in load_run(tmp_path / "bad", RULES).results["a"]}
    worst = min((r.worst for r in results.values()), key=lambda v: v.badness)
    assert (worst.status, worst.kind, worst.probe) == ("fail", "bypass", "munmap/generated/sealed-unchanged")
    assert "munmap 0-" in worst.reason
    (cause,) = told_causes(done)
    lines = {command.what: command.line for command in cause.commands}
    replayed = next(word for word in lines["repeat"].split() if word.endswith(".txt"))
    assert parse_program(Path(replayed).read_text()).steps and "--replay" in lines["repeat"]
    assert "munmap" in cause.sentence


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_report_tells_of_it(tmp_path: Path, form: str) -> None:
    text = FORMATS[form](explored(tmp_path, "bad", defect=broken), "sealmatrix")
    assert "explore-sealed-unchanged" in text or "explore_sealed-unchanged" in text


def test_a_comparison_shows_what_exploration_found_anew(tmp_path: Path) -> None:
    good, bad = explored(tmp_path, "good"), explored(tmp_path, "bad", defect=broken)
    ((before,), (after,)) = (sides_of(done) for done in (good, bad))
    pair = compare(before, after)
    changed = {change.rule.id: change.change for change in pair.rules if change.change != "unchanged"}
    assert changed["explore-sealed-unchanged"] == "introduced" and pair.regressed
    assert not compare(before, before).regressed


@pytest.mark.parametrize("facts", [{"booted": BootFailed("no boot")}, {"dies": lambda program: True}])
def test_a_cell_that_could_not_be_explored_is_not_green(tmp_path: Path, facts: dict[str, object]) -> None:
    done = explored(tmp_path, "lost", **facts)
    told = statuses(done)
    assert told.pop("munmap-blocked") == "pass"
    assert set(told.values()) == {"miss"} and done.exit_code == 3


def test_a_cell_whose_probes_were_lost_is_not_explored_and_says_so(tmp_path: Path) -> None:
    kernel = Bootable(tmp_path)
    done = run(tmp_path / "r", guest(tmp_path), kernel)
    assert kernel.runs == []
    assert {status for rule, status in statuses(done).items() if rule in EXPLORE_RULES} == {"miss"}
    assert statuses(load_run(tmp_path / "r", RULES)) == statuses(done)


def test_a_stored_exploration_that_is_damaged_is_missed(tmp_path: Path) -> None:
    explored(tmp_path, "good")
    (tmp_path / "good/cells/a/exploration.json").write_text("{")
    stored = load_run(tmp_path / "good", RULES)
    assert statuses(stored)["explore-refused"] == "miss"
    assert stored.exit_code == 3 and "exploration.json is not what the run wrote" in stored.record.cells[0].reason
