"""A night runs what is not answered yet, repeats what fails, tells what is new, and survives being killed."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from rich.console import Console

from harness.cli import nightly as cli_nightly
from harness.cli.main import cli
from harness.errors import Interrupted, UsageError
from harness.history.database import database_url, reading
from harness.history.queries import RunLine, runs
from harness.history.regressions import Changed, Regression, regressions
from harness.kernels.store import Store
from harness.matrix.load import default_path
from harness.model.run_record import read_run, write_run
from harness.model.stored_files import packed
from harness.nightly.against_last import SinceLast
from harness.nightly.cells import sampled
from harness.nightly.marks import NightRecord, nights, read_mark, write_mark
from harness.nightly.model import Night, Wanted
from harness.nightly.news import LINES, NightFacts, news
from harness.nightly.night import alone
from harness.runs.finished_cells import FinishedCells
from harness.runs.run_store import find_run, load_run, nightly_folders
from tests.builders import default_matrix
from tests.nights import BROKEN, LOST, NOW, WANTED, Machines, night, night_or_nothing, nothing
from tests.support.scripted_runs import RULES, WHOLE, run_plan, statuses
from tests.support.scripted_runs import cell as made_cell

KEYS = {name: name * 40 for name in "abc"}


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.runs.programs._names", dict)  # no payload is compiled for programs that nobody reads
    return tmp_path / "cache"


@pytest.fixture
def machines(tmp_path: Path) -> Machines:
    return Machines(tmp_path / "booted")


def known(results: Path) -> list[Regression]:
    with reading(database_url(results)) as connection:
        return list(regressions(connection))


def test_the_second_night_runs_only_what_is_new(tmp_path: Path, machines: Machines) -> None:
    first = night(tmp_path, "n-00", KEYS, machines)
    assert sorted(machines.booted) == ["a", "b", "c"]
    assert first.exit_code == 0
    assert first.mark.news[1] == "the first night: there is nothing to compare with"
    moved = KEYS | {"b": "x" * 40}
    second = night(tmp_path, "n-01", moved, machines)
    assert machines.booted[3:] == ["b"]
    assert (second.mark.taken, second.mark.cells, second.mark.same) == (2, 3, False)
    assert [cell.taken_from for cell in second.done.record.cells] == ["n-00", "", "n-00"]
    assert {name: statuses(second.done, name) for name in "abc"} == {key: ["pass", "pass"] for key in "abc"}
    stored = load_run(tmp_path / "n-01", RULES)
    assert {name: statuses(stored, name) for name in "abc"} == {key: ["pass", "pass"] for key in "abc"}


def test_the_first_night_tells_what_fails_though_nothing_can_be_new(tmp_path: Path, machines: Machines) -> None:
    machines.scripts = {"b": [BROKEN, BROKEN]}
    first = night(tmp_path, "n-00", KEYS, machines)
    assert first.exit_code == 1
    (fails,) = [line for line in first.mark.news if line.startswith("fails: ")]
    assert fails.startswith("fails: munmap no longer looks at the seal") and fails.endswith(", on b")
    assert first.mark.news[-1] == "the first night: there is nothing to compare with"
    second = night(tmp_path, "n-01", KEYS | {"c": "x" * 40}, machines)
    assert not [line for line in second.mark.news if line.startswith("fails: ")]


def test_a_night_that_would_only_repeat_the_last_one_makes_no_run(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file() and "cache" not in path.parts}
    same = nothing(tmp_path, "n-01", KEYS, machines)
    assert (same.folder, same.exit_code, same.mark.same, len(machines.booted)) == (tmp_path / "n-00", 0, True, 3)
    assert same.mark.news[0].startswith("nightly: 3 cells, all answered before, none run; ")
    assert same.mark.news[1:] == ("nothing new since n-00",)
    assert read_mark(tmp_path / "n-00").checked == NOW
    changed = {p for p, data in before.items() if p.read_bytes() != data}
    assert {p.name for p in changed} <= {"nightly.json"}
    assert [line.id for line in _runs(tmp_path)] == ["n-00"]


def _runs(results: Path) -> tuple[RunLine, ...]:
    with reading(database_url(results)) as connection:
        return tuple(runs(connection))


@pytest.mark.parametrize(
    "damage", ["a report altered", "a report gone", "a journal gone", "no history", "other code", "an answer dropped"]
)
def test_what_is_no_longer_whole_is_made_again(
    tmp_path: Path, machines: Machines, damage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = night(tmp_path, "n-00", KEYS, machines).folder
    match damage:
        case "a report altered":
            (first / "report.html").write_text("all is well")
        case "a report gone":
            (first / "junit.xml").unlink()
        case "a journal gone":
            packed(first / "cells/b/observations.jsonl").unlink()
        case "no history":
            (tmp_path / "history.sqlite").unlink()
        case "other code":
            for module in ("night", "conclude"):
                monkeypatch.setattr(f"harness.nightly.{module}.judged_by", lambda: "another")
        case _:
            FinishedCells(Store(tmp_path / "cache")).drop(KEYS["b"])
    again = night(tmp_path, "n-01", KEYS, machines)
    assert machines.booted[3:] == (["b"] if damage == "an answer dropped" else [])
    assert {name: statuses(again.done, name) for name in "abc"} == {key: ["pass", "pass"] for key in "abc"}
    assert nothing(tmp_path, "n-02", KEYS, machines).folder == tmp_path / "n-01"


def test_a_sample_is_drawn_once_a_day_unless_it_is_asked_for(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)  # nothing was answered, so there is nothing to draw from
    daily = Wanted(selection="nightly", share=1.0)

    def again(name: str, wanted: Wanted, time: str) -> list[str]:
        before = len(machines.booted)
        night_or_nothing(tmp_path, name, KEYS, machines, wanted, now=f"2026-11-{time}:00:00+00:00")
        return sorted(machines.booted[before:])

    every = ["a~2", "b~2", "c~2"]
    assert again("n-01", daily, "28T02") == every
    assert again("n-02", daily, "28T03") == []
    assert again("n-03", replace(daily, insist=True), "28T04") == every
    assert again("n-04", daily, "28T23") == []
    assert again("n-05", daily, "29T02") == every


def test_all_runs_what_is_answered_too(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    night(tmp_path, "n-01", KEYS, machines, Wanted(selection="nightly", everything=True))
    assert len(machines.booted) == 6


def test_what_broke_is_repeated_opened_once_and_ends(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    machines.scripts = {"b": [BROKEN]}
    broken = KEYS | {"b": "x" * 40}
    second = night(tmp_path, "n-01", broken, machines)
    assert machines.booted[3:] == ["b", "b~2"]
    assert second.exit_code == 1
    (one,) = known(tmp_path)
    assert (one.state, one.kind, one.cells, one.opened_run) == ("confirmed", "bypass", ("b",), "n-01")
    assert second.mark.news[1].startswith("new: R1 munmap")
    third = nothing(tmp_path, "n-02", broken, machines)
    assert (third.exit_code, len(known(tmp_path)), machines.booted[5:]) == (0, 1, [])
    assert third.mark.news[1:] == ("nothing new since n-01; 1 regression still open",)
    machines.scripts = {}
    fourth = night(tmp_path, "n-03", KEYS, machines)
    assert fourth.exit_code == 0
    assert known(tmp_path)[0].state == "fixed"
    assert fourth.mark.news[1].startswith("fixed: R1 munmap")
    machines.scripts = {"b": [BROKEN]}
    night(tmp_path, "n-04", KEYS | {"b": "y" * 40}, machines)
    assert [r.state for r in known(tmp_path)] == ["fixed", "confirmed"]


def test_a_flaky_cell_opens_nothing(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    machines.scripts = {"b": [BROKEN, BROKEN, WHOLE]}
    second = night(tmp_path, "n-01", KEYS | {"b": "x" * 40}, machines)
    assert machines.booted[3:] == ["b", "b~2"]
    assert known(tmp_path) == []
    assert second.exit_code == 3
    assert second.mark.news[1].startswith("unstable: munmap")
    machines.scripts = {}
    third = night(tmp_path, "n-02", KEYS | {"b": "x" * 40}, machines)
    assert machines.booted[5:] == ["b"]  # what only one of two guests said is nobody's answer
    assert (third.exit_code, known(tmp_path)) == (0, [])


def test_a_cell_that_was_lost_half_way_and_answers_in_a_fresh_guest_opens_nothing(
    tmp_path: Path, machines: Machines
) -> None:
    """The first guest gave an answer, too: to a part of what it was asked."""
    night(tmp_path, "n-00", KEYS, machines)
    machines.scripts = {"b": [LOST, LOST, WHOLE]}
    second = night(tmp_path, "n-01", KEYS | {"b": "x" * 40}, machines)
    assert machines.booted[3:] == ["b", "b~2"]
    assert known(tmp_path) == []
    assert second.exit_code == 3
    assert second.mark.news[1].startswith("unstable: incomplete: ")


def test_a_cell_without_an_answer_is_repeated_and_a_regression(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    machines.scripts = {"b": [LOST]}
    second = night(tmp_path, "n-01", KEYS | {"b": "x" * 40}, machines)
    assert machines.booted[3:] == ["b", "b~2"]
    assert second.exit_code == 1
    (one,) = known(tmp_path)
    assert (one.kind, one.state, one.rules) == ("no answer", "confirmed", ())
    machines.scripts = {}
    night(tmp_path, "n-02", KEYS | {"b": "y" * 40}, machines)
    assert known(tmp_path)[0].state == "fixed"


def test_a_sample_is_run_again_and_a_difference_is_an_alarm(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    every = Wanted(selection="nightly", share=1.0, insist=True)
    second = night(tmp_path, "n-01", KEYS, machines, every)
    assert sorted(machines.booted[3:]) == ["a~2", "b~2", "c~2"]
    assert (second.exit_code, second.mark.alarms, second.mark.sampled) == (0, (), ("a", "b", "c"))
    machines.scripts = {"b~2": [BROKEN]}
    third = night(tmp_path, "n-02", KEYS, machines, every)
    (alarm,) = third.mark.alarms
    assert alarm == "b: munmap-blocked munmap/anon-rw/exact: pass, and now fail"
    assert third.exit_code == 3
    assert known(tmp_path) == []
    record = run_plan(tmp_path / "x", [made_cell("b")]).record.cells[0]
    assert FinishedCells(Store(tmp_path / "cache")).find(KEYS["b"], record) is None


def test_the_sample_is_a_share_of_all_cells_and_another_each_night() -> None:
    cells = [f"cell-{number}" for number in range(2000)]
    drawn = sampled("n-00", cells, 0.05)
    assert 60 < len(drawn) < 140
    assert sampled("n-00", cells, 0.05) == drawn != sampled("n-01", cells, 0.05)
    assert sampled("n-00", cells, 0.0) == ()
    assert sampled("n-00", cells, 1.0) == tuple(cells)


def test_a_budget_begins_no_further_cell_and_the_next_night_runs_the_rest(tmp_path: Path, machines: Machines) -> None:
    first = night(tmp_path, "n-00", KEYS, machines, Wanted(selection="nightly", budget=-1.0))
    assert machines.booted == []
    assert {cell.reason for cell in first.done.record.cells} == {"the run's time was used up before this cell began"}
    assert first.exit_code == 3
    night(tmp_path, "n-01", KEYS, machines)
    assert sorted(machines.booted) == ["a", "b", "c"]


def test_two_nights_at_once_are_refused(tmp_path: Path) -> None:
    with alone(tmp_path), pytest.raises(UsageError, match="another nightly is running"), alone(tmp_path):
        pass


def test_a_night_that_cannot_be_continued_is_given_up(tmp_path: Path, machines: Machines) -> None:
    _killed(tmp_path, machines, lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == "begun" else None)
    broken = next(nights(tmp_path, "nightly"), None)
    assert broken is None  # it had no run.json yet
    _killed(tmp_path, machines, lambda step: os.kill(os.getpid(), signal.SIGKILL) if step == "run" else None)
    found = night(tmp_path, "n-02", {"a": KEYS["a"]}, machines)
    assert found.done.record.id == "n-00"  # all its cells had verdicts
    assert found.mark.news[1].startswith("the first night")


def test_words_for_nights_name_runs(tmp_path: Path, machines: Machines) -> None:
    night(tmp_path, "n-00", KEYS, machines)
    night(tmp_path, "n-01", KEYS | {"b": "x" * 40}, machines)
    (tmp_path / "p-00").mkdir()
    (tmp_path / "p-00/run.json").write_text((tmp_path / "n-01/run.json").read_text())
    assert find_run(tmp_path, "nightly") == tmp_path / "n-01"
    assert find_run(tmp_path, "nightly~1") == tmp_path / "n-00"
    with pytest.raises(UsageError, match="2 nightly runs"):
        find_run(tmp_path, "nightly~2")


def test_a_mark_that_cannot_be_read_is_one_line(tmp_path: Path) -> None:
    write_mark(tmp_path, NightRecord(state="done", selection="nightly"))
    (tmp_path / "nightly.json").write_text('{"state": "won"}')
    with pytest.raises(UsageError, match=r"nightly\.json: state: Input should be"):
        read_mark(tmp_path)


def test_news_are_ten_lines_at_most() -> None:
    facts = NightFacts("n-01", "n-00", 55, 0, 55, 0, 0, 1.0, alarms=tuple(f"cell {n}: differs" for n in range(30)))
    told = news(facts)
    assert len(told) == LINES
    assert told[-1] == "and 22 more: sealmatrix show n-01"
    quiet = news(NightFacts("n-01", "n-00", 1, 1, 0, 0, 0, 1.0, added=("x", "y", "z", "w")))
    assert quiet[1:] == ["new cell: x and 3 more", "nothing new since n-00"]


# --- killed at any time -----------------------------------------------------------------------------------------------


def _killed(results: Path, machines: Machines, after: object, seconds: float | None = None) -> bool:
    """A night in a process of its own, killed from inside by ``after`` or after ``seconds``; says whether it was."""
    child = os.fork()
    if child == 0:
        try:
            night(results, "n-00", KEYS, machines, after=after)  # type: ignore[arg-type]
        finally:
            os._exit(0)
    if seconds is not None:
        time.sleep(seconds)  # the point of time is what is tested
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def _whole_and_once(results: Path, machines: Machines, finished_before: set[str]) -> None:
    """The night is ended by the next call: one run, one regression, every cell answered, no finished one run again."""
    before = len(machines.booted)
    ended = night(results, "n-01", KEYS, machines)
    record = read_run(ended.done.folder)
    assert {cell.id: cell.state for cell in record.cells} == {"a": "finished", "b": "finished", "c": "finished"} | (
        {"b~2": "finished"}
    )
    again = [name for name in machines.booted[before:] if name in finished_before]
    assert again == []
    with reading(database_url(results)) as connection:
        told = [line.id for line in runs(connection) if line.id.startswith("n-0")]
    assert told == [*dict.fromkeys(told)]
    assert len([mark for _, mark in nights(results, "nightly") if mark.state == "done"]) == 2
    (one,) = known(results)
    assert (one.state, one.cells) == ("confirmed", ("b",))
    assert any(line.startswith("new: R1 munmap") for line in ended.mark.news)
    assert nothing(results, "n-02", KEYS, machines).mark.news[1].startswith("nothing new")
    assert len(known(results)) == 1


def _finished(results: Path) -> set[str]:
    path = results / "n-00/run.json"
    return (
        {cell.id for cell in read_run(results / "n-00").cells if cell.state == "finished"} if path.exists() else set()
    )


def _first_night(results: Path, machines: Machines) -> None:
    """A good night before, so that what is broken later is new."""
    night(results, "m-00", dict.fromkeys(KEYS, ""), Machines(results / "earlier"))
    machines.scripts = {"b": [BROKEN]}


@pytest.mark.parametrize("point", range(1, 29))
def test_killed_at_a_write_it_goes_on(
    tmp_path: Path, machines: Machines, point: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At each of the files that a night renames into place, from the first to the last."""
    _first_night(tmp_path, machines)
    left = [point]
    real = Path.replace

    def replace_or_die(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(self, target)

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", replace_or_die)
        killed = _killed(tmp_path, machines, lambda step: None)
    if not killed:
        pytest.skip(f"a night has fewer than {point} such files")
    _whole_and_once(tmp_path, machines, _finished(tmp_path))


def test_what_a_killed_night_had_no_time_to_keep_is_kept_when_it_ends(
    tmp_path: Path, machines: Machines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with monkeypatch.context() as patched:
        patched.setattr(FinishedCells, "keep", die)
        assert _killed(tmp_path, machines, lambda step: None)
    night(tmp_path, "n-01", KEYS, machines)
    before = len(machines.booted)
    assert nothing(tmp_path, "n-02", KEYS, machines).folder == tmp_path / "n-00"
    assert len(machines.booted) == before


@pytest.mark.parametrize("seed", range(20))
def test_killed_at_any_time_it_goes_on(tmp_path: Path, machines: Machines, seed: int) -> None:
    _first_night(tmp_path, machines)
    if not _killed(tmp_path, machines, lambda step: None, random.Random(seed).uniform(0.0, 0.6)):
        pytest.skip("it had ended")
    _whole_and_once(tmp_path, machines, _finished(tmp_path))


def test_the_page_of_a_night_begins_with_what_the_night_ended_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = default_matrix(tmp_path / "n-00")
    done.folder.mkdir()
    write_run(done.folder, done.record)
    mark = NightRecord(
        state="running", selection="nightly", news=("nightly n-00: 7 cells", "new: R1 munmap gets at it")
    )
    ended = Night(done, mark, SinceLast(None, None), (), Changed())
    monkeypatch.setattr(cli_nightly, "conclude", lambda *given: ended)
    steps = cli_nightly.NightSteps(lambda _: done, lambda _: None, lambda *_: None)
    assert cli_nightly._night(WANTED, None, done, 0.0, steps) is ended  # type: ignore[arg-type]
    page = (done.folder / "report.html").read_bytes()
    assert page.index(b"Since last night") < page.index(b"new: R1 munmap gets at it") < page.index(b"What failed")
    assert read_run(done.folder).reports["report.html"] == sha256(page).hexdigest()


def test_what_would_refuse_a_night_in_its_end_refuses_it_before_anything_boots(tmp_path: Path) -> None:
    results = tmp_path / "results"
    damaged = results / "cost" / "20261128-010203-0000" / "cost.json"
    damaged.parent.mkdir(parents=True)
    damaged.write_text("{")
    said = CliRunner().invoke(cli, ["nightly", "--offline", "--results", str(results)])
    assert isinstance(said.exception, UsageError) and str(damaged) in str(said.exception)
    assert nightly_folders(results) == []
    damaged.unlink()
    matrix = tmp_path / "kernels.yaml"
    matrix.write_text(default_path().read_text().replace("counted: true", "counted: false"))
    said = CliRunner().invoke(cli, ["nightly", "--cost", "-f", str(matrix), "--results", str(results)])
    assert isinstance(said.exception, UsageError) and "costs need a profile" in str(said.exception), said.exception
    assert nightly_folders(results) == []


def test_costs_are_counted_before_a_night_says_that_nothing_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    steps: list[str] = []
    same = object()
    monkeypatch.setattr(cli_nightly, "plan_night", lambda *_: None)
    monkeypatch.setattr(cli_nightly, "nothing_new", lambda *_: steps.append("nothing new") or same)
    how = cli_nightly.NightSteps(lambda _: None, lambda _: steps.append("counted"), lambda *_: None)  # type: ignore[arg-type, return-value]
    assert cli_nightly._night(WANTED, None, None, 0.0, how) is same  # type: ignore[arg-type]
    assert steps == ["counted", "nothing new"]


def test_costs_that_could_not_be_counted_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    why = "debian-newest: its costs were not counted: it went away"
    monkeypatch.setattr(
        cli_nightly,
        "unmeasured",
        lambda *_: {("00", "x86_64"): ("a", SimpleNamespace(name="debian-newest", arch="x86_64"))},
    )
    monkeypatch.setattr(cli_nightly, "cost_rows", dict)
    monkeypatch.setattr(cli_nightly, "count_kernels", lambda *_, **__: (why,))
    lost: list[str] = []
    options = SimpleNamespace(results=tmp_path, scale=1.0)
    whole = SimpleNamespace(every=(), plan=SimpleNamespace(folder=tmp_path / "n-00"))
    cli_nightly._counting(None, options, "nightly", Console(), lost.extend, quiet=True)(whole)  # type: ignore[arg-type]
    assert lost == [why]


@pytest.mark.parametrize("asked", [KeyboardInterrupt("building the kernel of linux"), Interrupted("interrupted")])
def test_an_interrupt_of_any_step_of_a_night_says_that_the_same_command_continues(asked: BaseException) -> None:
    what = " while building the kernel of linux" if isinstance(asked, KeyboardInterrupt) else ""
    with pytest.raises(Interrupted) as told, cli_nightly._telling_how_to_go_on():
        raise asked
    assert str(told.value) == f"interrupted{what}; the same command continues this night"
