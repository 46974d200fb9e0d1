"""The search for where a regression began: what is searched, for how long, and what a night writes down of it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.bisect.session import BisectOptions
from harness.errors import UsageError
from harness.history.database import database_url, reading
from harness.history.regressions import Regression, regressions
from harness.kernels.branches import clone_folder
from harness.kernels.store import Store
from harness.matrix.load import parse_matrix
from harness.model.run_record import CellRecord, KernelRecord, read_run, write_run
from harness.nightly import bisecting
from harness.nightly.bisecting import NONE, Searching, headline, resumed, search, task_of
from harness.nightly.marks import read_mark
from harness.nightly.messages import messages
from harness.nightly.night import end, notify
from harness.nightly.notify import Messenger, NotSent
from harness.processes.children import Done
from tests.nights import BROKEN, Machines, night, night_or_nothing, nothing

KEYS = {name: name * 40 for name in "abc"}
MATRIX = parse_matrix(
    b"""\
version: 1
kernels:
  stock: {source: debian, suites: [trixie], release: 6.12, flavour: full, architectures: [x86_64]}
  mine: {source: file, image: bzImage, architectures: [x86_64]}
  next: {source: tree, tree: linux, branch: next, architectures: [x86_64]}
  fixed: {source: tree, tree: linux, commit: v6.17, architectures: [x86_64]}
profiles:
  standard: {}
selections:
  default: {kernels: [stock]}
""",
    Path("/somewhere/kernels.yaml"),
)
ANSWER = {
    "exit_code": 0, "over": "builds", "state": "found", "commit": None, "between": [],
    "last": {"name": "6.12.95-1"}, "first": {"name": "6.12.107-1"},
}  # fmt: skip


def kernel(number: int, name: str = "stock", **changed: object) -> KernelRecord:
    facts = {
        "name": name, "release": f"6.12.{number}+deb13-amd64", "version": f"6.12.{number}", "arch": "x86_64",
        "flavour": "full", "sha256": f"{number:064}", "image_format": "vmlinux", "config_sha256": "",
        "origin_kind": "debian", "origin": "Debian trixie (amd64)", "packages": (("linux", f"6.12.{number}-1", "0"),),
    }  # fmt: skip
    return KernelRecord.model_validate({**facts, **changed})


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two nights: what the second one confirmed began between 6.12.95 and 6.12.117."""
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.runs.programs._names", dict)
    monkeypatch.setattr(bisecting, "prepare", lambda task: SimpleNamespace(task=task))
    machines = Machines(tmp_path / "booted")
    night(tmp_path, "n-00", KEYS, machines)
    machines.scripts = {"b": [BROKEN]}
    night(tmp_path, "n-01", KEYS | {"b": "x" * 40}, machines)
    for name, number in (("n-00", 95), ("n-01", 117)):
        record = read_run(tmp_path / name)
        cells = tuple(cell.model_copy(update={"kernel": kernel(number)}) for cell in record.cells)
        write_run(tmp_path / name, record.model_copy(update={"cells": cells}))
    return tmp_path


class Work:
    """In place of `sealmatrix bisect`: what each call comes to."""

    def __init__(self, *comes: str | None) -> None:
        self.comes, self.asked = list(comes), list[str]()

    def __call__(self, results: Path, session: str, seconds: float) -> str | None:
        self.asked.append(session)
        come = self.comes.pop(0)
        if come == "":
            answered(results / "bisect" / session)
        return come


def answered(folder: Path) -> None:
    content = json.loads((folder / "bisect.json").read_text())
    (folder / "bisect.json").write_text(json.dumps(content | {"answer": ANSWER}))


def how(results: Path, work: Callable[[Path, str, float], str | None], seconds: float = 600.0) -> Searching:
    return Searching(results=results, url=database_url(results), matrix=MATRIX, seconds=seconds, work=work)


def known(results: Path) -> Regression:
    with reading(database_url(results)) as connection:
        (one,) = regressions(connection)
    return one


def asked(results: Path) -> dict[str, Any]:
    (path,) = (results / "bisect").glob("*/bisect.json")
    task: dict[str, Any] = json.loads(path.read_text())["task"]
    return task


def test_a_confirmed_regression_is_bisected_once(results: Path) -> None:
    work = Work("")
    (found,) = search(how(results, work), "n-01", "2")
    assert found == known(results)
    assert (found.state, found.bisected) == ("bisected", "first bad build 6.12.107-1, last good 6.12.95-1")
    task = asked(results)
    assert (task["good"], task["bad"], task["flavour"], task["arch"]) == ("6.12.95-1", "6.12.117-1", "full", "x86_64")
    assert (task["rule"], task["probe"]) == ("munmap-blocked", "munmap/anon-rw/exact")
    assert search(how(results, work), "n-01", "3") == ()
    assert len(work.asked) == 1


def test_what_the_time_did_not_suffice_for_goes_on_the_next_night(results: Path) -> None:
    work = Work(None, "")
    assert search(how(results, work), "n-01", "2") == ()
    assert (known(results).state, known(results).bisected) == ("confirmed", "")
    assert search(how(results, work, seconds=1.0), "n-01", "3") == ()  # too little to begin with
    assert len(search(how(results, work), "n-02", "4")) == 1
    assert len(set(work.asked)) == 1


def test_an_answer_that_a_killed_night_did_not_write_down_is_read(results: Path) -> None:
    search(how(results, Work(None)), "n-01", "2")
    answered(results / "bisect" / known(results).bisection)
    (found,) = search(how(results, Work()), "n-01", "3")
    assert found.state == "bisected"


def test_a_session_that_was_deleted_begins_anew(results: Path) -> None:
    search(how(results, Work(None)), "n-01", "2")
    (results / "bisect" / known(results).bisection / "bisect.json").unlink()
    assert search(how(results, Work("")), "n-01", "3")[0].state == "bisected"


def test_what_cannot_be_searched_says_why_and_is_not_tried_again(results: Path) -> None:
    (found,) = search(how(results, Work("--bad 6.12.117-1 is good, not bad")), "n-01", "2")
    assert (found.state, found.bisection) == ("confirmed", NONE)
    assert found.events[-1] == ("2", "n-01", "not bisected: --bad 6.12.117-1 is good, not bad")
    assert search(how(results, Work()), "n-02", "3") == ()


@pytest.mark.parametrize("gone", ["the same kernel", "the night before", "no builds"])
def test_no_search_without_two_ends(results: Path, gone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(task: BisectOptions) -> object:
        raise UsageError("fewer than two kernels to search")

    match gone:
        case "the same kernel":
            (results / "n-00/run.json").write_text((results / "n-01/run.json").read_text())
        case "the night before":
            (results / "n-00/run.json").unlink()
        case _:
            monkeypatch.setattr(bisecting, "prepare", refuse)
    (found,) = search(how(results, Work()), "n-01", "2")
    said = {"the same kernel": "the same the night before", "the night before": "is missing", "no builds": "fewer than"}
    assert said[gone] in found.events[-1][2]
    assert not list((results / "bisect").glob("*")) if (results / "bisect").exists() else True


def test_a_night_without_news_goes_on_with_a_search_and_says_what_it_found(tmp_path: Path, results: Path) -> None:
    machines = Machines(tmp_path / "none")
    keys = KEYS | {"b": "x" * 40}
    work = Work(None, "")

    def looking(run: str, now: str) -> object:
        return search(how(results, work), run, now)

    before = night_or_nothing(tmp_path, "n-02", keys | {"a": "y" * 40}, machines, search=looking)
    assert before.mark.news[1].startswith("nothing new since n-01; 1 regression still open")
    sent: list[str] = []
    same = night_or_nothing(tmp_path, "n-03", keys | {"a": "y" * 40}, machines, search=looking)
    assert same.mark.news[1:] == ("bisected: R1 first bad build 6.12.107-1, last good 6.12.95-1",)
    ways = (Messenger("mail", lambda message, run: sent.append(message.subject)),)
    assert notify(same, ways, "page") == ()
    assert [subject[:26] for subject in sent] == ["[sealmatrix] bisected: R1 "]
    assert notify(same, ways, "page") == ()
    assert len(sent) == 1
    assert nothing(tmp_path, "n-04", keys | {"a": "y" * 40}, machines).mark.news[1].startswith("nothing new since n-02")


def test_the_night_that_opens_a_regression_searches_with_the_one_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("harness.runs.programs._names", dict)
    monkeypatch.setattr(bisecting, "prepare", lambda task: SimpleNamespace(task=task))
    machines = Machines(tmp_path / "booted", kernels=dict.fromkeys(KEYS, kernel(95, release="6.12.0-fake")))
    night(tmp_path, "n-00", KEYS, machines)
    machines.scripts = {"b": [BROKEN]}
    machines.kernels = dict.fromkeys(KEYS, kernel(117, release="6.12.0-fake"))

    def looking(run: str, now: str) -> object:
        return search(how(tmp_path, Work("")), run, now)

    ended = night(tmp_path, "n-01", KEYS | {"b": "x" * 40}, machines, search=looking)
    (one,) = ended.changed.opened
    assert one.state == "bisected", one.events


def test_what_is_said_when_it_is_new_is_not_said_again(tmp_path: Path, results: Path) -> None:
    machines = Machines(tmp_path / "more", {"c": [BROKEN], "b": [BROKEN]})

    def looking(run: str, now: str) -> object:
        return search(how(results, Work("")), run, now)

    sent: list[str] = []
    ended = night(tmp_path, "n-02", KEYS | {"b": "z" * 40, "c": "z" * 40}, machines, search=looking)
    assert "bisected: R1 first bad build 6.12.107-1, last good 6.12.95-1" in ended.mark.news
    (tmp_path / "n-02/nightly.json").write_text(
        ended.mark.model_copy(update={"state": "running", "sent": ()}).model_dump_json()
    )

    def refuse(message: object, run: str) -> None:
        raise NotSent("mail: no")

    assert len(notify(ended, (Messenger("mail", refuse),), "page")) == len(
        messages(ended.changed, ended.mark.alarms, "n-02", "page")
    )
    notify(ended, (Messenger("mail", lambda message, run: sent.append(message.key)),), "page")
    end(ended)
    assert read_mark(tmp_path / "n-02").sent == tuple(f"mail {key}" for key in sent)
    assert read_mark(tmp_path / "n-02").state == "done"


def cell(kernel: KernelRecord) -> CellRecord:
    return CellRecord(
        id=f"{kernel.name}.x86_64", profile="two-cpus", arch="x86_64", kernel=kernel, payload_sha256=""
    )  # fmt: skip


def test_commits_of_a_branch_are_searched_in_the_clone_that_has_them(results: Path) -> None:
    ends = [cell(kernel(1, "next", origin_kind="tree", origin=f"tree linux, commit {c * 12}")) for c in "ab"]
    task = task_of(known(results), *ends, MATRIX)
    assert (task.good, task.bad, task.profile) == ("a" * 12, "b" * 12, "two-cpus")
    assert task.tree == str(clone_folder(Store(), Path("/somewhere/linux")))
    ends = [cell(kernel(1, "fixed", origin_kind="tree", origin=f"tree linux, commit {c * 12}")) for c in "ab"]
    assert task_of(known(results), *ends, MATRIX).tree == "/somewhere/linux"
    changed = cell(kernel(1, "fixed", origin_kind="tree", origin=f"tree linux, commit {'b' * 12} with changes"))
    with pytest.raises(UsageError, match="what was built is no commit"):
        task_of(known(results), ends[0], changed, MATRIX)


def test_files_are_searched_as_the_store_has_them(results: Path) -> None:
    task = task_of(known(results), cell(kernel(1, "mine")), cell(kernel(2, "mine")), MATRIX)
    assert (task.good, task.bad, task.tree) == ("", "", "")


def test_headlines() -> None:
    commit = ANSWER | {
        "over": "commits", "commit": {"subject": "mm: drop a check"}, "first": {"name": "a" * 40},
        "last": {"name": "b" * 40},
    }  # fmt: skip
    assert headline(commit) == "first bad commit aaaaaaaaaaaa mm: drop a check, last good bbbbbbbbbbbb"
    some = ANSWER | {"state": "range", "between": [{"name": "6.12.96-1"}]}
    assert headline(some) == "the first bad build is one of 2: after 6.12.95-1, and 6.12.107-1 at the latest"
    assert "booted again" in headline(ANSWER | {"state": "unchecked"})


def test_a_search_that_gave_no_answer_tells_the_command_that_goes_on_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = b"note: something\nsealmatrix: the mirror does not answer\n"
    monkeypatch.setattr("harness.nightly.bisecting.run", lambda *_, **__: Done(3, b"", said))
    results = tmp_path / "my results"
    told = resumed(results, "20261129-1", 10.0)
    assert told == f"the mirror does not answer (sealmatrix bisect --resume 20261129-1 --results '{results}')"


def test_a_search_runs_this_program_and_nothing_that_lies_in_the_users_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "harness").mkdir()
    (tmp_path / "harness" / "__main__.py").write_text("open('ran', 'w').close()")
    (tmp_path / "harness" / "__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    told = resumed(Path("results"), "20261129-1", 60.0)
    assert told is not None and "results/bisect has no bisections" in told
    assert not (tmp_path / "ran").exists()
