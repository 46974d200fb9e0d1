"""The history in SQLite: recorded, rebuilt, asked; bad input is one line."""

from __future__ import annotations

import json
import sqlite3
import threading
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from click.testing import CliRunner

from harness.cli.history import history
from harness.errors import StoreError, UsageError
from harness.history.database import HEAD, database_url, reading, shown, writing
from harness.history.migrate import MIGRATIONS
from harness.history.queries import flaky, rule_history, rule_names, runs, slowest
from harness.history.read import read_folder
from harness.history.record import import_folders, remember
from harness.model.run_record import write_run
from harness.model.verdict import RuleResult, Status
from harness.reports.site import build_site, trend
from harness.runs.model import RunDone
from harness.runs.run_store import run_lock
from tests.builders import cell, default_matrix, result, rule, run
from tests.support.histories import on_disk


def kept(results: Path, name: str, results_of: Sequence[RuleResult], state: str = "finished") -> RunDone:
    """A run of one cell on disk, with its reports."""
    made = run(results / name, [(cell("debian-7.3", state=state), results_of)])  # type: ignore[arg-type]
    return on_disk(made, name)


def statuses(results: Path, name: str) -> list[str]:
    with reading(database_url(results)) as connection:
        return [point.status for point in rule_history(connection, name).points]


def test_a_run_is_remembered_whole_and_only_once(tmp_path: Path) -> None:
    done = on_disk(default_matrix(tmp_path / "r-00"), "r-00")
    assert remember(done.folder) == ""
    assert remember(done.folder) == ""
    with reading(database_url(tmp_path)) as connection:
        (line,) = runs(connection)
        points = rule_history(connection, "munmap-across").points
    assert (line.id, line.cells, line.exit_code, line.counts["fail"]) == ("r-00", 7, 1, 3)
    assert Counter(point.status for point in points) == {"skip": 2, "pass": 3, "fail": 2}
    assert {p.kind for p in points if p.status == "fail"} == {"bypass"}


def test_a_working_directory_whose_name_is_no_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here = tmp_path / "bad-\udcff"
    here.mkdir()
    monkeypatch.chdir(here)
    done = on_disk(default_matrix(Path("results") / "r-00"), "r-00")
    assert remember(done.folder) == ""
    with reading(database_url(Path("results"))) as connection:
        (line,) = runs(connection)
    assert line.folder.endswith("/bad-\\xff/results/r-00")


def test_the_history_can_be_made_anew_from_the_folders(tmp_path: Path) -> None:
    for number, status in enumerate(("pass", "fail", "pass")):
        kept(
            tmp_path, f"r-0{number}", [result(rule("munmap-a"), status, "why", "bypass" if status == "fail" else None)]
        )  # type: ignore[arg-type]
    folders = sorted(tmp_path.glob("r-*"))
    first = import_folders(database_url(tmp_path), folders)
    with reading(database_url(tmp_path)) as connection:
        before = rule_history(connection, "munmap-a"), runs(connection)
    (tmp_path / "history.sqlite").unlink()
    assert import_folders(database_url(tmp_path), folders, afresh=True) == first
    with reading(database_url(tmp_path)) as connection:
        assert (rule_history(connection, "munmap-a"), runs(connection)) == before
    assert statuses(tmp_path, "munmap-a") == ["pass", "fail", "pass"]
    import_folders(database_url(tmp_path), folders[:1], afresh=True)
    assert statuses(tmp_path, "munmap-a") == ["pass"]


def test_a_run_that_was_killed_is_judged_from_what_it_left(tmp_path: Path) -> None:
    done = kept(tmp_path, "r-00", [result(rule("munmap-a"))])
    write_run(done.folder, done.record.model_copy(update={"state": "running"}))
    (done.folder / "verdicts.json").unlink()
    found = read_folder(done.folder, {})
    assert (found.run["state"], found.run["exit_code"]) == ("interrupted", 3)
    with run_lock(done.folder), pytest.raises(UsageError, match="still active"):
        read_folder(done.folder, {})


def test_the_newest_shape_is_the_last_migration() -> None:
    """The tables are held against a constant, so that alembic need not be imported."""
    assert ScriptDirectory(str(MIGRATIONS)).get_current_head() == HEAD


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("run.json", "{", "cannot be read"),
        ("run.json", '{"schema_version": 9}', "schema version 9"),
        ("plan.json", "{", "cannot be read"),
    ],
)
def test_a_bad_folder_is_one_remark_and_harms_no_other(tmp_path: Path, name: str, text: str, said: str) -> None:
    good, bad = (kept(tmp_path, name, [result(rule("munmap-a"))]) for name in ("r-00", "r-01"))
    (bad.folder / name).write_text(text)
    (bad.folder / "verdicts.json").unlink()
    taken = import_folders(database_url(tmp_path), [bad.folder, good.folder])
    assert taken.runs == ("r-00",)
    (remark,) = taken.remarks
    assert said in remark
    assert "\n" not in remark


@pytest.mark.parametrize("text", ["[]", '{"schema_version": 2}', '\x00{"half', None])
def test_verdicts_that_the_run_did_not_write_are_not_taken(tmp_path: Path, text: str | None) -> None:
    done = kept(tmp_path, "r-00", [result(rule("munmap-a"), "fail", "why", "bypass")])
    path = done.folder / "verdicts.json"
    altered = (
        path.read_text().replace('"status": "fail"', '"status": "pass"').replace('"exit_code": 1', '"exit_code": 0')
    )
    path.write_text(text or altered)
    found = read_folder(done.folder, {})
    # There is no journal to judge anew: nothing passed, and the cell is lost.
    assert found.run["exit_code"] == 3
    assert [(cell["state"], found.results[cell["cell"]]) for cell in found.cells] == [("lost", {})]


def test_flaky_is_what_changed_while_nothing_else_did(tmp_path: Path) -> None:
    answers: list[tuple[Status, Status]] = [("pass", "pass"), ("fail", "pass"), ("pass", "pass")]
    for number, (one, other) in enumerate(answers):
        kind = "wrong-errno" if one == "fail" else None
        kept(tmp_path, f"r-0{number}", [result(rule("munmap-a"), one, "why", kind), result(rule("munmap-b"), other)])  # type: ignore[arg-type]
    kept(tmp_path, "r-03", [result(rule("munmap-b"), "miss", "lost")], state="lost")
    other_probes = kept(tmp_path, "r-04", [result(rule("munmap-b"), "skip", "of other probes")])
    (other_probes.folder / "plan.json").write_text("{}")
    import_folders(database_url(tmp_path), sorted(tmp_path.glob("r-*")))
    with reading(database_url(tmp_path)) as connection:
        (found,) = flaky(connection)
    assert (found.rule, found.runs, dict(found.statuses)) == ("munmap-a", 3, {"pass": 2, "fail wrong-errno": 1})


def test_slowest_cells_come_first(tmp_path: Path) -> None:
    remember(on_disk(default_matrix(tmp_path / "r-00"), "r-00").folder)
    with reading(database_url(tmp_path)) as connection:
        found = slowest(connection, 3)
    assert len(found) == 3
    assert found[0].mean == pytest.approx(6.85)


def test_two_runs_that_end_together_are_both_recorded(tmp_path: Path) -> None:
    folders = [kept(tmp_path, f"r-0{i}", [result(rule("munmap-a"))]).folder for i in range(6)]
    remarks: list[str] = []
    threads = [threading.Thread(target=lambda f=folder: remarks.append(remember(f))) for folder in folders]  # type: ignore[misc]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert remarks == [""] * 6
    assert len(statuses(tmp_path, "munmap-a")) == 6


def test_failing_to_record_is_a_remark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = kept(tmp_path, "r-00", [result(rule("munmap-a"))])
    (tmp_path / "history.sqlite").write_text("this is no database, but long enough to be taken for one" * 20)
    assert "not in the history" in remember(done.folder)
    monkeypatch.setenv("SEALMATRIX_HISTORY", "oracle://x")
    assert "sqlite or postgresql" in remember(done.folder)


def test_a_later_database_is_left_alone(tmp_path: Path) -> None:
    kept_run = kept(tmp_path, "r-00", [result(rule("munmap-a"))])
    remember(kept_run.folder)
    with sqlite3.connect(tmp_path / "history.sqlite") as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(UsageError, match="newer sealmatrix"), reading(database_url(tmp_path)):
        pass
    assert "newer sealmatrix" in remember(kept_run.folder)


@pytest.mark.parametrize(
    ("given", "driver"),
    [("x.sqlite", "sqlite"), ("sqlite:///x", "sqlite"), ("postgresql://u:secret@h/d", "postgresql+psycopg")],
)
def test_databases_are_named_by_url_or_file(given: str, driver: str) -> None:
    url = database_url(Path("results"), given)
    assert url.drivername == driver
    assert "secret" not in shown(url)


@pytest.mark.parametrize("given", ["mysql://h/d", "://", "postgresql://h:port/d"])
def test_other_databases_are_refused(given: str) -> None:
    with pytest.raises(UsageError):
        database_url(Path("results"), given)


def test_no_history_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="there is no history"), reading(database_url(tmp_path)):
        pass
    (tmp_path / "file").write_text("")
    with pytest.raises(StoreError, match="cannot be written"), writing(database_url(tmp_path / "file" / "below")):
        pass


def test_an_unknown_rule_names_the_nearest(tmp_path: Path) -> None:
    remember(kept(tmp_path, "r-00", [result(rule("munmap-blocked"))]).folder)
    with (
        reading(database_url(tmp_path)) as connection,
        pytest.raises(UsageError, match="did you mean 'munmap-blocked'"),
    ):
        rule_history(connection, "munmap-block")


def test_the_commands_print_tables_and_json(tmp_path: Path) -> None:
    on_disk(default_matrix(tmp_path / "r-00"), "r-00")
    runner = CliRunner()
    where = ["--results", str(tmp_path)]
    assert "1 runs recorded" in runner.invoke(history, ["rebuild", *where]).output
    for command in (["runs"], ["rule", "munmap-across"], ["flaky"], ["slowest"]):
        told = runner.invoke(history, [*command, *where])
        assert told.exit_code == 0, told.output
        data = json.loads(runner.invoke(history, [*command, *where, "--json"]).output)
        assert data["schema_version"] == 1
    assert "fail bypass always" in runner.invoke(history, ["rule", "munmap-across", *where]).output


def test_the_site_is_whole_and_its_links_are_relative(tmp_path: Path) -> None:
    done = on_disk(default_matrix(tmp_path / "results" / "r-00"), "r-00")
    gone = on_disk(default_matrix(tmp_path / "results" / "r-01"), "r-01")
    for one in (done, gone):
        remember(one.folder)
    for path in (gone.folder / "run.json", gone.folder / "report.html"):
        path.unlink()
    with reading(database_url(tmp_path / "results")) as connection:
        built = build_site(connection, tmp_path / "site", {}, 10)
        names = rule_names(connection)
    assert (built.runs, built.rules) == (2, 18)
    assert len(built.remarks) == 1
    pages = {p.relative_to(tmp_path / "site").as_posix() for p in (tmp_path / "site").rglob("*") if p.is_file()}
    plain = {"index.html", "style.css", "feed.xml", "runs/r-00/report.html", "regressions/index.html",
             "kernels/index.html", f"kernels/{'ab' * 8}.html"}  # fmt: skip
    assert pages == {*plain, *(f"rules/{name}.html" for name in names)}
    for page in pages - {"style.css", "runs/r-00/report.html"}:
        text = (tmp_path / "site" / page).read_text()
        assert str(tmp_path) not in text
        assert 'href="/' not in text


def test_the_trend_lets_no_failure_vanish(tmp_path: Path) -> None:
    remember(on_disk(default_matrix(tmp_path / "r-00"), "r-00").folder)
    with reading(database_url(tmp_path)) as connection:
        (bars,) = trend(runs(connection))
    assert bars[-1].status == "fail"
    assert all(bar.height >= 2 for bar in bars)
