"""What makes a kernel good or bad, and what stored runs answer."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harness.bisect.predicate import BisectQuestion, SeenRule, make_question, parse_condition, see
from harness.bisect.search import Tally
from harness.bisect.trial_log import ATTEMPTS, Trial, TrialLog
from harness.bisect.trial_runner import (
    Asker,
    OneByOne,
    TrialAnswer,
    TrialRequest,
    _needs_fresh,
    rule_probes,
    trouble_of,
)
from harness.errors import UsageError
from harness.guests.accel import AccelWanted
from harness.kernels.model import Kernel, Origin
from harness.matrix.model import STANDARD_PROFILE, Profile
from harness.model.architectures import ARCHITECTURES
from harness.observations.model import Half, Observation
from harness.payload.build import build
from harness.rules.load import load_catalogue
from harness.runs.execution.run import execute
from harness.runs.kernel_records import kernel_record
from harness.runs.planning.compose import Options, _machine_record
from tests import builders
from tests.bisect_fakes import BAD, GOOD, LOST, SKIP, kernel, question
from tests.fakes import BOOTED
from tests.support.scripted_runs import WHOLE, cell, guest, run_plan

HALF = Half("done", result=-1, errno=1, before=("-",), after=("-",), write="-", mprotect=(0,), munmap=(0,))


def observed(errno: int, result: int = -1) -> Observation:
    return Observation("madvise/a/exact", "S", 4096, 1, HALF, replace(HALF, errno=errno, result=result))


def trial(point: str, seen: SeenRule | None, **changes: object) -> Trial:
    trouble = {"miss": "no-answer", "skip": "skip"}.get(seen.status, "") if seen else "build"
    return replace(Trial(point, point, "search", "boot", seen, trouble, "why", f"/r/{point}"), **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "errno", "result", "holds"),
    [
        ("errno=EPERM", 1, -1, True),
        ("errno=EPERM", 5, -1, False),
        ("errno!=EPERM", 5, -1, True),
        ("sealed.errno=0", 0, 0, True),
        ("control.errno=EPERM", 0, 0, True),
        ("result=0", 0, 0, True),
        ("said=EIO", 5, -1, True),
        ("signal=SIGSEGV", 5, -1, False),
    ],
)
def test_conditions(text: str, errno: int, result: int, holds: bool) -> None:
    condition = parse_condition(text)
    assert condition.holds(observed(errno, result)) is holds
    assert parse_condition(str(condition)) == condition


UNRETURNED = replace(HALF, stage="before", result=None, errno=0, after=(), write="", mprotect=(), munmap=())


@pytest.mark.parametrize(
    ("half", "answers"),
    [
        (replace(UNRETURNED, stage="setup", step="mseal", step_errno=38), ""),  # a kernel without mseal
        (replace(UNRETURNED, stage="seal"), ""),
        (replace(UNRETURNED, stage="before", signal=9), ""),
        (replace(UNRETURNED, stage="operation", step="fork", step_errno=12), ""),
        (replace(UNRETURNED, stage="operation", signal=9, timeout=True), ""),  # the signal was ours
        (replace(UNRETURNED, stage="operation", signal=11), "signal"),
        (replace(HALF, stage="after", signal=11), "errno result said signal"),
        (HALF, "errno result said signal"),
    ],
)
@pytest.mark.parametrize("field", ["errno", "result", "said", "signal"])
@pytest.mark.parametrize("relation", ["=0", "!=0", "=EPERM", "!=EPERM"])
def test_a_half_that_never_ran_its_operation_says_nothing(half: Half, answers: str, field: str, relation: str) -> None:
    rule = builders.rule("madvise-open", "madvise", "open")
    for which in ("sealed", "control"):
        asked = make_question(rule, ["madvise/a/exact"], None, parse_condition(f"{which}.{field}{relation}"))
        seen = see(builders.result(rule, "skip"), asked.condition, replace(observed(0, 0), **{which: half}))
        assert (seen.holds is not None) == (field in answers.split())
        if field not in answers.split():
            assert asked.answer(seen, None) == "untestable"
            assert trouble_of(asked, seen) == "skip"
            assert seen.reason == f"{which} half: {half.said}"


@pytest.mark.parametrize("text", ["", "errno", "errno=", "other.errno=0", "errnum=EPERM", "errno==1", "errno EPERM"])
def test_conditions_that_are_none(text: str) -> None:
    with pytest.raises(UsageError, match="--observation"):
        parse_condition(text)


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        ("fail", "bad"),
        ("known", "bad"),
        ("pass", "good"),
        ("fixed", "good"),
        ("error", "untestable"),
        ("miss", "untestable"),
        ("skip", "untestable"),
    ],
)
def test_the_verdict_decides_where_something_is_promised(status: str, answer: str) -> None:
    seen = see(builders.result(builders.rule("munmap-blocked"), status), None, None)  # type: ignore[arg-type]
    assert question().answer(seen, None) == answer


def test_a_condition_decides_whatever_the_verdict() -> None:
    rule = builders.rule("madvise-open", "madvise", "open")
    asked = make_question(rule, ["madvise/a/exact"], None, parse_condition("errno=EPERM"))
    seen = see(builders.result(rule, "observed"), asked.condition, observed(1))
    assert asked.answer(seen, None) == "bad"
    assert asked.answer(replace(seen, holds=False), None) == "good"
    assert asked.answer(replace(seen, holds=None), None) == "untestable"
    assert asked.answer(replace(seen, status="error"), None) == "untestable"


def test_probes_are_narrowed() -> None:
    rule, probes = builders.rule("r"), ("munmap/a/exact", "munmap/a/head", "munmap/b/exact")
    assert make_question(rule, probes, "*/a/*", None).probes == probes[:2]
    with pytest.raises(UsageError, match="no probe of r matches"):
        make_question(rule, probes, "mmap/*", None)
    with pytest.raises(UsageError, match="looks at one probe and r has 3: name one"):
        make_question(rule, probes, None, parse_condition("errno=0"))


def test_every_rule_has_probes_to_ask() -> None:
    for rule in load_catalogue().values():
        assert isinstance(make_question(rule, rule_probes(rule, "x86_64"), None, None), BisectQuestion)


def test_what_must_not_be_restored_from_a_saved_guest() -> None:
    stock = replace(kernel("k"), origin=Origin("debian", "trixie"))
    assert not _needs_fresh(TrialRequest("p", stock, 1, "search"))
    assert _needs_fresh(TrialRequest("p", stock, 1, "check"))
    assert _needs_fresh(TrialRequest("p", stock, 3, "search"))
    assert _needs_fresh(TrialRequest("p", kernel("k"), 1, "search"))  # built from a tree


def test_tallies() -> None:
    book = TrialLog(question(), "a")
    book.add([trial("a", GOOD), trial("b", BAD), trial("b", GOOD), trial("c", SKIP), trial("d", None, reason="x.c:1")])
    assert book.tally("a") == Tally(1)
    assert book.tally("b") == Tally(1, 1)
    assert book.tally("c").untestable == "skip: why"
    assert book.tally("d").untestable == "build: x.c:1"
    for number in range(ATTEMPTS):
        assert not book.tally("e").untestable, number
        book.add([trial("e", LOST)])
    assert book.tally("e").untestable == "no-answer: why"
    assert book.required == 5  # b disagrees with itself
    assert book.standing("a") == "open"
    assert book.boots == 4 + ATTEMPTS + 1


def test_the_same_kernel_has_the_same_answers() -> None:
    book = TrialLog(question(), "a")
    book.add([trial("a", GOOD, image="one"), trial("b", None, image="one", origin="same", trouble="", run="")])
    assert book.standing("b") == "good"
    assert book.boots == 1


def test_stored_runs_answer_for_the_same_kernel(tmp_path: Path) -> None:
    """What is no whole run, or another machine's, payload's or kernel's, answers nothing."""
    (tmp_path / "20260101-000000-0000").mkdir()
    (tmp_path / "20260101-000000-0000" / "run.json").write_text("{")
    rule = load_catalogue()["munmap-blocked"]
    asked = make_question(rule, rule_probes(rule, "x86_64"), None, None)
    options = Options(tmp_path, ())
    asker = Asker(asked, "x86_64", STANDARD_PROFILE, tmp_path / "runs", options, [tmp_path, tmp_path / "none"])
    assert asker.recall(TrialRequest("p", kernel("k"), 1, "search")) == []


def stored_run(folder: Path, profile: Profile, cpu: str) -> None:
    """A run of kernel "k" with the payload at hand, as it is left on the disk."""
    plan = run_plan(folder / "20260101-000000-0000", [cell("c")])
    payload = build("x86_64")
    asked = {
        "kernel": kernel_record(kernel("k")),
        "machine": _machine_record(profile),
        "payload_sha256": payload.sha256,
    }
    cells = tuple(record.model_copy(update=asked) for record in plan.record.cells)
    record = plan.record.model_copy(update={"cells": cells, "payload_id": payload.id})
    made = guest(folder, b"".join(WHOLE), booted=replace(BOOTED, cpu=cpu))
    execute(replace(plan, record=record), lambda _cell, _folder: made, lambda _told: None)
    journal = plan.folder / "cells" / "c" / "observations.jsonl"
    journal.write_text(journal.read_text().replace('"id": "id"', f'"id": "{build("x86_64").id}"'))
    told = json.loads((plan.folder / "run.json").read_text())  # which has the digest of the journal
    told["cells"][0]["evidence"] = {journal.name: sha256(journal.read_bytes()).hexdigest()}
    (plan.folder / "run.json").write_text(json.dumps(told))


TCG = ARCHITECTURES["x86_64"].cpu["tcg"]


@pytest.mark.parametrize(
    ("ran_on", "wanted", "acceleration", "answers"),
    [
        (TCG, "", "auto", 1),
        (TCG, "", "tcg", 1),
        (TCG, "", "kvm", 0),
        (TCG, "Haswell", "auto", 0),
        ("Haswell", "Haswell", "auto", 1),
        ("Haswell", "", "auto", 0),
        ("", "", "auto", 0),  # written before processors were
    ],
)
def test_stored_runs_answer_for_the_same_machine(
    ran_on: str, wanted: str, acceleration: AccelWanted, answers: int, tmp_path: Path
) -> None:
    profile = replace(STANDARD_PROFILE, cpu={"x86_64": wanted} if wanted else {})
    stored_run(tmp_path, profile, ran_on)
    options = Options(tmp_path, (), acceleration=acceleration)
    asker = Asker(question(), "x86_64", profile, tmp_path / "runs", options, [tmp_path])
    found = asker.recall(TrialRequest("p", kernel("k"), 1, "search"))
    assert [trial.seen.status for trial in found if trial.seen] == ["pass"] * answers


@pytest.mark.parametrize(("hugepages", "answers"), [(0, 1), (STANDARD_PROFILE.hugepages, 1), (1, 0)])
def test_huge_pages_a_question_does_not_use_do_not_matter(hugepages: int, answers: int, tmp_path: Path) -> None:
    """A run that asked little set none aside, one that asked all did."""
    stored_run(tmp_path, replace(STANDARD_PROFILE, hugepages=hugepages), TCG)
    asker = Asker(question(), "x86_64", STANDARD_PROFILE, tmp_path / "runs", Options(tmp_path, ()), [tmp_path])
    assert len(asker.recall(TrialRequest("p", kernel("k"), 1, "search"))) == answers


def test_a_kernel_asked_by_itself_has_a_folder_and_a_trial_for_each_boot(tmp_path: Path) -> None:
    folders: list[Path] = []

    def ask(asked: Kernel, folder: Path) -> TrialAnswer:
        assert folder.is_dir()
        folders.append(folder)
        return TrialAnswer(trouble="no-answer", reason=f"{asked.name} was lost")

    want = TrialRequest("6.12/1", kernel("k"), boots=2, purpose="check")
    one_by_one = OneByOne(tmp_path, ask)
    trials = one_by_one.boot([want])
    assert [(t.point, t.image, t.purpose, t.trouble, t.reason) for t in trials] == [
        ("6.12/1", "k", "check", "no-answer", "k was lost")
    ] * 2
    assert [t.run for t in trials] == list(map(str, folders))
    assert {folder.parent for folder in folders} == {tmp_path}
    assert len(set(folders)) == 2
    assert one_by_one.recall(want) == []
