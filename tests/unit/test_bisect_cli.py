"""``sealmatrix bisect``: what it refuses, and how it shows progress and answers."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from rich.console import Console

from harness.bisect import session as sessions
from harness.bisect.bisection import go
from harness.bisect.candidates import BisectBuild
from harness.bisect.prepare import Prepared
from harness.bisect.session import BisectOptions
from harness.cli.bisect import _hearing, bisect
from harness.errors import UsageError
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import STANDARD_PROFILE
from tests.bisect_fakes import BAD, GOOD, LOST, FakeAsk, kernel, question

BUILDS = tuple(BisectBuild(f"6.{n}-1", f"6.{n}", "", "sid", lambda n=n: kernel(f"6.{n}-1")) for n in range(12, 18))  # type: ignore[misc]
TASK = BisectOptions("builds", "munmap-blocked", "x86_64", "oldest", "newest", builds=tuple(b.name for b in BUILDS))
PREPARED = Prepared(TASK, question(), load_matrix(shipped_path()), STANDARD_PROFILE, BUILDS)


def call(*words: str, results: Path) -> Result:
    return CliRunner().invoke(bisect, ["--results", str(results), *words], standalone_mode=False)


def bisected(results: Path, console: Console) -> sessions.Session:
    ask = FakeAsk(lambda name: LOST if name == "6.14-1" else BAD if name >= "6.16" else GOOD)
    with sessions.begin(results, TASK) as session, _hearing(console, quiet=False) as on_progress:
        go(PREPARED, session, ask, on_progress, lambda *_: pytest.fail("nothing is built"))
    return session


def test_progress_in_plain_lines(tmp_path: Path) -> None:
    console = Console(record=True, width=200, force_terminal=False, no_color=True)
    bisected(tmp_path, console)
    said = console.export_text().splitlines()
    assert said[0] == "6.12-1: good pass: control 0, sealed EPERM (1.0 s); 3 steps left"
    assert "6.14-1: no answer never said hello (1.0 s)" in "\n".join(said)
    assert said[-1] == "6.16-1: again bad fail bypass: succeeded over sealed memory (1.0 s)"
    assert any("steps left, about 0:0" in line or "step left, about 0:0" in line for line in said)


def test_progress_on_a_terminal_is_a_status_and_lines(tmp_path: Path) -> None:
    console = Console(record=True, width=100, force_terminal=True)
    bisected(tmp_path, console)
    assert "6.16-1: bad fail bypass" in console.export_text()


def test_an_answer_is_shown_again(tmp_path: Path) -> None:
    session = bisected(tmp_path, Console(quiet=True))
    shown = call("--show", "last", results=tmp_path)
    assert shown.return_value == 0
    assert shown.output.splitlines()[1:3] == ["first bad build: 6.16-1", "last good build:  6.15-1"]
    assert shown.output.splitlines()[-1] == f"log: {session.folder}/bisect.log; repeat: {session.folder}/repeat.sh"
    answer = json.loads(call("--show", session.id, "--json", results=tmp_path).output)
    assert (answer["state"], answer["regzbot"]) == ("found", "#regzbot introduced: v6.15..v6.16")
    assert {trial["answer"] for trial in answer["trials"]} == {"good", "bad", "untestable"}
    assert answer["boots"] == len({trial["run"] for trial in answer["trials"]})
    script = (session.folder / "repeat.sh").read_text()
    assert (
        "sealmatrix bisect --good 6.15-1 --bad 6.16-1 --rule munmap-blocked --arch x86_64 --fresh --no-check" in script
    )


def test_an_answer_that_is_not_there_yet(tmp_path: Path) -> None:
    with sessions.begin(tmp_path, replace(TASK, repeat=3)) as session:
        pass
    shown = call("--show", "last", results=tmp_path)
    assert isinstance(shown.exception, UsageError)
    assert f"--resume {session.id}" in str(shown.exception)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--rule and --good and --bad must be given"),
        (["--rule", "munmap-blocked", "--good", "6.12"], "--bad must be given"),
        (["--resume", "last", "--rule", "munmap-blocked"], "--resume continues the"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "--repeat", "0"], "0 is not in the range"),
        (["--rule", "munmap-block", "--good", "1", "--bad", "2"], "did you mean 'munmap-blocked'"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "--probe", "x"], "no probe of munmap-blocked"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "--observation", "x"], "FIELD=VALUE"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "-p", "huge"], "--profile huge"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "-k", "nonesuch"], "has no such kernel"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "-k", "debian-6.12"], "fewer than two kernels"),
        (["--rule", "munmap-blocked", "--good", "1", "--bad", "2", "--tree", "nowhere"], "no such folder"),
        (["--resume", "last"], "has no bisections"),
        (["--show", "nonesuch"], "has no bisections"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(words: list[str], message: str, tmp_path: Path) -> None:
    done = call("-f", str(shipped_path()), *words, results=tmp_path / "results")
    assert done.exception is not None
    assert message in str(getattr(done.exception, "message", "") or done.exception)
    assert not (tmp_path / "results").exists()
