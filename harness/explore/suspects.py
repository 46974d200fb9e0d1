"""Programs of a batch that showed a problem, and whether a known bug is the cause. Pure, but for what it is given."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from harness.explore.judge import Judged
from harness.explore.known import KnownBug
from harness.explore.oracles import StepProblem
from harness.explore.program import Program
from harness.explore.wire import ProgramFacts

RunPrograms = Callable[[Sequence[Program]], list[tuple[Judged, ProgramFacts | None]]]


@dataclass(frozen=True)
class Suspect:
    """A program of a batch that showed a problem, and which known bug's steps it needs for it."""

    index: int
    program: Program
    problem: StepProblem
    facts: ProgramFacts | None
    cause: str = ""


def with_causes(suspects: Sequence[Suspect], known: Sequence[KnownBug], run: RunPrograms) -> Iterator[Suspect]:
    """Say of each suspect whether it shows nothing without the steps of a known bug, and shows it with them. Where it
    still shows the same, it goes on without them. ``run`` gives each program a process of its own."""
    doubted = [(s, bug, bug.without(s.program)) for s in suspects for bug in known if bug.involved(s.program)]
    shown = run([program for s, _, less in doubted for program in (s.program, less)]) if doubted else []
    answers: dict[int, Suspect] = {}
    for (suspect, bug, program), (whole, _), (judged, facts) in zip(doubted, shown[::2], shown[1::2], strict=True):
        problem = same_problem(judged, suspect.problem)
        if problem is None and same_problem(whole, suspect.problem):
            answers[suspect.index] = replace(suspect, cause=bug.id)
        elif problem is not None:
            answers.setdefault(suspect.index, replace(suspect, program=program, problem=problem, facts=facts))
    yield from (answers.get(suspect.index, suspect) for suspect in suspects)


def same_problem(judged: Judged, problem: StepProblem) -> StepProblem | None:
    """The first problem of a judged program, where it is the same one."""
    return next((p for p in judged.problems[:1] if p.same == problem.same), None)


def length(program: Program) -> tuple[int, int, str]:
    """Smaller for a program that is easier to read."""
    return len(program.steps), program.units, str(program)
