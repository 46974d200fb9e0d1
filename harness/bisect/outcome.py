"""What a bisection found, in words, in JSON and as a log in the manner of ``git bisect log``. Pure."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from harness.bisect.search import boots_allowed
from harness.bisect.session import BisectOptions
from harness.bisect.trial_log import Trial, TrialLog
from harness.model.verdict import EXIT_NO_ANSWER, EXIT_OK

COMMIT = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?\Z")
_MARKED = re.compile(r"# (\w+): \[([0-9a-f]+)\] ")
BisectState = Literal["found", "range", "unchecked"]


@dataclass(frozen=True)
class Commit:
    """A commit as the answer names it."""

    name: str
    author: str
    date: str
    subject: str
    files: tuple[str, ...]


@dataclass(frozen=True)
class BisectResult:
    """The answer over one kind of points.

    ``last`` has the old behaviour and ``first`` the new one. ``range``: what lies ``between`` could not be tested, and
    any of it may be the first; ``unchecked``: a neighbour gave no answer when it was booted again.
    ``size`` points were searched; ``versions`` are upstream's of the two neighbours, where builds have one.
    """

    over: Literal["builds", "commits"]
    state: BisectState
    last: str
    first: str
    size: int
    between: tuple[str, ...] = ()
    returned: tuple[str, ...] = ()
    versions: tuple[str, str] = ("", "")
    commit: Commit | None = None
    candidates: tuple[Commit, ...] = ()
    remarks: tuple[str, ...] = ()

    @property
    def exit_code(self) -> int:
        """0 where the change was located, 3 where it was not."""
        return EXIT_OK if self.state == "found" else EXIT_NO_ANSWER


def regzbot(outcome: BisectResult, *, fixed: bool) -> str:
    """The line that tells the regression tracker; see Documentation/process/handling-regressions.rst."""
    word = "fix" if fixed else "introduced"
    if outcome.commit is not None:
        return f"#regzbot {word}: {outcome.commit.name[:12]}"
    known = all(outcome.versions) and outcome.versions[0] != outcome.versions[1]
    ends = [f"v{version}" for version in outcome.versions] if known else _ends(outcome)
    return f"#regzbot {word}: {ends[0]}..{ends[1]}"


def _ends(outcome: BisectResult) -> tuple[str, str]:
    return (outcome.last[:12], outcome.first[:12]) if outcome.over == "commits" else (outcome.last, outcome.first)


def lines(outcome: BisectResult, book: TrialLog, task: BisectOptions) -> list[str]:
    """The answer for a person."""
    old, new = ("bad", "good") if task.fixed else ("good", "bad")
    noun = "commit" if outcome.over == "commits" else "build"
    said = [f"{book.question.rule.id} on {task.arch}: {book.question.says()}"]
    if outcome.state == "range":
        said.append(f"the first {new} {noun} is one of {len(outcome.between) + 1}; those between could not be tested:")
        said += [f"  {old:4} {_named(outcome.last)}"]
        said += [f"  ?    {_named(name)}  {book.why(name)}" for name in outcome.between]
        said += [f"  {new:4} {_named(outcome.first)}"]
    else:
        said.append(f"first {new} {noun}: {_named(outcome.first)}")
        said.append(f"last {old} {noun}:  {_named(outcome.last)}")
    if outcome.commit is not None:
        said += _about(outcome.commit)
    width = max(len(old), len(new))
    said.append(f"  {old:{width}}  {book.why(outcome.last)}")
    said.append(f"  {new:{width}}  {book.why(outcome.first)}")
    said += [f"what failed: {cause}" for cause in book.causes(outcome.last if task.fixed else outcome.first)]
    said += [f"note: {remark}" for remark in _remarks(outcome, book, task)]
    said.append(spent(outcome, book))
    said.append(regzbot(outcome, fixed=task.fixed))
    return said


def _named(name: str) -> str:
    return name[:12] if COMMIT.match(name) else name


def _about(commit: Commit) -> list[str]:
    files = ", ".join(commit.files[:6]) + (f" and {len(commit.files) - 6} more" if len(commit.files) > 6 else "")
    return [f"  {commit.subject}", f"  {commit.author}, {commit.date}", f"  {files}"]


def _remarks(outcome: BisectResult, book: TrialLog, task: BisectOptions) -> list[str]:
    remarks = list(outcome.remarks)
    if outcome.state == "found" and task.check:
        remarks.append("both neighbours were booted again and gave the same answers")
    if outcome.state == "unchecked":
        remarks.append("a neighbour gave no answer when it was booted again")
    for point in (outcome.last, outcome.first, *outcome.returned):
        tally = book.tally(point)
        if tally.divided:
            remarks.append(f"{_named(point)} is flaky: bad in {tally.bad} of {tally.boots} boots")
    if outcome.returned:
        old = "bad" if task.fixed else "good"
        names = ", ".join(map(_named, outcome.returned))
        remarks.append(f"later {old} again: {names}; there is more than one change, this is the first")
    return remarks


def spent(outcome: BisectResult, book: TrialLog) -> str:
    """What the answer took. Commits that do not build cost git steps beyond the boots."""
    booted = [t for t in book.trials if t.origin == "boot" and t.run]
    checks = sum(1 for t in booted if t.purpose == "check")
    stored = sum(1 for t in book.trials if t.origin == "stored")
    same = sum(1 for t in book.trials if t.origin == "same")
    told = [f"{outcome.size} {outcome.over}", f"{len(booted) - checks} boots (ceil(log2 n) + 2 = "]
    told[-1] += f"{boots_allowed(outcome.size)})"
    told += [f"{checks} to check"] if checks else []
    told += [f"{stored} stored answers reused"] if stored else []
    told += [f"{same} identical kernels not run"] if same else []
    return ", ".join(told)


def repeat_script(task: BisectOptions, outcome: BisectResult) -> str:
    """A script that repeats the last two steps and nothing else, from nothing that is stored."""
    good, bad = (outcome.first, outcome.last) if task.fixed else (outcome.last, outcome.first)
    ends = [*task.end("--good", good), *task.end("--bad", bad)]
    words = ["sealmatrix", "bisect", *ends, *task.arguments, "--fresh", "--no-check"]
    for glob in task.kernels:
        words += ["--kernels", glob]
    words += ["--tree", task.tree] if outcome.over == "commits" else []
    return f'#!/bin/sh\n# Repeats the last two steps; further options may follow.\nexec {shlex.join(words)} "$@"\n'


def log_lines(book: TrialLog, task: BisectOptions, ends: Sequence[str], outcome: BisectResult | None) -> list[str]:
    """The log of a search over builds, as ``git bisect log`` writes one."""
    said = [f"# {book.question.rule.id} on {task.arch}: {book.question.says()}"]
    words = [*task.end("--good", task.good), *task.end("--bad", task.bad), *task.arguments]
    begun = False
    for trial in book.trials:
        if not begun and trial.purpose != "ends":
            said.append(f"sealmatrix bisect start {shlex.join(words)}")
            begun = True
        said += _logged(trial, book, ends)
    if not begun:
        said.append(f"sealmatrix bisect start {shlex.join(words)}")
    if outcome is not None:
        new = "good" if task.fixed else "bad"
        which = "first" if outcome.state != "range" else f"could not decide between {len(outcome.between) + 1}, at last"
        said.append(f"# {which} {new} build: [{outcome.first}] {book.why(outcome.first)}")
    return said


def _logged(trial: Trial, book: TrialLog, ends: Sequence[str]) -> list[str]:
    word = {"good": "good", "bad": "bad", "untestable": "skip"}[book.answer(trial)]
    if trial.is_remark:
        return [f"# [{trial.point}] {trial.reason}"]
    how = "stored, " if trial.origin == "stored" else ""
    if trial.purpose == "check":
        how += "checked again, "
    if trial.trouble == "no-answer":
        return [f"# no answer: [{trial.point}] {how}{trial.reason}"]
    head = f"# {word}: [{trial.point}] {how}{book.told(trial)}"
    return [head] if trial.point in ends or trial.purpose == "check" else [head, f"{word} {trial.point}"]


def annotated(log: str, book: TrialLog) -> str:
    """Git's log with what was seen of each commit below its name."""
    said = []
    for line in log.splitlines():
        said.append(line)
        if (marked := _MARKED.match(line)) is not None:
            said.append(f"#   {book.why(marked[2])}")
    return "\n".join(said) + "\n"


def to_json(outcome: BisectResult, book: TrialLog, task: BisectOptions) -> dict[str, Any]:
    """The answer for programs; the form is told in docs/use/bisect.md."""
    return {
        "over": outcome.over,
        "state": outcome.state,
        "rule": task.rule,
        "arch": task.arch,
        "question": book.question.says(),
        "fixed": task.fixed,
        "last": _point(outcome.last, book),
        "first": _point(outcome.first, book),
        "between": [_point(name, book) for name in outcome.between],
        "returned": list(outcome.returned),
        "versions": list(outcome.versions),
        "commit": asdict(outcome.commit) if outcome.commit else None,
        "candidates": [asdict(commit) for commit in outcome.candidates],
        "points": outcome.size,
        "boots": book.boots,
        "boots_to_check": sum(1 for t in book.trials if t.purpose == "check" and t.run),
        "regzbot": regzbot(outcome, fixed=task.fixed),
        "remarks": _remarks(outcome, book, task),
        "exit_code": outcome.exit_code,
        "trials": [
            {**{k: v for k, v in asdict(t).items() if k != "seen"}, "answer": _said(t, book),
             "told": book.told(t)}
            for t in book.trials
        ],
    }  # fmt: skip


def _said(trial: Trial, book: TrialLog) -> str | None:
    return None if trial.is_remark else book.answer(trial)


def _point(name: str, book: TrialLog) -> dict[str, Any]:
    tally = book.tally(name)
    return {
        "name": name,
        "image": book.image(name),
        "good": tally.good,
        "bad": tally.bad,
        "untestable": tally.untestable,
        "told": book.why(name),
        "causes": list(book.causes(name)),
    }
