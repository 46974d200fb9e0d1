"""From what was asked to a bisection that can begin: every check that needs no kernel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from harness.bisect.candidates import BisectBuild, BisectBuilds, between, from_matrix, from_suites
from harness.bisect.cost import cost_question
from harness.bisect.ends import OwnKernel, commit_of, own_ends, with_own
from harness.bisect.predicate import BisectQuestion, make_question, parse_condition
from harness.bisect.program import program_question, read_program
from harness.bisect.repository import KernelRepository, open_repository
from harness.bisect.session import BisectOptions, pinned
from harness.bisect.test import test_question
from harness.bisect.trial_runner import rule_probes
from harness.errors import ToolMissing, UsageError, nearest
from harness.guests.programs import make_programs
from harness.kernels.tree import check_tools
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import Matrix, Profile
from harness.payload.build import build
from harness.rules.load import load_catalogue
from harness.runs.judges import catalogue_digest


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
