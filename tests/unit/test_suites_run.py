"""Foreign suites in a guest: what is run, what is kept of it, and how it is judged."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from pydantic import TypeAdapter

from harness.errors import LostGuest
from harness.guests.console import Crash
from harness.guests.model import Event, Exited, Output
from harness.matrix.model import Profile
from harness.model.documents import RuleId
from harness.model.rule import KernelFacts, Known, Test, Where
from harness.model.verdict import INTERRUPTED, RuleResult
from harness.observations.journal import read_journal
from harness.runs.cells import status_counts
from harness.runs.execution.cell_worker import CellOutcome, CellWorker
from harness.runs.judging import SUITES, WithSuites, judge_cell
from harness.runs.model import JOURNAL, Cell, SuiteLoad, Workload
from harness.suites.definition import SuiteAsked, SuiteFile, SuiteProgram, SuiteWork, asked_json, read_asked
from harness.suites.judge import END, judge_suites, test_times
from harness.suites.records import ProgramRun, programs_run
from tests.builders import cell, run
from tests.fakes import FakeGuest

KNOWN = Known(Where(until=(6, 13, 0)), "older kernels refuse it", "measured", ("munmap",))
ASKED = SuiteAsked("mine", "a suite of mine", ("",), drop=("^test_",), known=(KNOWN,))
FACTS = KernelFacts("6.12.0", "x86_64", 4096)
TAP = b"1..3\nok 1 test_mprotect\nnot ok 2 test_munmap\nok 3 caf\xe9 # SKIP none\n"


class SuiteGuest(FakeGuest):
    """A guest whose programs, unlike ours, say what ``printed`` has."""

    printed: Sequence[Event | Exception] = ()

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        self.calls.append("run " + " ".join(argv))
        for step in self.printed if "--deadline-ms" in argv else ():
            if isinstance(step, Exception):
                raise step
            yield step
            if isinstance(step, Exited):
                return
        yield Exited(0, None)


def work(*programs: SuiteProgram, shell: bool = False) -> SuiteWork:
    files = (SuiteFile("prog", b"\x7fELF"), SuiteFile("data/words", b"x", 0o644))
    return SuiteWork("mine", programs or (SuiteProgram("", ("./prog", "-v")),), files, ("A=b",), 5.0, shell)


def cell_of(tmp_path: Path, printed: Sequence[Event | Exception], suite: SuiteWork) -> tuple[CellOutcome, SuiteGuest]:
    guest = SuiteGuest()
    guest.printed = printed
    return outcome_of(tmp_path, guest, suite), guest


def outcome_of(tmp_path: Path, guest: SuiteGuest, suite: SuiteWork) -> CellOutcome:
    load = SuiteLoad(b"launch", b"busybox" if suite.needs_shell else b"", (suite,))
    workload = Workload(SUITES, "abc", "def", b"", (), (), suites=load)
    cell = Cell("k.x86_64", "x86_64", Profile("standard"), None)
    return CellWorker(cell, workload, tmp_path, guest, lambda told: None).run()


def judged(outcome: CellOutcome, asked: SuiteAsked = ASKED) -> dict[str, RuleResult]:
    question = WithSuites((), (asked,))
    results = judge_cell(question, FACTS, outcome.journalled, outcome.lost, outcome.crashes)
    return {result.rule.id: result for result in results}


def statuses(results: dict[str, RuleResult]) -> dict[str, str]:
    return {name.removeprefix("mine/"): result.status for name, result in results.items()}


def test_a_suite_beside_dropped_messages_is_no_answer(tmp_path: Path) -> None:
    """One of them may have been a report, also where no probe of ours ran."""
    for said, lost in (("** 2 printk messages dropped **\n", True), ("eth0: up\n", False)):
        guest = SuiteGuest(
            console=tmp_path / "console.log",
            console_text=f"sealmatrix: begin mine\n{said}sealmatrix: end\n",
        )
        guest.printed = [Output("out", TAP), Exited(0, None)]
        (folder := tmp_path / str(lost)).mkdir()
        outcome = outcome_of(folder, guest, work())
        assert ("dropped messages" in outcome.lost) == lost


def test_a_suite_runs_in_place_of_the_rules_and_its_journal_shows_it_again(tmp_path: Path) -> None:
    outcome, guest = cell_of(tmp_path, [Output("out", TAP[:20]), Output("out", TAP[20:]), Exited(1, None)], work())
    assert (outcome.lost, guest.pushed.keys()) == ("", {"suite-launch", "suite-0-0", "suite-0-1"})
    assert "run /work/suite-launch --in suite-0 --place /work/suite-0-0 prog --place /work/suite-0-1 data/words" in (
        guest.calls
    )
    assert "run /work/suite-launch --in suite-0 --deadline-ms 5000 --set A=b ./prog -v" in guest.calls
    live = judged(outcome)
    assert statuses(live) == {END: "pass", "mprotect": "pass", "munmap": "known", "caf-xe9": "skip"}
    stored = CellOutcome(outcome.cell, journalled=read_journal(tmp_path / JOURNAL))
    assert judged(stored) == live


def test_a_known_failure_that_passes_is_fixed_and_elsewhere_it_is_a_failure(tmp_path: Path) -> None:
    passing = TAP.replace(b"not ok", b"ok")
    outcome, _ = cell_of(tmp_path, [Output("out", passing), Exited(0, None)], work())
    assert judged(outcome)["mine/munmap"].status == "fixed"
    failing = {"mine": ProgramRun("mine", [], ended=True, status=1)}
    assert judge_suites([ASKED], failing, FACTS, "", ())[0].status == "fail"
    newer = KernelFacts("6.13.0", "x86_64", 4096)
    (tmp_path / "newer").mkdir()
    outcome, _ = cell_of(tmp_path / "newer", [Output("out", TAP), Exited(1, None)], work())
    results = judge_cell(WithSuites((), (ASKED,)), newer, outcome.journalled, "", ())
    found = next(result for result in results if result.rule.id == "mine/munmap")
    assert (found.status, found.kind, found.worst.reason) == ("fail", "test", "test_munmap: not ok")


def test_a_guest_lost_in_the_middle_misses_what_was_planned(tmp_path: Path) -> None:
    outcome, _ = cell_of(tmp_path, [Output("out", TAP[:24]), LostGuest("flooded")], work())
    assert outcome.lost == "flooded"
    assert statuses(judged(outcome)) == {END: "error", "mprotect": "pass", "test-2": "miss", "test-3": "miss"}
    outcome.lost = INTERRUPTED
    assert statuses(judged(outcome))[END] == "miss"


def test_a_guest_that_never_came_up_misses_the_program(tmp_path: Path) -> None:
    results = judge_cell(WithSuites((), (ASKED,)), None, None, "the kernel was not available", ())
    assert [(r.rule.id, r.status, r.worst.reason) for r in results] == [
        (f"mine/{END}", "miss", "the kernel was not available")
    ]


def test_several_programs_have_their_names_in_ids_and_a_shell_is_installed_for_scripts(tmp_path: Path) -> None:
    suite = work(SuiteProgram("a", ("./a",)), SuiteProgram("b", ("./b",)), shell=True)
    outcome, guest = cell_of(tmp_path, [Output("out", b"1..1\nok 1 x\n"), Exited(0, None)], suite)
    asked = SuiteAsked("mine", "two", ("a", "b"))
    assert set(statuses(judged(outcome, asked))) == {f"a/{END}", "a/x", f"b/{END}", "b/x"}
    assert guest.pushed["busybox"] == b"busybox"


def test_a_program_that_skips_all_it_has_passes_nothing_and_the_run_is_not_green(tmp_path: Path) -> None:
    outcome, _ = cell_of(tmp_path, [Output("out", b"1..1\nok 1 a # SKIP no pkeys\n"), Exited(0, None)], work())
    found = judged(outcome)
    assert statuses(found) == {END: "skip", "a": "skip"}
    done = run(tmp_path, [(cell("debian-7.3"), list(found.values()))])
    assert status_counts(done)["pass"] == 0
    assert (done.unasked, done.exit_code) == (True, 3)


@pytest.mark.parametrize(
    ("data", "exited", "status", "words"),
    [
        (b"", Exited(0, None), "pass", ""),
        (b"no such luck\n", Exited(3, None), "fail", "exit status 3: no such luck"),
        (b"", Exited(None, 11), "fail", "killed by signal 11"),
        (b"1..0 # SKIP no mseal\n", Exited(4, None), "skip", "no mseal"),
        (b"1..1\nok 1 a # SKIP no pkeys\n", Exited(0, None), "skip", "every test was skipped: no pkeys"),
        (b"1..2\nok 1 a # SKIP no pkeys\nok 2 b\n", Exited(0, None), "pass", ""),
        (b"1..1\nok 1 a # SKIP no pkeys\n", Exited(1, None), "fail", "exit status 1"),
        (b"1..2\nok 1 a\nBail out! broken\n", Exited(1, None), "error", "Bail out! broken"),
        (b"1..1\nok 1 a\nok 2 b\n", Exited(0, None), "error", "2 tests reported and 1 were planned"),
        (b"1..1\nnot ok 1 a\n", Exited(1, None), "pass", "exit status 1"),
        (b"1..1\nok 1 a\n", Exited(1, None), "fail", "exit status 1"),
        (b"a.c:1: TCONF: no\nSummary:\nwarnings 0\n", Exited(32, None), "skip", "no"),
        (b"launch: exec ./prog: No such file\n", Exited(126, None), "error", "it could not be run"),
    ],
)
def test_how_a_program_ended(tmp_path: Path, data: bytes, exited: Exited, status: str, words: str) -> None:
    outcome, _ = cell_of(tmp_path, [Output("out", data), exited], work())
    found = judged(outcome)[f"mine/{END}"]
    assert (found.status, found.worst.reason[: len(words)]) == (status, words)


def test_out_of_time_and_too_much_output_are_no_answers() -> None:
    late = {"mine": ProgramRun("mine", [], ended=True, signal=14, seconds=5.1, limit=5.0)}
    assert judge_suites([ASKED], late, FACTS, "", ())[0].worst.reason == "it did not end within 5 s, and was killed"
    cut = {"mine": ProgramRun("mine", [], ended=True, status=0, cut=True)}
    assert judge_suites([ASKED], cut, FACTS, "", ())[0].status == "error"


def test_a_crash_while_a_program_runs_is_its_failure() -> None:
    crash = Crash("oops", "BUG: unable to handle", (), "mine", True)
    run = {"mine": ProgramRun("mine", [])}
    (found,) = judge_suites([ASKED], run, FACTS, "the console went silent", [crash])
    assert (found.status, found.kind) == ("fail", "crash")


def test_notes_keep_any_bytes_and_times(tmp_path: Path) -> None:
    outcome, _ = cell_of(tmp_path, [Output("err", b"\xff\xfe"), Output("out", TAP), Exited(1, None)], work())
    assert outcome.journalled is not None
    runs = programs_run(json.loads(json.dumps(outcome.journalled.notes)))
    assert b"".join(chunk.data for chunk in runs["mine"].chunks) == b"\xff\xfe" + TAP
    times = test_times([ASKED], runs)
    assert set(times) == {"mine/mprotect", "mine/munmap", "mine/caf-xe9", f"mine/{END}"}


def test_what_is_asked_comes_back_from_plain_data() -> None:
    asked = SuiteAsked("mine", "t", ("a",), known=(KNOWN,), digests={"x86_64": "ab"})
    assert read_asked(json.loads(json.dumps(asked_json(asked)))) == asked


def test_the_history_and_verdicts_json_know_the_ids_of_tests() -> None:
    ids = TypeAdapter(RuleId)
    found = judge_suites([ASKED, SuiteAsked("kselftest-mseal-6.12", "t", ("mremap-test",))], {}, FACTS, "", ())
    assert [ids.validate_python(result.rule.id) for result in found] == [
        f"mine/{END}",
        f"kselftest-mseal-6.12/mremap-test/{END}",
    ]


def test_a_test_is_a_check_with_its_suite_as_family() -> None:
    (found,) = judge_suites([ASKED], {}, FACTS, "", ())
    assert isinstance(found.rule, Test)
    assert (found.rule.family, found.rule.sources) == ("mine", ("a suite of mine",))
