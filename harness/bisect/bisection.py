"""A bisection from a prepared task to the answer: the search, then what is written down of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.bisect.build_search import look_again, search_builds
from harness.bisect.candidates import BisectBuild
from harness.bisect.commit_search import BuildCommit, CommitSearch, Located, Untestable, Workshop
from harness.bisect.cost import cost_asker
from harness.bisect.driver import BisectProgress, Driver, OnBisectProgress
from harness.bisect.ends import commit_of
from harness.bisect.outcome import (
    COMMIT,
    BisectResult,
    BisectState,
    annotated,
    lines,
    log_lines,
    repeat_script,
    to_json,
)
from harness.bisect.prepare import NoDifference, Prepared
from harness.bisect.program import program_asker
from harness.bisect.repository import Checkout, KernelRepository
from harness.bisect.search import Refused, Search
from harness.bisect.session import BisectOptions, Session
from harness.bisect.trial_log import TrialLog
from harness.bisect.trial_runner import Asker, MakeTrials
from harness.errors import InfrastructureError, UsageError
from harness.kernels.store import default_root
from harness.model.verdict import EXIT_NO_ANSWER
from harness.payload.build import build
from harness.runs.model import Cell
from harness.runs.planning.compose import Options
from harness.runs.planning.schedule import default_jobs
from harness.runs.run_store import run_lock


def asker(prepared: Prepared, session: Session, results: Path, command: Sequence[str]) -> MakeTrials:
    """The real thing to ask kernels with."""
    task = prepared.task
    if task.program:
        return program_asker(
            task.program_text,
            build(task.arch),
            prepared.profile,
            session.runs,
            acceleration=task.acceleration,  # type: ignore[arg-type]
            scale=task.scale,
        )
    if task.cost:
        return cost_asker(task.cost, prepared.profile, session.runs, scale=task.scale)
    options = Options(
        results=session.runs,
        command=tuple(command),
        probes=() if task.suite else prepared.question.probes,
        acceleration=task.acceleration,  # type: ignore[arg-type]
        offline=task.offline,
        scale=task.scale,
        fresh=task.fresh,
        suites=(task.suite,) if task.suite else (),
    )
    stores = [results, *results.glob("bisect/*/runs")]
    return Asker(prepared.question, task.arch, prepared.profile, session.runs, options, stores)


def cores(prepared: Prepared) -> int:
    """How many guests this machine boots side by side."""
    cell = Cell("", prepared.task.arch, prepared.profile, None)
    return prepared.task.jobs or default_jobs([cell] * 64)


def bisect_builds(
    prepared: Prepared, session: Session, ask: MakeTrials, on_progress: OnBisectProgress
) -> tuple[BisectResult, TrialLog]:
    """Search over builds. Raises ``NoDifference``, ``InfrastructureError`` for an end without an answer."""
    task, builds = prepared.task, prepared.builds
    names = [choice.name for choice in builds]
    ends = (names[0], names[-1])
    book = TrialLog(prepared.question, ends[1] if task.fixed else ends[0], task.repeat)
    book.add(trial for trial in session.trials if trial.point in names)

    def heard(event: BisectProgress) -> None:
        if event.trial is not None:
            session.write("bisect.log", "\n".join(log_lines(book, task, ends, None)) + "\n")
        on_progress(event)

    steps = Driver(session, book, ask, heard)
    if task.kernels or prepared.own:  # an entry or a file may be another kernel by now; a package version cannot
        look_again(steps, builds)
    search = Search(
        len(builds), task.fixed, task.repeat, cores(prepared), always=task.jobs > 1, check=int(task.check)
    )  # fmt: skip
    move = search_builds(steps, builds, search)
    if isinstance(move, Refused):
        raise _refusal(names[move.point], book, task, "--good" if (move.point == 0) != task.fixed else "--bad")
    outcome = BisectResult(
        over="builds",
        state="found" if move.first - move.last == 1 else "range",
        last=names[move.last],
        first=names[move.first],
        size=len(builds),
        between=tuple(names[move.last + 1 : move.first]),
        returned=tuple(names[i] for i in move.returned),
        versions=(_version(builds[move.last], book), _version(builds[move.first], book)),
    )
    if outcome.state == "found" and any(book.tally(n).untestable for n in (outcome.last, outcome.first)):
        outcome = replace(outcome, state="unchecked")
    session.write("bisect.log", "\n".join(log_lines(book, task, ends, outcome)) + "\n")
    return outcome, book


def _version(choice: BisectBuild, book: TrialLog) -> str:
    return choice.version or book.version(choice.name)


def bisect_commits(
    prepared: Prepared,
    session: Session,
    ask: MakeTrials,
    on_progress: OnBisectProgress,
    make: Callable[[KernelRepository, Checkout], BuildCommit],
) -> tuple[BisectResult, TrialLog]:
    """Search over commits. Raises as ``bisect_builds`` does, and ``UsageError`` where git refuses."""
    task, repository = prepared.task, prepared.repository
    assert repository is not None
    good, bad = task.good_commit, task.bad_commit
    book = TrialLog(prepared.question, good, task.repeat)
    book.add(trial for trial in session.trials if COMMIT.match(trial.point))
    work = work_folder(repository)
    with run_lock(work):
        checkout = Checkout(work / "checkout", repository)
        checkout.prepare()
        steps = Driver(session, book, ask, on_progress, lambda commit: commit[:12])
        search = CommitSearch(
            steps, repository, checkout, make(repository, checkout), lambda log: _log(session, book, log)
        )  # fmt: skip
        end = search.go(good, bad, fixed=task.fixed, check=int(task.check))
    if isinstance(end, Refused):
        older, newer = (bad, good) if task.fixed else (good, bad)
        point = newer if end.point else older
        raise _refusal(point, book, task, "--good" if point == good else "--bad")
    size = repository.count(*((bad, good) if task.fixed else (good, bad)))
    return _commit_outcome(end, repository, size, check=task.check), book


def _commit_outcome(end: Located | Untestable, repository: KernelRepository, size: int, *, check: bool) -> BisectResult:
    if isinstance(end, Untestable):
        described = tuple(map(repository.describe, (*end.commits, end.first)))
        return BisectResult("commits", "range", end.last, end.first, size, end.commits, candidates=described)
    remarks = ("a merge: none of its parents shows the change",) if end.parents[1:] else ()
    state: BisectState = "found" if end.checked or not check else "unchecked"
    last = end.parents[0] if end.parents else ""
    return BisectResult(
        "commits", state, last, end.first, size, commit=repository.describe(end.first), remarks=remarks
    )  # fmt: skip


def _log(session: Session, book: TrialLog, log: str) -> None:
    """Git's log, and the same with what was seen of each commit."""
    session.write("git-bisect.log", log)
    session.write("bisect.log", annotated(log, book))


def work_folder(repository: KernelRepository) -> Path:
    """Where the checkout and the builds of a repository are kept, so that the next bisection builds little."""
    return default_root() / "bisect" / repository.key


def workshop(prepared: Prepared, session: Session) -> Callable[[KernelRepository, Checkout], BuildCommit]:
    """What really builds kernels."""
    task = prepared.task

    def make(repository: KernelRepository, checkout: Checkout) -> BuildCommit:
        out = work_folder(repository) / f"build-{task.arch}"
        return Workshop(repository, checkout, task.arch, out, session.folder)

    return make


def _refusal(point: str, book: TrialLog, task: BisectOptions, option: str) -> Exception:
    """Why there is nothing to search between the ends, as the error it is."""
    if book.standing(point) == "untestable":
        return InfrastructureError(f"{option} {point} gave no answer to {task.rule}: {book.why(point)}")
    wrong, right = ("bad", "good") if option == "--good" else ("good", "bad")
    return NoDifference(f"{option} {point} is {wrong}, not {right}: {book.why(point)}; {book.question.says()}")


@dataclass(frozen=True)
class FinishedBisection:
    """A bisection with its answer, as it is kept in ``bisect.json``."""

    outcome: BisectResult
    answer: Mapping[str, Any]


def run(
    prepared: Prepared, session: Session, results: Path, command: Sequence[str], on_progress: OnBisectProgress
) -> FinishedBisection:
    """Go from the task to the answer and keep it. Raises ``NoDifference``, ``InfrastructureError``, ``Interrupted``."""
    return go(prepared, session, asker(prepared, session, results, command), on_progress, workshop(prepared, session))


def go(
    prepared: Prepared,
    session: Session,
    ask: MakeTrials,
    on_progress: OnBisectProgress,
    make: Callable[[KernelRepository, Checkout], BuildCommit],
) -> FinishedBisection:
    """The same with everything that touches kernels handed in."""
    if prepared.task.over == "commits":
        return _answered(prepared, session, *bisect_commits(prepared, session, ask, on_progress, make))
    done = _answered(
        prepared, session, *bisect_builds(prepared, session, ask, on_progress), keep=not prepared.repository
    )
    if prepared.repository is None:
        return done
    try:
        narrowed = _between_neighbours(prepared, done.outcome, prepared.repository)
        within = _answered(prepared, session, *bisect_commits(narrowed, session, ask, on_progress, make), keep=False)
    except UsageError as problem:
        remark = f"the commits between the two could not be searched: {problem}"
        answer = {**done.answer, "text": [*done.answer["text"], f"note: {remark}"], "exit_code": EXIT_NO_ANSWER}
        session.save(answer)
        return FinishedBisection(done.outcome, answer)
    text = [*done.answer["text"], "", *within.answer["text"]]
    answer = {**within.answer, "builds": done.answer, "text": text}
    session.save(answer)
    return FinishedBisection(within.outcome, answer)


def _between_neighbours(prepared: Prepared, outcome: BisectResult, repository: KernelRepository) -> Prepared:
    """The search over commits that follows one over builds. Raises ``UsageError`` when the tree lacks their tags."""
    own = {one.name: one for one in prepared.own}
    old, new = (
        commit_of(repository, own[name]) if name in own else repository.resolve("tag", f"v{version}")
        for name, version in zip((outcome.last, outcome.first), outcome.versions, strict=True)
    )
    good, bad = (new, old) if prepared.task.fixed else (old, new)
    names = [f"v{version}" for version in outcome.versions]
    ends = [(names[1], good), (names[0], bad)] if prepared.task.fixed else [(names[0], good), (names[1], bad)]
    repository.check_ends(ends[0], ends[1], fixed=prepared.task.fixed)
    return replace(prepared, task=replace(prepared.task, good_commit=good, bad_commit=bad))


def _answered(
    prepared: Prepared, session: Session, outcome: BisectResult, book: TrialLog, *, keep: bool = True
) -> FinishedBisection:
    """Write down an answer, and the script; ``keep`` it as the session's, which ends that."""
    task = prepared.task
    session.write("repeat.sh", repeat_script(task, outcome), 0o755)
    answer = {**to_json(outcome, book, task), "text": lines(outcome, book, task)}
    if keep:
        session.save(answer)
    return FinishedBisection(outcome, answer)
