"""Exploration as a suite for mutants: what an outcome says."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import LostGuest
from harness.explore.corpus import load_corpus
from harness.explore.executor import BatchPlan
from harness.explore.exploration import Exploration, ExploreFinding
from harness.explore.oracles import ORACLES, StepProblem
from harness.explore.program import Program, parse_program
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.guests.console import find_crashes
from harness.mutants.exploring import false_alarms, observed_of, summary
from harness.mutants.suite import SuiteResult, compare
from tests.support.promising_kernel import MUNMAP, PromisingKernel

PROGRAM = parse_program("window 2 x 1 page, usual: anon 2 rw sealed\nmunmap 0-1")


def test_an_oracle_fails_with_its_finding_and_the_others_pass() -> None:
    problem = StepProblem("refused", 0, "munmap", "munmap answers 0 instead of EPERM", ("U1",))
    outcome = Exploration(
        1, judged=9, findings=[ExploreFinding(problem, PROGRAM, PROGRAM)], plan=BatchPlan(2, 4096, True, True, 0)
    )
    answer = summary(outcome)
    assert dict(answer.failed) == {"explore-refused": "munmap: munmap answers 0 instead of EPERM"}
    assert set(answer.passed) == {f"explore-{oracle}" for oracle in ORACLES} - {"explore-refused"}
    assert not answer.lost


def test_without_mseal_nothing_passes() -> None:
    answer = summary(Exploration(1, plan=BatchPlan(2, 4096, True, True, 38), release="6.9.12"))
    assert not answer.passed and len(answer.skipped) == len(ORACLES)
    unknown = summary(Exploration(1, plan=BatchPlan(2, 4096, True, True, 38)))
    assert unknown.lost and not (unknown.passed or unknown.skipped)


def test_a_lost_guest_is_no_answer() -> None:
    assert summary(Exploration(1, lost="it went away")).lost == "it went away"


def test_what_the_corpus_shows_is_held_against_what_it_showed(tmp_path: Path) -> None:
    class Divided(PromisingKernel):
        """What nobody promises is otherwise: every look says that a mapping begins at unit 0."""

        def _pass(self, program: Program, other: list[int] | None) -> tuple[bytes, list[int]]:
            facts, answers = super()._pass(program, other)
            return facts[:2] + b"\1" + facts[3:], answers

    corpus = load_corpus()
    seen, again, otherwise = (
        observed_of(Explorer(lambda kernel=kernel: kernel(tmp_path), b"elf", print), corpus)
        for kernel in (PromisingKernel, PromisingKernel, Divided)
    )
    assert set(seen) == {f"corpus/{kept.name}" for kept in corpus} and seen == again
    assert compare(SuiteResult({}, (), observed=seen), SuiteResult({}, (), observed=again)).outcome == "survived"
    assert compare(SuiteResult({}, (), observed=seen), SuiteResult({}, (), observed=otherwise)).outcome == "killed"


def test_what_the_unchanged_kernel_shows_as_well_is_a_false_alarm(tmp_path: Path) -> None:
    def explorer(kernel: PromisingKernel) -> Explorer:
        return Explorer(lambda: kernel, b"elf", lambda _text: None, first_only=True)

    broken = PromisingKernel(tmp_path, defect=lambda memory, step: step.op == MUNMAP)
    outcome = Exploration(1)
    explorer(broken).explore(ProgramSource(1), 0.0, outcome, [PROGRAM])
    assert [finding.problem.operation for finding in outcome.findings] == ["munmap"]
    assert false_alarms(explorer(PromisingKernel(tmp_path)), outcome.findings) == ()
    assert false_alarms(explorer(broken), outcome.findings) == tuple(outcome.findings)


def test_a_report_that_the_unchanged_kernel_writes_as_well_is_a_false_alarm(tmp_path: Path) -> None:
    report = "[    1.000001] WARNING: CPU: 0 PID: 54 at mm/vma.c:915 vma_modify+0xec/0x9b0\n"
    problem = StepProblem("console", 1, "the end", find_crashes(report)[0].title, ())
    finding = ExploreFinding(problem, PROGRAM, PROGRAM)
    loud = PromisingKernel(tmp_path / "loud", shouts=lambda program: report)
    loud.folder.mkdir()
    quiet = PromisingKernel(tmp_path / "quiet")
    quiet.folder.mkdir()
    assert false_alarms(Explorer(lambda: loud, b"elf", print), [finding]) == (finding,)
    assert false_alarms(Explorer(lambda: quiet, b"elf", print), [finding]) == ()


def test_an_unchanged_kernel_that_gives_no_answer_is_no_kill(tmp_path: Path) -> None:
    problem = StepProblem("refused", 0, "munmap", "munmap answers 0 instead of EPERM", ("U1",))
    gone = PromisingKernel(tmp_path, dies=lambda program: True)
    with pytest.raises(LostGuest):
        false_alarms(Explorer(lambda: gone, b"elf", print), [ExploreFinding(problem, PROGRAM, PROGRAM)])
