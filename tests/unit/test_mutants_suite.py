from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness.mutants.catalogue import load_mutants
from harness.mutants.foreign import foreign_summary
from harness.mutants.records import MutantRecord, MutationSession, Records
from harness.mutants.report import make_report
from harness.mutants.suite import SuiteResult, compare, steady
from harness.rules.load import load_catalogue
from harness.suites.definition import SuiteAsked
from harness.suites.judge import judge_suites
from harness.suites.model import Chunk
from harness.suites.records import ProgramRun

MUTANTS = load_mutants()


def result(failed: dict[str, str] | None = None, passed: tuple[str, ...] = (), lost: str = "") -> SuiteResult:
    return SuiteResult(failed or {}, passed, (), lost)


@pytest.mark.parametrize(
    ("pristine", "mutant", "outcome"),
    [
        (result(passed=("a", "b")), result(passed=("a", "b")), "survived"),
        (result(passed=("a", "b")), result({"a": "bypass"}, ("b",)), "killed"),
        (result({"a": "not ok"}, ("b",)), result({"a": "not ok"}, ("b",)), "survived"),
        (result({"end": "status 1"}), result({"end": "status 2"}), "killed"),
        (result(passed=("a", "b")), result(passed=("b",)), "killed"),
        (result(passed=("a",)), result(lost="panic"), "no-answer"),
        (result(passed=("a",)), result({"a": "crash"}, lost="panic"), "killed"),
        (result(passed=("a",)), result(passed=("a", "b")), "survived"),
    ],
)
def test_what_counts_as_noticed(pristine: SuiteResult, mutant: SuiteResult, outcome: str) -> None:
    assert compare(pristine, mutant).outcome == outcome


@pytest.mark.parametrize(
    ("mutant", "by"),
    [
        ({"open": "1"}, {}),
        ({"open": "2"}, {"open": "observed otherwise"}),
        ({}, {}),  # that is lost coverage, and told as such
        ({"open": "1", "other": "1"}, {}),
    ],
)
def test_what_is_recorded_only_counts_when_it_changes(mutant: dict[str, str], by: dict[str, str]) -> None:
    finding = compare(SuiteResult({}, (), observed={"open": "1"}), SuiteResult({}, (), observed=mutant))
    assert finding.by == by
    assert finding.outcome == ("killed" if by else "survived")


def test_another_division_of_mappings_is_told_once_however_many_rules_see_it() -> None:
    before = {"division/a": "1", "division/b": "1", "open": "1"}
    after = {"division/a": "2", "division/b": "2", "open": "1"}
    finding = compare(SuiteResult({}, (), observed=before), SuiteResult({}, (), observed=after))
    assert finding.by == {"division": "observed otherwise"}


def test_what_differs_between_two_runs_of_the_unchanged_kernel_says_nothing() -> None:
    one, other = (SuiteResult({}, ("r",), observed={"a": "1", "b": seen}) for seen in ("1", "2"))
    assert steady(one, other).observed == {"a": "1"}
    assert steady(one, SuiteResult({}, (), observed={"b": "1"})).observed == {"b": "1"}


def test_a_broken_promise_outranks_what_is_recorded_only() -> None:
    finding = compare(
        SuiteResult({}, ("a",), observed={"b": "1"}), SuiteResult({"a": "bypass"}, (), observed={"b": "2"})
    )
    assert finding.by == {"a": "bypass"}


def test_lost_coverage_is_told_apart_from_failures() -> None:
    finding = compare(result(passed=("a", "b")), result(passed=("a",)))
    assert (finding.by, finding.lost) == ({}, ("b",))


def test_a_foreign_suite_fails_by_what_fails_and_by_what_gives_no_answer() -> None:
    tap = b"1..4\nok 1 a\nnot ok 2 b\nok 3 c # SKIP none\n"
    run = {"mine": ProgramRun("mine", [Chunk(0, "out", tap)], ended=True, status=1)}
    results = judge_suites([SuiteAsked("mine", "mine", ("",))], run, None, "", ())
    read = foreign_summary(results, "")
    assert read.failed == {"mine/b": "test", "mine/test-4": "miss"}
    assert (read.passed, read.skipped) == (("mine/runs-to-its-end", "mine/a"), ("mine/c",))
    assert foreign_summary(results, "panic").failed == {"mine/b": "test"}


def session(passed: tuple[str, ...] = ()) -> MutationSession:
    return MutationSession(
        "src", (6, 12), "x86_64", "6.12.1", "ab" * 32, "sealmatrix", "cd" * 8, SuiteResult({}, passed)
    )


def test_records_come_back(tmp_path: Path) -> None:
    records = Records(tmp_path)
    assert records.session() is None
    records.write_session(session(passed=("a",)))
    assert records.session() == session(passed=("a",))
    killed = MutantRecord("one", "d1", "killed", {"a": "bypass"}, ("b",), "r", "ff", {"build": 1.5})
    records.write(killed)
    assert records.read("one") == killed
    assert records.fate("one", "d1") == killed
    assert records.fate("one", "d2") is None
    records.write(MutantRecord("two", "d1", "no-answer"))
    assert records.fate("two", "d1") is None


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"schema_version": 1}', '{"schema_version": 2}', "[" * 99999])
def test_damaged_records_count_as_absent(tmp_path: Path, text: str) -> None:
    (tmp_path / "mutants").mkdir()
    (tmp_path / "mutants/one.json").write_text(text)
    (tmp_path / "session.json").write_text(text)
    assert Records(tmp_path).read("one") is None
    assert Records(tmp_path).session() is None


def test_the_report_says_which_rules_notice_nothing() -> None:
    rules = load_catalogue()
    required = [r.id for r in rules.values() if r.level == "required"]
    chosen = [MUTANTS["munmap-unchecked"], MUTANTS["fork-drops-seal"], MUTANTS["madvise-remove-unlisted"]]
    meant = next(r.id for r in rules.values() if r.contract in chosen[0].breaks)
    fates = {
        "munmap-unchecked": MutantRecord("munmap-unchecked", "d", "killed", {meant: "bypass"}),
        "fork-drops-seal": MutantRecord("fork-drops-seal", "d", "survived"),
        "madvise-remove-unlisted": MutantRecord("madvise-remove-unlisted", "d", "survived"),
    }
    report = make_report(session(passed=tuple(required)), chosen, fates, rules)
    assert report.counts == {"survived": 1, "killed": 1, "equivalent": 1}
    newer = make_report(replace(session(), series=(7, 3)), chosen, fates, rules)
    assert newer.counts == {"survived": 2, "killed": 1}  # what nobody can notice on 6.12
    assert report.exit_code == 1
    assert report.kills == {meant: 1}
    assert set(report.idle) == set(required) - {meant}
    assert [line.as_meant for line in report.lines] == [True, False, False]
    assert not set(report.unanswered) & set(report.idle)
    del fates["fork-drops-seal"]
    assert make_report(session(), chosen, fates, rules).exit_code == 0
    fates["fork-drops-seal"] = MutantRecord("fork-drops-seal", "d", "not-built")
    assert make_report(session(), chosen, fates, rules).exit_code == 3


def test_rules_that_were_not_asked_are_not_those_that_cannot_be_answered() -> None:
    rules = load_catalogue()
    required = [r.id for r in rules.values() if r.level == "required"]
    passed, skipped = required[0], required[1]
    part = replace(session(), pristine=SuiteResult({}, (passed,), (skipped,), whole=False))
    report = make_report(part, [], {}, rules)
    assert (report.unanswered, report.idle) == ((skipped,), (passed,))
    assert set(report.unasked) == {*rules} - {passed, skipped}
    assert not make_report(session(), [], {}, rules).unasked


def test_the_report_says_which_rule_alone_notices_a_mutant() -> None:
    rules = load_catalogue()
    one, two, three = list(MUTANTS.values())[:3]
    fates = {
        one.id: MutantRecord(one.id, "d", "killed", {"a": "bypass"}),
        two.id: MutantRecord(two.id, "d", "killed", {"a": "bypass", "b": "hang"}),
        three.id: MutantRecord(three.id, "d", "killed", {"b": "bypass"}, whole=False),  # others were not asked
    }
    report = make_report(session(), [one, two, three], fates, rules)
    assert (report.alone, report.together) == ({"a": (one.id,)}, 1)
    assert report.to_json()["noticed_by_one"] == {"a": [one.id]}
