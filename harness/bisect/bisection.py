"""A bisection from the task to the answer: checks first, then the search, then what is written down of it."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.bisect.asking import Ask, Asker, rule_probes
from harness.bisect.book import Book
from harness.bisect.choices import Choice, Choices, between, from_matrix, from_suites
from harness.bisect.outcome import Outcome, lines, log_lines, to_json
from harness.bisect.overbuilds import search_builds
from harness.bisect.predicate import Question, make_question, parse_condition
from harness.bisect.search import Refused, Search
from harness.bisect.session import Session, Task
from harness.bisect.steps import Hear, Heard, Steps
from harness.errors import InfrastructureError, UsageError, nearest
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import Matrix, Profile
from harness.rules.load import load_catalogue
from harness.runs.compose import Options
from harness.runs.model import Cell
from harness.runs.schedule import default_jobs


@dataclass(frozen=True)
class Prepared:
    """A task that was found to make sense: everything that can be known without a kernel."""

    task: Task
    question: Question
    matrix: Matrix
    profile: Profile
    builds: tuple[Choice, ...] = ()
    remarks: tuple[str, ...] = ()


class NoDifference(UsageError):
    """The ends do not differ in what was asked."""


def prepare(task: Task) -> Prepared:
    """Check a task. Raises ``UsageError`` before anything is fetched, built or booted."""
    rules = load_catalogue()
    if task.rule not in rules:
        raise UsageError(f"--rule {task.rule}: the catalogue has no such rule{nearest(task.rule, rules)}")
    condition = parse_condition(task.observation) if task.observation else None
    matrix = load_matrix(Path(task.matrix) if task.matrix else default_path())
    if task.profile not in matrix.profiles:
        raise UsageError(f"--profile {task.profile}: {matrix.path} has {', '.join(matrix.profiles)}")
    rule = rules[task.rule]
    question = make_question(rule, rule_probes(rule, task.arch), task.probe or None, condition)
    prepared = Prepared(task, question, matrix, matrix.profiles[task.profile])
    choices = list_builds(task, matrix)
    if task.builds:  # a session that goes on searches what it began with
        there = {choice.name: choice for choice in choices.builds}
        if gone := [name for name in task.builds if name not in there]:
            raise UsageError(f"{gone[0]} can no longer be had, and the search began with it; begin a new one")
        builds = tuple(there[name] for name in task.builds)
    else:
        builds = between(choices, matrix, task.good, task.bad, fixed=task.fixed)
    frozen = replace(task, builds=tuple(choice.name for choice in builds))
    return replace(prepared, task=frozen, builds=builds, remarks=choices.remarks)


def list_builds(task: Task, matrix: Matrix) -> Choices:
    """The builds that can be searched."""
    if task.kernels:
        return from_matrix(matrix, task.arch, task.kernels, offline=task.offline)
    return from_suites(matrix, task.arch, task.flavour, offline=task.offline)


def asker(prepared: Prepared, session: Session, results: Path, command: Sequence[str]) -> Asker:
    """The real thing to ask kernels with."""
    task = prepared.task
    options = Options(
        results=session.runs,
        command=tuple(command),
        probes=prepared.question.probes,
        acceleration=task.acceleration,  # type: ignore[arg-type]
        offline=task.offline,
        scale=task.scale,
    )
    stores = [results, *(path for path in results.glob("bisect/*/runs") if path != session.runs)]
    return Asker(prepared.question, task.arch, prepared.profile, session.runs, options, stores)


def cores(prepared: Prepared) -> int:
    """How many guests this machine boots side by side."""
    cell = Cell("", prepared.task.arch, prepared.profile, None)
    return prepared.task.jobs or default_jobs([cell] * 64)


def bisect_builds(prepared: Prepared, session: Session, ask: Ask, hear: Hear) -> tuple[Outcome, Book]:
    """Search over builds. Raises ``NoDifference``, ``InfrastructureError`` for an end without an answer."""
    task, builds = prepared.task, prepared.builds
    names = [choice.name for choice in builds]
    ends = (names[0], names[-1])
    book = Book(prepared.question, ends[1] if task.fixed else ends[0], task.repeat)
    book.add(session.trials)

    def heard(event: Heard) -> None:
        if event.trial is not None:
            session.write("bisect.log", "\n".join(log_lines(book, task, ends, None)) + "\n")
        hear(event)

    steps = Steps(session, book, ask, heard)
    search = Search(
        len(builds), task.fixed, task.repeat, cores(prepared), always=task.jobs > 1, check=int(task.check)
    )  # fmt: skip
    move = search_builds(steps, builds, search)
    if isinstance(move, Refused):
        raise _refusal(names[move.point], book, task, "--good" if (move.point == 0) != task.fixed else "--bad")
    outcome = Outcome(
        over="builds",
        state="found" if move.first - move.last == 1 else "range",
        last=names[move.last],
        first=names[move.first],
        size=len(builds),
        between=tuple(names[move.last + 1 : move.first]),
        returned=tuple(names[i] for i in move.returned),
        versions=(builds[move.last].version, builds[move.first].version),
    )
    if outcome.state == "found" and any(book.tally(n).untestable for n in (outcome.last, outcome.first)):
        outcome = replace(outcome, state="unchecked")
    session.write("bisect.log", "\n".join(log_lines(book, task, ends, outcome)) + "\n")
    return outcome, book


def _refusal(point: str, book: Book, task: Task, option: str) -> Exception:
    """Why there is nothing to search between the ends, as the error it is."""
    if book.standing(point) == "untestable":
        return InfrastructureError(f"{option} {point} gave no answer to {task.rule}: {book.why(point)}")
    wrong, right = ("bad", "good") if option == "--good" else ("good", "bad")
    return NoDifference(f"{option} {point} is {wrong}, not {right}: {book.why(point)}; {book.question.says()}")


def repeat_script(task: Task, outcome: Outcome) -> str:
    """A script that repeats the last two steps and nothing else, from nothing that is stored."""
    good, bad = (outcome.first, outcome.last) if task.fixed else (outcome.last, outcome.first)
    words = ["sealmatrix", "bisect", "--good", good, "--bad", bad, *task.arguments, "--fresh", "--no-check"]
    for glob in task.kernels:
        words += ["--kernels", glob]
    words += ["--tree", task.tree] if outcome.over == "commits" else []
    return f'#!/bin/sh\n# Repeats the last two steps; further options may follow.\nexec {shlex.join(words)} "$@"\n'


@dataclass(frozen=True)
class Done:
    """A bisection with its answer, as it is kept in ``bisect.json``."""

    outcome: Outcome
    answer: Mapping[str, Any]


def run(prepared: Prepared, session: Session, results: Path, command: Sequence[str], hear: Hear) -> Done:
    """Go from the task to the answer and keep it. Raises ``NoDifference``, ``InfrastructureError``, ``Interrupted``."""
    outcome, book = bisect_builds(prepared, session, asker(prepared, session, results, command), hear)
    task = prepared.task
    session.write("repeat.sh", repeat_script(task, outcome), 0o755)
    answer = {**to_json(outcome, book, task), "text": lines(outcome, book, task)}
    session.save(answer)
    return Done(outcome, answer)
