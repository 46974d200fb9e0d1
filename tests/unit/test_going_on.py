"""What an interrupt leaves, and the command that it tells: quoted, and with the options that mean the same again."""

from __future__ import annotations

import json
import shlex
import threading
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from harness.bisect.session import SESSIONS, BisectOptions
from harness.bisect.session import begin as begin_session
from harness.cli.bisect import bisect
from harness.cli.explore import _ExploreRun, explore
from harness.cli.going_on import broken_off, ending, telling_how_to_resume
from harness.cli.run import run as run_command
from harness.errors import Interrupted, UsageError
from harness.explore.executor import BatchPlan
from harness.explore.exploration import Exploration
from harness.explore.source import ProgramSource
from harness.kernels.resolve import Resolution
from harness.matrix.model import CellSpec
from harness.model.run_record import read_run
from harness.reports.explore import Explored
from harness.runs.commands import RESULTS, report_command, resume_command, runs_command
from harness.runs.execution import run as engine
from harness.runs.execution.run import execute
from harness.runs.planning.resume import left_over
from harness.runs.run_store import find_run
from tests.support.scripted_runs import PLAN, WHOLE, begin, cell, guest, run_plan, seen


def test_the_command_to_continue_is_quoted_and_finds_what_it_names() -> None:
    folder = Path("my results/20261129-1")
    command = resume_command("run", folder, results=folder.parent, matrix=Path("a b.yaml"), words=["--offline"])
    assert command == "sealmatrix run --offline --resume 20261129-1 --results 'my results' -f 'a b.yaml'"
    assert resume_command("run", Path("results/x"), results=Path("results")) == "sealmatrix run --resume x"
    # A run that was named by its path is no run of the results folder.
    assert resume_command("run", Path("/far/x"), results=Path("results")) == "sealmatrix run --resume /far/x"
    below = resume_command("bisect", Path("r/bisect/x"), results=Path("r"), below=SESSIONS)
    assert below == "sealmatrix bisect --resume x --results r"
    assert report_command(Path("my results/x")) == "sealmatrix report 'my results/x' --all"


def test_a_run_that_is_not_there_is_looked_for_in_the_folder_that_was_given(tmp_path: Path) -> None:
    for day in range(10, 30):
        (tmp_path / f"202611{day}-120000-aaaa").mkdir()
        (tmp_path / f"202611{day}-120000-aaaa" / "run.json").touch()
    with pytest.raises(UsageError, match=f"to list all 20: sealmatrix history runs --results {tmp_path}"):
        find_run(tmp_path, "zz")
    assert runs_command(RESULTS) == "sealmatrix history runs"


# --- a run ----------------------------------------------------------------------------------------------------------


def once(monkeypatch: pytest.MonkeyPatch, name: str, at: int = 1) -> None:
    """Interrupt a function of the engine when it is called the ``at``-th time; then it does its work."""
    real, calls = getattr(engine, name), []

    def interrupted(*args: object, **options: object) -> object:
        calls.append(name)
        if len(calls) == at:
            raise KeyboardInterrupt
        return real(*args, **options)

    monkeypatch.setattr(engine, name, interrupted)


def test_an_interrupt_while_the_last_cell_is_judged_leaves_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "my runs" / "r"
    once(monkeypatch, "judge_cell")
    with pytest.raises(Interrupted) as told, telling_how_to_resume(folder, "sealmatrix run --resume r"):
        execute(run_plan(folder, [cell("a")]), lambda c, _: guest(tmp_path, *WHOLE), lambda _: None)
    assert "resume" not in str(told.value)
    assert f"to write the missing reports: sealmatrix report '{folder}' --all" in str(told.value)
    record = read_run(folder)
    assert (record.state, [c.state for c in record.cells]) == ("finished", ["finished"])
    with pytest.raises(UsageError, match="nothing to resume"):
        left_over(folder)


def test_an_interrupt_while_another_cell_is_judged_can_be_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "r"
    once(monkeypatch, "judge_cell")
    scripts = {"a": WHOLE, "b": (PLAN, seen(0), begin(1), threading.Event())}  # b would never end
    plan = run_plan(folder, [cell(name) for name in scripts], jobs=1)
    done = execute(plan, lambda c, _: guest(tmp_path, *scripts[c.id]), lambda _: None)
    assert (done.record.state, done.exit_code) == ("interrupted", 130)
    assert [c.state for c in left_over(folder).cells] == ["finished", "interrupted"]
    assert broken_off(folder, "sealmatrix run --resume r") == "to continue: sealmatrix run --resume r"
    assert broken_off(folder) == f"what was seen is kept in {folder}"


@pytest.mark.parametrize(("name", "at"), [("write_run", 4), ("judge_cell", 2)], ids=["at its end", "a second time"])
def test_no_interrupt_leaves_a_run_that_seems_to_go_on(
    name: str, at: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "judge_cell":
        once(monkeypatch, name, 1)
    once(monkeypatch, name, at)
    with pytest.raises(KeyboardInterrupt):
        execute(run_plan(tmp_path / "r", [cell("a")]), lambda c, _: guest(tmp_path, *WHOLE), lambda _: None)
    assert read_run(tmp_path / "r").state in ("finished", "interrupted")
    assert "running" not in {c.state for c in read_run(tmp_path / "r").cells}


def test_a_run_that_is_interrupted_while_its_reports_are_written_says_how_they_are_had(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> int:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.ending.end", interrupted)
    results = tmp_path / "my results"
    words = ["--host", "-q", "-r", "munmap/anon-rw/exact", "--results", str(results)]
    done = CliRunner().invoke(run_command, words, standalone_mode=False)
    assert isinstance(done.exception, Interrupted), done.exception
    (folder,) = (path.parent for path in results.glob("*/run.json"))
    assert f": sealmatrix report '{folder}' --all" in str(done.exception)
    assert read_run(folder).state == "finished"


def test_what_was_interrupted_before_its_reports_is_said_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "r"
    once(monkeypatch, "judge_cell")
    scripts = {"a": WHOLE, "b": (PLAN, seen(0), begin(1), threading.Event())}
    done = execute(
        run_plan(folder, [cell(name) for name in scripts], jobs=1),
        lambda c, _: guest(tmp_path, *scripts[c.id]),
        lambda _: None,
    )
    with ending(done, "sealmatrix run --resume r"):
        click.echo("the table")
    said = capsys.readouterr()
    assert (said.out, said.err) == (
        "the table\n",
        "sealmatrix: interrupted; to continue: sealmatrix run --resume r\n",
    )


# --- a bisection ----------------------------------------------------------------------------------------------------


def test_a_bisection_is_continued_where_its_results_are(tmp_path: Path) -> None:
    task = BisectOptions("builds", "munmap-blocked", "x86_64", "oldest", "newest", builds=("6.12-1", "6.13-1"))
    results = tmp_path / "my results"
    with begin_session(results, task) as session:
        pass
    shown = CliRunner().invoke(bisect, ["--results", str(results), "--show", "last"], standalone_mode=False)
    assert f": sealmatrix bisect --resume {session.id} --results '{results}'" in str(shown.exception)


# --- an exploration -------------------------------------------------------------------------------------------------


@pytest.fixture
def exploring(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Explorations that boot nothing: each kernel's is what stands here, by turn."""
    turns = ["", "", "interrupted"]

    def alone(run: _ExploreRun, spec: CellSpec) -> Explored:
        outcome = Exploration(
            run.seed, programs=10, judged=10, lost=turns.pop(0), plan=BatchPlan(2, 4096, True, True, 0)
        )
        return Explored(spec.kernel.name, spec.arch, outcome, cell=spec.id)

    monkeypatch.setattr(_ExploreRun, "alone", alone)
    monkeypatch.setattr("harness.cli.explore.provide", lambda *_, **__: Resolution({}))
    return turns


KERNELS = ("debian-6.12", "debian-7.2", "debian-7.1.3")


def test_an_interrupted_exploration_tells_the_whole_command(exploring: list[str], tmp_path: Path) -> None:
    results = tmp_path / "my results"
    words = [*KERNELS, "-a", "x86_64", "--time", "5m", "--results", str(results)]
    done = CliRunner().invoke(explore, words, standalone_mode=False)
    (folder,) = results.iterdir()
    assert isinstance(done.exception, Interrupted)
    command = f"sealmatrix explore {' '.join(KERNELS)} -a x86_64 --time 5m --resume {folder.name} --results '{results}'"
    assert str(done.exception).endswith(f"to continue: {command}")
    assert exploring == []
    exploring += ["", "", ""]
    again = CliRunner().invoke(explore, shlex.split(command)[2:], standalone_mode=False)
    assert (again.exception, again.return_value) == (None, 0)


def test_an_interrupted_exploration_prints_what_it_has_as_json(exploring: list[str], tmp_path: Path) -> None:
    words = [*KERNELS, "-a", "x86_64", "--json", "--results", str(tmp_path)]
    done = CliRunner().invoke(explore, words, standalone_mode=False)
    assert isinstance(done.exception, Interrupted)
    (folder,) = tmp_path.iterdir()
    told = json.loads(done.stdout)
    assert [one["lost"] for one in told] == ["", "", "interrupted"]
    kept = json.loads((folder / "explore.json").read_text())
    assert [one["kernel"] for one in kept] == [one["kernel"] for one in told]


def test_what_was_explored_is_there_before_it_is_printed(
    exploring: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.cli.explore.print_explored", interrupted)
    done = CliRunner().invoke(explore, [KERNELS[0], "-a", "x86_64", "--results", str(tmp_path)], standalone_mode=False)
    (folder,) = tmp_path.iterdir()
    assert isinstance(done.exception, Interrupted)
    assert f"--resume {folder.name} --results {tmp_path}" in str(done.exception)
    (kept,) = json.loads((folder / "explore.json").read_text())
    assert kept["programs"] == 10


def test_an_exploration_that_is_resumed_twice_goes_on_where_each_kernel_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    came: list[tuple[str, int, int]] = []

    class Stopped:
        """Stops before its first batch where the tests say so."""

        def explore(self, source: ProgramSource, _seconds: float, outcome: Exploration, _corpus: object) -> None:
            came.append((outcome.arch, source.batches, source.exhausted))
            if interrupt:
                raise KeyboardInterrupt
            outcome.judged, outcome.batches, outcome.exhausted = 10, source.batches + 2, source.exhausted + 256
            outcome.exhausted_at = ProgramSource(5, exhausted=outcome.exhausted).at

        def stop(self) -> None:
            """There is nothing to end."""

    monkeypatch.setattr(_ExploreRun, "_explorer", lambda *_: Stopped())
    monkeypatch.setattr("harness.cli.explore.provide", lambda *_, **__: Resolution({}))
    words = ["debian-6.12", "--seed", "5", "--results", str(tmp_path)]
    interrupt = False
    assert CliRunner().invoke(explore, words, standalone_mode=False).return_value == 0
    (first,) = tmp_path.iterdir()
    interrupt = True
    words[1:3] = ["--resume", first.name]
    again = CliRunner().invoke(explore, words, standalone_mode=False)  # at the first of two architectures, at once
    assert isinstance(again.exception, Interrupted)
    (second,) = set(tmp_path.iterdir()) - {first}
    interrupt = False
    words[1:3] = ["--resume", second.name]
    assert CliRunner().invoke(explore, words, standalone_mode=False).return_value == 0
    fresh, once, twice = came[:2], came[2:3], came[3:]
    assert [progress for _, *progress in fresh] == [[0, 0], [0, 0]]
    assert [progress for _, *progress in once] == [[2, 256]]
    assert [progress for _, *progress in twice] == [[2, 256], [2, 256]]


def test_an_exploration_of_a_version_with_another_list_is_not_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("harness.cli.explore.provide", lambda *_, **__: Resolution({}))
    (tmp_path / "earlier").mkdir()
    told = [
        {"cell": "debian-6.12.x86_64.two-cpus", "seed": 5, "batches": 2, "exhaustive": 256, "exhaustive_at": "0" * 16}
    ]
    (tmp_path / "earlier/explore.json").write_text(json.dumps(told))
    words = ["debian-6.12", "-a", "x86_64", "--resume", "earlier", "--results", str(tmp_path)]
    done = CliRunner().invoke(explore, words, standalone_mode=False)
    assert isinstance(done.exception, UsageError)
    assert "explore anew, without --resume" in str(done.exception)
    assert [folder.name for folder in tmp_path.iterdir()] == ["earlier"]
