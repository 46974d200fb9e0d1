"""From what a program saw to what is wrong with it, and to the abstract states it came through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from errno import EINVAL, EPERM

from harness.explore.ends import child_state, problems_of_end
from harness.explore.model import Judge, problems_of_window
from harness.explore.oracles import StepProblem
from harness.explore.program import FLAGS, PLACES, Program
from harness.explore.state import COLLAPSE, KIND, MADVISE, SHARED_ANON, SHARED_FILE, UNKNOWN, State, initial
from harness.explore.wire import CHILD, DONE, LEFT_OUT, MAPPED, NO_WINDOW, SIGNAL, STATUSES, TIMEOUT, Pass, ProgramFacts

_HUGE_PAGE = 512  # pages
_REFUSED_WINDOW = StepProblem(
    "exactly-sealed", -1, "mmap", "making memory that nobody has sealed is refused with EPERM", ("U7",)
)
_SHARED = (SHARED_ANON, SHARED_FILE, UNKNOWN)


@dataclass(frozen=True, slots=True)
class Judged:
    """``problems`` in the order of steps; ``states`` are hashes of the abstract states; ``asked`` is False where the
    program could not be run (no room for its window) and nothing is known; ``recorded`` is what nobody promises and is
    kept all the same."""

    problems: tuple[StepProblem, ...]
    states: tuple[int, ...]
    asked: bool = True
    recorded: tuple[str, ...] = ()


class ProgramJudge:
    """Judges whole programs. ``step_bytes`` of a program are those that travelled."""

    def __init__(self) -> None:
        self._judge = Judge()

    def judge(self, program: Program, step_bytes: Sequence[bytes], facts: ProgramFacts) -> Judged:
        """Judge what one program saw."""
        if facts.status == NO_WINDOW:
            refused = (_REFUSED_WINDOW,) if facts.detail == EPERM else ()
            return Judged(refused, (), asked=bool(refused))
        if facts.status in (SIGNAL, TIMEOUT):
            return Judged((_broken(program, facts),), ())
        state = initial(program.segments)
        if facts.sealed.first or facts.sealed.looks[0][2:] != facts.twin.looks[0][2:]:
            return Judged(tuple(problems_of_window(program, facts.sealed, facts.twin)), ())
        if not all(seen & MAPPED for seen, attr in zip(facts.sealed.looks[0][2:], state.attrs, strict=False) if attr):
            return Judged((), (), asked=False)  # in neither: who looked saw nothing
        found: list[StepProblem] = []
        states: list[int] = []
        low = PLACES[program.place] == "low" and program.units << program.scale < _HUGE_PAGE
        self._pass(state, 0, step_bytes, facts.sealed, facts.twin, facts, found, states, low=low)
        if facts.status == CHILD and not found:
            found.append(_broken(program, facts))
        return Judged(tuple(found), tuple(states), recorded=tuple(recorded(program, facts.sealed)))

    def _pass(
        self,
        state: State,
        first: int,
        step_bytes: Sequence[bytes],
        sealed: Pass,
        twin: Pass,
        facts: ProgramFacts | None,
        found: list[StepProblem],
        states: list[int],
        *,
        low: bool,
    ) -> None:
        step = self._judge.step
        looks, twin_looks, answers, twin_answers = sealed.looks, twin.looks, sealed.answers, twin.answers
        for k in range(len(answers)):
            op = step_bytes[first + k]
            other = twin_answers[k][0]
            if low and _of_where_it_lies(op, answers[k][0], other):
                other = answers[k][0]
            problems, after = step(
                op, state, looks[k], looks[k + 1], answers[k], twin_looks[k + 1], other, twin_looks[k]
            )
            forks = facts is not None and k == facts.fork
            if forks:
                problems = tuple(problem for problem in problems if not _of_its_child(problem, state, facts))
            states.append(hash((op[0], op[3], state.attrs, looks[k + 1][2 : 2 + len(state.attrs)], answers[k][0])))
            if problems:
                found += [replace(problem, step=first + k) for problem in problems]
                return  # what follows is no longer what anybody promised
            if forks and not self._child(state, k, step_bytes, looks[k], facts, found, states):
                return
            state = after
        found += [replace(problem, step=first + len(answers)) for problem in problems_of_end(state, sealed, twin)]

    def _child(
        self,
        state: State,
        at: int,
        step_bytes: Sequence[bytes],
        before: bytes,
        facts: ProgramFacts | None,
        found: list[StepProblem],
        states: list[int],
    ) -> bool:
        assert facts is not None
        child, twin = facts.child, facts.twin_child
        assert child is not None and twin is not None
        if child.first or twin.first:
            return True  # it did not end well; said once the parent has been judged
        if facts.sealed.answers[at][0] or facts.twin.answers[at][0]:
            return True  # there is no child
        problems, begun = child_state(state, before, child, twin)
        if problems:
            found += [replace(problem, step=at) for problem in problems]
            return False
        mine: list[StepProblem] = []
        self._pass(begun, at + 1, step_bytes, child, twin, None, mine, states, low=False)
        found += [replace(problem, child=True) for problem in mine]
        return not mine


def _of_its_child(problem: StepProblem, state: State, facts: ProgramFacts | None) -> bool:
    """Whether memory that a process shares with its child has other contents than the twin's because the child was
    answered otherwise: by then it has gone on, and what it did to plain memory may be undefined. What is mapped is the
    process's own."""
    child, twin = (facts.child, facts.twin_child) if facts else (None, None)
    if facts is None or problem.oracle != "same-as-twin" or child is None or twin is None:
        return False
    apart = any(said[0] != other[0] for said, other in zip(child.answers, twin.answers, strict=True))
    look, other = facts.sealed.looks[facts.fork + 1], facts.twin.looks[facts.fork + 1]
    mapped_alike = all(look[2 + i] == other[2 + i] for i in problem.units)
    shared = all(state.attrs[i] & KIND in _SHARED for i in problem.units)
    return apart and bool(problem.units) and mapped_alike and shared


def recorded(program: Program, sealed: Pass) -> Iterator[str]:
    """What refused calls left behind though they were refused."""
    looks = sealed.looks
    for k, (said, _) in enumerate(sealed.answers):
        if said == EPERM and looks[k] != looks[k + 1]:
            name = program.steps[k].operation.name
            if looks[k][:2] != looks[k + 1][:2]:
                yield f"refused {name} divides mappings otherwise"
            quiet = program.flags & FLAGS["quiet"] and k + 1 == len(program.steps)
            if looks[k][2:] != looks[k + 1][2:] and not quiet:
                yield f"refused {name} has changed plain memory"


def _broken(program: Program, facts: ProgramFacts) -> StepProblem:
    """A process that did not end as a program should."""
    step = facts.step
    name = program.steps[step].operation.name if step < len(program.steps) else "end"
    how = {
        SIGNAL: f"is killed by signal {facts.detail}",
        TIMEOUT: "is out of time",
        CHILD: "has a child that ended badly",
    }
    return StepProblem("console", step, name, f"the process {how[facts.status]}", ("O8",))


def _of_where_it_lies(op: bytes, said: int, twin: int) -> bool:
    """Whether MADV_COLLAPSE of memory at low addresses answered the twin otherwise because of its address.

    A mapping that ends below 2 MiB is taken for one with room for a huge page: ``thp_vma_suitable_order`` (6.12, 7.3)
    computes an address below zero. The twin's window lies higher.
    """
    return (op[0], op[3]) == (MADVISE, COLLAPSE) and (said, twin) == (0, EINVAL)


def left_out(facts: ProgramFacts, step: int) -> bool:
    """Whether the twin did not do a step because the other was refused."""
    answers = facts.sealed.answers
    return step < len(answers) and answers[step][0] == EPERM and facts.twin.answers[step][0] == LEFT_OUT


__all__ = ["DONE", "STATUSES", "Judged", "ProgramJudge", "left_out"]
