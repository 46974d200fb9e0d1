"""A bisection from the task to the answer: checks first, then the search, then what is written down of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness.bisect.build_search import look_again, search_builds
from harness.bisect.candidates import BisectBuild, BisectBuilds, between, from_matrix, from_suites
from harness.bisect.commit_search import BuildCommit, CommitSearch, Located, Untestable, Workshop
from harness.bisect.cost import cost_asker, cost_question
from harness.bisect.driver import BisectProgress, Driver, OnBisectProgress
from harness.bisect.ends import OwnKernel, commit_of, own_ends, with_own
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
from harness.bisect.predicate import BisectQuestion, make_question, parse_condition
from harness.bisect.program import program_asker, program_question, read_program
from harness.bisect.repository import Checkout, KernelRepository, open_repository
from harness.bisect.search import Refused, Search
from harness.bisect.session import BisectOptions, Session, pinned
from harness.bisect.test import test_question
from harness.bisect.trial_log import TrialLog
from harness.bisect.trial_runner import Asker, MakeTrials, rule_probes
from harness.errors import InfrastructureError, ToolMissing, UsageError, nearest
from harness.guests.programs import make_programs
from harness.kernels.store import default_root
from harness.kernels.tree import check_tools
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import Matrix, Profile
from harness.model.verdict import EXIT_NO_ANSWER
from harness.payload.build import build
from harness.rules.load import load_catalogue
from harness.runs.judges import catalogue_digest
from harness.runs.model import Cell
from harness.runs.planning.compose import Options
from harness.runs.planning.schedule import default_jobs
from harness.runs.run_store import run_lock


@dataclass(frozen=True)
class Prepared:
    """A task that was found to make sense: everything that can be known without a kernel."""

    task: BisectOptions
    question: BisectQuestion
    matrix: Matrix
    profile: Profile
    builds: tuple[BisectBuild, ...] = ()
    repository: KernelRepository | None = None
    remarks: tuple[str, ...] = ()
    own: tuple[OwnKernel, ...] = ()


class NoDifference(UsageError):
    """The ends do not differ in what was asked."""


def prepare(task: BisectOptions) -> Prepared:
    """Check a task. Raises ``UsageError`` before anything is fetched, built or booted."""
    if task.program and not task.program_text:
        task = replace(task, program_text=read_program(Path(task.program).expanduser()))
    rules = load_catalogue()
    if not (task.program or task.cost or task.suite) and task.rule not in rules:
        near = nearest(task.rule, rules, listed_by="sealmatrix rules list")
        raise UsageError(f"--rule {task.rule}: the catalogue has no such rule{near}")
    condition = parse_condition(task.observation) if task.observation else None
    matrix = load_matrix(Path(task.matrix) if task.matrix else default_path())
    if task.profile not in matrix.profiles:
        near = nearest(task.profile, matrix.profiles)
        raise UsageError(f"--profile {task.profile}: {matrix.path} has no such profile{near}")
    task, own = own_ends(task, matrix)
    if task.cost and not matrix.profiles[task.profile].counted:
        raise UsageError(f"--profile {task.profile}: --cost needs one with `counted: true`, such as `counted`")
    make_programs([task.arch])
    task = pinned(task, payload=build(task.arch), catalogue=catalogue_digest(), matrix=matrix.sha256)
    if task.program:
        question = program_question(task.program_text)
    elif task.cost:
        question = cost_question(task.cost, task.by)
    elif task.suite:
        question = test_question(task.suite, task.rule)
        task = replace(task, rule=question.rule.id)
    else:
        rule = rules[task.rule]
        question = make_question(rule, rule_probes(rule, task.arch), task.probe or None, condition)
    prepared = Prepared(task, question, matrix, matrix.profiles[task.profile], own=own)
    if task.tree:
        prepared = with_tree(prepared)
    return prepared if prepared.task.over == "commits" or prepared.builds else over_builds(prepared)


def over_builds(prepared: Prepared) -> Prepared:
    """Settle which builds are searched."""
    choices, builds = _range(prepared)
    if prepared.own and len(builds) == 2:
        raise UsageError(f"{_nothing_between(builds)}; {_searchable(builds)}")
    return _searching(prepared, choices, builds)


def _searching(prepared: Prepared, choices: BisectBuilds, builds: Sequence[BisectBuild]) -> Prepared:
    remarks = choices.remarks
    if prepared.own and builds[2:]:
        between_them = ", ".join(build.version or build.name for build in builds[1:-1])
        remarks = (*remarks, f"the builds between {builds[0].name} and {builds[-1].name} are searched: {between_them}")
    frozen = replace(prepared.task, builds=tuple(choice.name for choice in builds))
    return replace(prepared, task=frozen, builds=tuple(builds), remarks=(*prepared.remarks, *remarks))


def _range(prepared: Prepared) -> tuple[BisectBuilds, Sequence[BisectBuild]]:
    """All builds, and those from one end to the other."""
    task = prepared.task
    choices = list_builds(task, prepared.matrix)
    if prepared.own:
        choices = with_own(choices, prepared.own, older="--bad" if task.fixed else "--good")
    if not task.builds:
        return choices, between(choices, prepared.matrix, task.good, task.bad, fixed=task.fixed)
    # A session that goes on searches what it began with.
    there = {choice.name: choice for choice in choices.builds}
    if gone := [name for name in task.builds if name not in there]:
        raise UsageError(f"{gone[0]} is no longer available, and the search began with it; start a new one")
    return choices, [there[name] for name in task.builds]


def _nothing_between(builds: Sequence[BisectBuild]) -> str:
    old, new = builds
    return (
        f"no build lies between {old.name} ({old.version or old.release}) and {new.name} ({new.version or new.release})"
    )


def _searchable(builds: Sequence[BisectBuild]) -> str:
    """What can be done instead."""
    if builds[0].version != builds[1].version:
        return "add --tree TREE to search the commits between their tags"
    return "give --tree TREE and two revisions to search the commits between them"


def with_tree(prepared: Prepared) -> Prepared:
    """Look at the tree: two revisions of it are a search over commits, anything else one over builds first. A kernel
    of a person's own stands for the commit it was built from, where no build lies between it and the other end."""
    task = prepared.task
    try:
        check_tools(task.arch)
        repository = open_repository(Path(task.tree))
    except ToolMissing as problem:
        raise UsageError(f"--tree {task.tree}: {problem}") from problem
    prepared = replace(prepared, repository=repository)
    own = {one.option: one for one in prepared.own}
    revisions = [word for option, word in (("--good", task.good), ("--bad", task.bad)) if option not in own]
    if not task.good_commit and not any(map(repository.knows, revisions)):
        if not own:
            return replace(prepared, task=replace(task, over="joined"))
        choices, builds = _range(prepared)
        if builds[2:]:
            return _searching(replace(prepared, task=replace(task, over="joined")), choices, builds)
        return _over_own_commits(prepared, repository, builds)
    if task.over == "joined":
        return prepared
    good = task.good_commit or _end_commit(repository, "--good", task.good, own)
    bad = task.bad_commit or _end_commit(repository, "--bad", task.bad, own)
    repository.check_ends((task.good, good), (task.bad, bad), fixed=task.fixed)
    return _over_commits(prepared, good, bad)


def _end_commit(repository: KernelRepository, option: str, word: str, own: Mapping[str, OwnKernel]) -> str:
    return commit_of(repository, own[option]) if option in own else repository.resolve(option, word)


def _over_own_commits(prepared: Prepared, repository: KernelRepository, builds: Sequence[BisectBuild]) -> Prepared:
    """Search the commits between two kernels that no build lies between."""
    task, own = prepared.task, {one.name: one for one in prepared.own}
    commits = [
        commit_of(repository, own[build.name])
        if build.name in own
        else repository.resolve(f"{build.name}: tag", f"v{build.version}")
        for build in builds
    ]
    if commits[0] == commits[1]:
        raise UsageError(f"{_nothing_between(builds)}, and both are commit {commits[0][:12]} of {task.tree}")
    good, bad = reversed(commits) if task.fixed else commits
    repository.check_ends((task.good, good), (task.bad, bad), fixed=task.fixed)
    return _over_commits(prepared, good, bad)


def _over_commits(prepared: Prepared, good: str, bad: str) -> Prepared:
    commits = {"--good": good, "--bad": bad}
    remarks = tuple(
        f"{one.told} stands for commit {commits[one.option][:12]}, which is built with our own configuration"
        for one in prepared.own
    )
    frozen = replace(prepared.task, over="commits", good_commit=good, bad_commit=bad)
    return replace(prepared, task=frozen, remarks=(*prepared.remarks, *remarks))


def list_builds(task: BisectOptions, matrix: Matrix) -> BisectBuilds:
    """The builds that can be searched."""
    if task.kernels:
        return from_matrix(matrix, task.arch, task.kernels, offline=task.offline)
    return from_suites(matrix, task.arch, task.flavour, offline=task.offline)


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
