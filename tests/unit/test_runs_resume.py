from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.load import parse_matrix
from harness.model.run_record import KernelRecord, RunRecord, read_run, write_run
from harness.runs.execution.run import execute
from harness.runs.judging import WithSuites
from harness.runs.planning.compose import Composed, Options
from harness.runs.planning.resume import left_over, recorded_options, resumed, specs_left
from harness.runs.repeats import first_id, repeat_of, repeated
from harness.runs.run_store import load_run, run_lock
from harness.suites.definition import SuiteAsked
from tests.fakes import FakeGuest
from tests.support.scripted_runs import PLAN, RULES, WHOLE, cell, guest, run_plan, seen, statuses

OPTIONS = Options(Path("results"), ("sealmatrix", "run", "--resume", "r"))


def composed(folder: Path, names: Sequence[str], guests: Mapping[str, FakeGuest]) -> Composed:
    plan = run_plan(folder.parent / "fresh", [cell(name) for name in names])
    record = plan.record.model_copy(update={"command": ("sealmatrix", "run", "--resume", "r")})
    return Composed(replace(plan, record=record), lambda c, _: guests[c.id])


def cut_short(folder: Path) -> RunRecord:
    """As a run that was killed leaves its folder: cell a whole, b half written, c waiting."""
    done = execute(run_plan(folder, [cell("a")]), lambda c, _: guest(folder.parent, *WHOLE), lambda told: None)
    other = run_plan(folder, [cell("b"), cell("c")]).record.cells
    half = folder / "cells/b"
    half.mkdir()
    (half / "observations.jsonl").write_bytes(PLAN + seen(0))
    cells = (*done.record.cells, other[0].model_copy(update={"state": "running"}), other[1])
    record = done.record.model_copy(update={"state": "running", "finished": "", "cells": cells})
    write_run(folder, record)
    return record


def test_a_run_that_somebody_else_resumed_meanwhile_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    cut_short(folder)
    record = left_over(folder)
    fresh = {name: guest(tmp_path, *WHOLE) for name in "bc"}
    rest = resumed(composed(folder, "abc", fresh), folder, record)
    execute(rest.plan, rest.make_guest, lambda told: None)
    with pytest.raises(UsageError, match="resumed by another process"):
        resumed(composed(folder, "abc", fresh), folder, record)
    assert {path.name for path in (folder / "cells").iterdir()} == set("abc")


def test_suites_are_asked_again_with_their_words_and_others_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    record = cut_short(folder)
    told = {"suites": ["./mine"], "suite_arguments": ["-v"], "suite_files": [], "suite_environment": ["A=b"]}
    kept = recorded_options(record.model_copy(update={"options": told}), OPTIONS)
    assert (kept.suites, kept.suite_arguments, kept.suite_environment) == (("./mine",), ("-v",), ("A=b",))
    fresh = composed(folder, "abc", {})
    other = replace(fresh.plan, assignment=WithSuites((), (SuiteAsked("mine", "a suite", ("",)),)))
    with pytest.raises(UsageError, match="its suites are others now"):
        resumed(replace(fresh, plan=other), folder, record)


def test_only_what_has_no_verdict_yet_is_run(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    cut_short(folder)
    record = left_over(folder)
    fresh = {name: guest(tmp_path, *WHOLE) for name in "bc"}
    rest = resumed(composed(folder, "abc", fresh), folder, record)
    assert [c.id for c in rest.plan.cells] == ["b", "c"]
    done = execute(rest.plan, rest.make_guest, lambda told: None)
    assert {name: statuses(done, name) for name in "abc"} == {name: ["pass", "pass"] for name in "abc"}
    assert (done.exit_code, done.record.state, done.record.id) == (0, "finished", "r")
    kept = read_run(folder)
    assert [c.state for c in kept.cells] == ["finished"] * 3
    assert [(s.cells, s.command[-2:]) for s in kept.sittings] == [(("b", "c"), ("--resume", "r"))]
    assert (folder / "sittings/1/b/observations.jsonl").read_bytes() == PLAN + seen(0)
    assert statuses(load_run(folder, RULES), "b") == ["pass", "pass"]
    with pytest.raises(UsageError, match="nothing to resume"):
        left_over(folder)


def test_a_run_that_is_interrupted_again_can_be_resumed_again(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    cut_short(folder)
    rest = resumed(composed(folder, "abc", {}), folder, left_over(folder))
    write_run(folder, rest.plan.record)  # killed at once
    again = resumed(composed(folder, "abc", {}), folder, left_over(folder))
    assert [s.cells for s in again.plan.record.sittings] == [("b", "c"), ("b", "c")]


def test_a_lost_cell_has_its_verdicts(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    execute(run_plan(folder, [cell("a")]), lambda c, _: guest(tmp_path, PLAN), lambda told: None)
    assert read_run(folder).cells[0].state == "lost"
    with pytest.raises(UsageError, match="nothing to resume"):
        left_over(folder)


def test_a_run_that_goes_on_is_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    cut_short(folder)
    with run_lock(folder), pytest.raises(UsageError, match="still active"):
        left_over(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"payload_id": "another"}, "its payload was another"),
        ({"catalogue_sha256": "another"}, "its catalogue was another"),
    ],
)
def test_another_experiment_is_refused(tmp_path: Path, change: dict[str, str], message: str) -> None:
    folder = tmp_path / "r"
    record = cut_short(folder).model_copy(update=change)
    with pytest.raises(UsageError, match=message):
        resumed(composed(folder, "abc", {}), folder, record)
    assert (folder / "cells/b").is_dir()


def test_another_plan_and_another_kernel_are_refused(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    record = cut_short(folder)
    with pytest.raises(UsageError, match="c can no longer be set up"):
        resumed(composed(folder, "ab", {}), folder, record)
    kernel = KernelRecord(
        name="b", release="6.12", arch="x86_64", flavour="", sha256="ab" * 32, image_format="", config_sha256="",
        origin_kind="", origin="",
    )  # fmt: skip
    cells = tuple(c.model_copy(update={"kernel": kernel}) if c.id == "b" else c for c in record.cells)
    with pytest.raises(
        UsageError, match=r"b: the kernel was 6\.12 \(sha256 abababababababab…\) and is not available now"
    ):
        resumed(composed(folder, "abc", {}), folder, record.model_copy(update={"cells": cells}))
    (folder / "plan.json").write_text('{"probes": []}')
    with pytest.raises(UsageError, match="plans other probes now"):
        resumed(composed(folder, "abc", {}), folder, record)


def test_a_crosscheck_by_another_payload_is_another_experiment(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    record = cut_short(folder)
    checked = tuple(c.model_copy(update={"second_sha256": "ab" * 32}) for c in record.cells)
    with pytest.raises(
        UsageError, match=r"the payload of the crosscheck of a had the sha256 abababababababab and has none now"
    ):
        resumed(composed(folder, "abc", {}), folder, record.model_copy(update={"cells": checked}))


def test_other_bytes_of_the_same_sources_are_another_experiment(tmp_path: Path) -> None:
    """Also those of a cell that is finished: its answers stand beside those of the next sitting."""
    folder = tmp_path / "r"
    record = cut_short(folder)
    for name in "abc":
        cells = (c.model_copy(update={"payload_sha256": "ab" * 32}) if c.id == name else c for c in record.cells)
        with pytest.raises(UsageError, match=f"the payload of {name} had the sha256 abababababababab and has 0000"):
            resumed(composed(folder, "abc", {}), folder, record.model_copy(update={"cells": tuple(cells)}))


def test_what_was_asked_for_is_kept_and_how_it_is_run_is_not(tmp_path: Path) -> None:
    asked = {
        "probes": ["munmap*"],
        "scale": 2.0,
        "repeat": 3,
        "jobs": 7,
        "offline": False,
        "acceleration": "tcg",
        "x": 1,
    }
    record = run_plan(tmp_path / "r", [cell("a")]).record.model_copy(update={"options": asked})
    options = recorded_options(record, replace(OPTIONS, jobs=1, offline=True))
    assert (options.probes, options.scale, options.repeat, options.acceleration) == (("munmap*",), 2.0, 3, "tcg")
    assert (options.jobs, options.offline, options.command) == (1, True, OPTIONS.command)


MATRIX = b"""version: 1
kernels:
  one: {source: file, image: bz, architectures: [x86_64]}
  two: {source: file, image: bz, architectures: [x86_64]}
profiles: {big: {smp: 2}}
"""


def test_cells_are_found_in_the_matrix_of_the_run_only(tmp_path: Path) -> None:
    matrix = parse_matrix(MATRIX, tmp_path / "kernels.yaml")
    cells = [cell("one.x86_64"), cell("one.x86_64.big"), cell("two.x86_64~2")]
    record = run_plan(tmp_path / "r", cells).record
    same = record.model_copy(update={"matrix": {"path": "m", "sha256": matrix.sha256}})
    assert [spec.id for spec in specs_left(same, matrix)] == ["one.x86_64", "one.x86_64.big", "two.x86_64"]
    other = record.model_copy(update={"matrix": {"path": "old.yaml", "sha256": "00" * 32}})
    with pytest.raises(UsageError, match=r"is not the matrix of run r \(old\.yaml"):
        specs_left(other, matrix)


def test_repeats_stand_behind_one_another() -> None:
    ids = [c.id for c in repeated([cell("a.x86_64"), cell("b.x86_64")], 3)]
    assert ids == ["a.x86_64", "a.x86_64~2", "a.x86_64~3", "b.x86_64", "b.x86_64~2", "b.x86_64~3"]
    assert [first_id(name) for name in ids[:3]] == ["a.x86_64"] * 3
    assert [repeat_of(name) for name in ids[:3]] == [1, 2, 3]
    assert (first_id("a~x"), repeat_of("a~x")) == ("a", 1)
