"""The search for where a regression began: started by the night that confirmed it, gone on with by the next ones.

Each search is a session of `sealmatrix bisect`, run by that command in a process of its own: it is ended when the
night's time for it is used up, and continued by ``--resume`` the next time.
"""

from __future__ import annotations

import re
import shutil
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy.engine import URL

from harness.bisect.cost import PROFILE as COUNTED
from harness.bisect.prepare import prepare
from harness.bisect.session import SESSIONS, BisectOptions, begin, find, read
from harness.cost.model import DEFAULT_BY
from harness.errors import BuildError, KernelUnavailable, ToolMissing, UsageError
from harness.history.database import reading, writing
from harness.history.regressions import Regression, keep, regressions
from harness.kernels.branches import clone_folder
from harness.kernels.builds import stored_builds
from harness.kernels.store import Store, telling
from harness.matrix.model import Matrix
from harness.matrix.sources.debian import DebianSource
from harness.matrix.sources.tree import TreeSource
from harness.model.architectures import ARCHES, Arch
from harness.model.run_record import CellRecord, KernelRecord, RunRecord, read_run
from harness.model.verdict import EXIT_OK
from harness.nightly.broken import COST, LOST_COVERAGE, NO_ANSWER
from harness.nightly.costs import grown_in
from harness.nightly.marks import read_mark
from harness.processes.children import OutOfTime, run
from harness.runs.commands import resume_command
from harness.runs.repeats import first_id

NONE = "none"
"""In place of a session's id: there can be none, and an event says why."""
LEAST_SECONDS = 5.0
_COMMIT = re.compile(r"commit ([0-9a-f]{12,})$")
Say = Callable[[str], None]


class NoSearch(UsageError):
    """Where a regression began cannot be searched for, and why."""


def _ourselves() -> list[str]:
    """The command that is this program, whatever else is called ``harness`` in the folder that it was started in."""
    here = Path.cwd() == Path(__file__).resolve().parents[2]
    return [sys.executable, *([] if here else ["-P"]), "-m", "harness"]


def resumed(results: Path, session: str, seconds: float) -> str | None:
    """Go on with a session by `sealmatrix bisect` itself. Returns why it gave no answer, if it gave none; None where
    ``seconds`` did not suffice."""
    words = ("bisect", "--resume", session, "--results", str(results), "--quiet", "--json")
    try:
        done = run([*_ourselves(), *words], what=f"bisecting ({session})", seconds=seconds)
    except OutOfTime:
        return None
    lines = done.err.decode("utf-8", "replace").splitlines()
    told = lines[-1].removeprefix("sealmatrix: ") if lines else f"bisect ended with status {done.status}"
    how = resume_command("bisect", results / SESSIONS / session, results=results, below=SESSIONS)
    return f"{told} ({how})"


@dataclass(frozen=True, kw_only=True)
class Searching:
    """How the searches of a night are made. ``seconds`` are for all of them together; ``work`` is given the results
    folder, the id of a session and its seconds."""

    results: Path
    url: URL
    matrix: Matrix
    seconds: float
    offline: bool = False
    acceleration: str = "auto"
    scale: float = 1.0
    say: Say = lambda text: None
    work: Callable[[Path, str, float], str | None] = resumed


def search(how: Searching, run_id: str, now: str) -> tuple[Regression, ...]:
    """Search for where each confirmed regression began that has no answer yet, the oldest search first; returns those
    whose search ended. What is found is written down at once, as what happened in the run ``run_id``."""
    until = time.monotonic() + how.seconds
    with reading(how.url) as connection:
        waiting = [one for one in regressions(connection) if one.state == "confirmed" and one.bisection != NONE]
    ended = []
    for one in sorted((one for one in waiting if not one.bisected), key=lambda one: one.bisection == ""):
        if until - time.monotonic() < LEAST_SECONDS:
            how.say(f"{one.name}: no time is left to search for where it began; the next night will")
            continue
        told = _searched(how, one, until, run_id, now)
        if told is not None:
            ended.append(told)
    return tuple(ended)


def _searched(how: Searching, one: Regression, until: float, run_id: str, now: str) -> Regression | None:
    """One search, as far as it gets; None where it goes on the next night."""
    if not one.bisection or not _there(how.results, one.bisection):
        try:
            one = one.told(now, run_id, "search began", bisection=_begun(how, one))
        except (UsageError, KernelUnavailable, BuildError, ToolMissing) as problem:
            return _keep(how.url, one.told(now, run_id, f"not bisected: {problem}", bisection=NONE))
        one = _keep(how.url, one)
    how.say(f"{one.name}: searching for where it began (session {one.bisection})")
    trouble = "" if _answer(how, one) else how.work(how.results, one.bisection, until - time.monotonic())
    if (answer := _answer(how, one)) is not None:
        words = headline(answer)
        changes = {"state": "bisected"} if answer["exit_code"] == EXIT_OK else {}
        return _keep(how.url, one.told(now, run_id, f"bisected: {words}", bisected=words, **changes))
    if trouble is None:
        how.say(f"{one.name}: the time for searching is used up; the next night continues")
        return None
    return _keep(how.url, one.told(now, run_id, f"not bisected: {trouble}", bisection=NONE))


def _there(results: Path, session: str) -> bool:
    return (results / SESSIONS / session / "bisect.json").is_file()


def _answer(how: Searching, one: Regression) -> Mapping[str, Any] | None:
    """What a search found; also where a night was killed before it wrote that down."""
    answer: Mapping[str, Any] | None = read(find(how.results, one.bisection))["answer"]
    return answer


def headline(answer: Mapping[str, Any]) -> str:
    """What a search found, in one line."""
    old, new = answer["last"]["name"], answer["first"]["name"]
    noun = "commit" if answer["over"] == "commits" else "build"
    if answer["state"] == "range":
        many = len(answer["between"]) + 1
        return f"the first bad {noun} is one of {many}: after {_short(old)}, and {_short(new)} at the latest"
    subject = f" {answer['commit']['subject']}" if answer["commit"] else ""
    doubt = " (a neighbour gave no answer when it was booted again)" if answer["state"] == "unchecked" else ""
    return f"first bad {noun} {_short(new)}{subject}, last good {_short(old)}{doubt}"


def _short(name: str) -> str:
    return name[:12] if re.fullmatch(r"[0-9a-f]{40,64}", name) else name


def _keep(url: URL, one: Regression) -> Regression:
    with writing(url) as connection:
        return keep(connection, one)


# --- what is searched -------------------------------------------------------------------------------------------------


def _begun(how: Searching, one: Regression) -> str:
    """Begin the session of a search; returns its id. Raises ``NoSearch`` and what ``prepare`` raises."""
    old, new = ends(how.results, one)
    task = replace(
        task_of(one, old, new, how.matrix), offline=how.offline, acceleration=how.acceleration, scale=how.scale
    )
    if task.good:
        return _session(how.results, task)
    # The files that the kernels were may be others by now: the store's copies are searched.
    folder = how.results / SESSIONS / "kernels"
    good, bad = (_copy(Store(), end, folder / f"{one.name}-{word}") for end, word in ((old, "good"), (new, "bad")))
    return _session(how.results, replace(task, good=good, good_words=(good,), bad=bad, bad_words=(bad,)))


def _session(results: Path, task: BisectOptions) -> str:
    with begin(results, prepare(task).task) as session:
        return session.id


def ends(results: Path, one: Regression) -> tuple[CellRecord, CellRecord]:
    """A cell that shows a regression, as it was the night before and in the night that opened it. Raises
    ``NoSearch``."""
    if one.kind in (NO_ANSWER, LOST_COVERAGE) or not one.rule or not one.probe:
        raise NoSearch("a cell that gives no answer has no rule to search by")
    try:
        mark = read_mark(results / one.opened_run)
        news = _by_name(read_run(results / one.opened_run))
        names = tuple(map(first_id, one.cells))
        nights = {name: grown.run if (grown := grown_in(mark.grown, one, name)) else mark.before for name in names}
        olds = {night: _by_name(read_run(results / night)) for night in set(nights.values())}
    except UsageError as problem:
        raise NoSearch(
            f"the run of the night that opened it, or of the night before, is missing: {problem}"
        ) from problem
    for name in names:
        old, new = olds[nights[name]].get(name), news.get(name)
        if old and new and old.kernel and new.kernel:
            if old.kernel.sha256 == new.kernel.sha256:
                raise NoSearch(f"the kernel of {name} was the same the night before")
            return old, new
    raise NoSearch("none of its cells had a kernel the night before")


def _by_name(run: RunRecord) -> dict[str, CellRecord]:
    return {cell.id: cell for cell in run.cells}


def task_of(one: Regression, old: CellRecord, new: CellRecord, matrix: Matrix) -> BisectOptions:
    """What `sealmatrix bisect` is asked, without ends where the kernels are files. Raises ``NoSearch``."""
    assert old.kernel is not None
    assert new.kernel is not None
    entry = matrix.kernels.get(new.kernel.name)
    source = entry.source if entry else None
    asked = BisectOptions(
        over="builds", rule=one.rule, arch=_arch(new), good="", bad="", probe=one.probe, profile=new.profile,
        matrix=str(matrix.path.resolve()),
    )  # fmt: skip
    if one.kind == COST:
        asked = replace(asked, rule="cost", probe="", profile=COUNTED, cost=one.probe, by=DEFAULT_BY)
    match source:
        case DebianSource(flavour=flavour):
            return replace(asked, good=_package(old.kernel), bad=_package(new.kernel), flavour=flavour)
        case TreeSource(tree=tree, branch=branch):
            place = clone_folder(Store(), tree) if branch else tree
            return replace(asked, good=_commit(old.kernel), bad=_commit(new.kernel), tree=str(place.resolve()))
        case _:
            return asked


def _arch(cell: CellRecord) -> Arch:
    return next(arch for arch in ARCHES if arch == cell.arch)


def _package(kernel: KernelRecord) -> str:
    return kernel.packages[0][1] if kernel.packages else kernel.release


def _commit(kernel: KernelRecord) -> str:
    found = _COMMIT.search(kernel.origin)
    if not found:
        raise NoSearch(f"{kernel.origin}: what was built is no commit")
    return found[1]


def _copy(store: Store, cell: CellRecord, folder: Path) -> str:
    """An image of the store with its configuration beside it, as `sealmatrix bisect` takes one."""
    assert cell.kernel is not None
    wanted = (cell.kernel.sha256, cell.kernel.config_sha256, cell.arch)
    build = next((b for b in stored_builds(store) if (b.image, b.config, b.arch) == wanted), None)
    image = store.locate(build.boot) if build else None
    if build is None or image is None:
        raise KernelUnavailable(f"{cell.kernel.name} ({cell.kernel.release}) is no longer stored")
    target = folder / f"{cell.kernel.name}-{build.image[:12]}"
    with telling(folder):
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(image, target)
        if build.config and (config := store.find(build.config)) is not None:
            shutil.copyfile(config, folder / ".config")
    return str(target.resolve())
