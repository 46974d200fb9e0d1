"""Exploration as a suite for mutants: what an outcome says."""

from __future__ import annotations

from harness.explore.executor import Plan
from harness.explore.model import ORACLES, Problem
from harness.explore.program import parse_program
from harness.explore.session import Exploration, ExploreFinding
from harness.mutants.exploring import summary

PROGRAM = parse_program("window 2 x 1 page, usual: anon 2 rw sealed\nmunmap 0-1")


def test_an_oracle_fails_with_its_finding_and_the_others_pass() -> None:
    problem = Problem("refused", 0, "munmap", "munmap answers 0 instead of EPERM", ("U1",))
    outcome = Exploration(
        1, judged=9, findings=[ExploreFinding(problem, PROGRAM, PROGRAM)], plan=Plan(2, 4096, True, True, 0)
    )
    answer = summary(outcome)
    assert dict(answer.failed) == {"explore-refused": "munmap: munmap answers 0 instead of EPERM"}
    assert set(answer.passed) == {f"explore-{oracle}" for oracle in ORACLES} - {"explore-refused"}
    assert not answer.lost


def test_without_mseal_nothing_passes() -> None:
    answer = summary(Exploration(1, plan=Plan(2, 4096, True, True, 38)))
    assert not answer.passed and len(answer.skipped) == len(ORACLES)


def test_a_lost_guest_is_no_answer() -> None:
    assert summary(Exploration(1, lost="it went away")).lost == "it went away"
