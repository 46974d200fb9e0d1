"""The search over commits: git says which, this builds and boots them."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from harness.bisect.driver import Driver
from harness.bisect.repository import Checkout, First, KernelRepository, Next, OnlySkipped
from harness.bisect.search import Refused, Standing
from harness.bisect.trial_log import Purpose, Trial
from harness.errors import BuildError, StoreError
from harness.kernels.model import Kernel
from harness.kernels.store import telling
from harness.kernels.tree import build_tree, check_tree, own_fragments
from harness.model.architectures import Arch

# How often a last check may contradict the search before the answer is given as unchecked.
_RESTARTS = 5
# Changes to these cannot change what may be configured.
_PLAIN = (".c", ".h", ".S", ".rst", ".txt", ".rs", ".sh", ".py")


class BuildCommit(Protocol):
    """Makes the kernel of a commit; the seam at which tests put one that compiles nothing."""

    def __call__(self, commit: str) -> Kernel:
        """Build. Raises ``BuildError``, whose log was kept."""
        ...


@dataclass
class Workshop:
    """Builds commits one after another in one build folder. ``kept`` is where images and logs of failures go."""

    repository: KernelRepository
    checkout: Checkout
    arch: Arch
    out: Path
    kept: Path
    jobs: int | None = None
    _built: dict[str, Kernel] = field(default_factory=dict)
    _last: str = ""

    def __call__(self, commit: str) -> Kernel:
        """Build a commit, or return what was built of it in this sitting."""
        if commit not in self._built:
            self._built[commit] = self._build(commit)
        return self._built[commit]

    def _build(self, commit: str) -> Kernel:
        self.checkout.checkout(commit)
        plain = self._last and all(n.endswith(_PLAIN) for n in self.repository.changed(self._last, commit))
        series = check_tree(self.checkout.folder)
        fragments = own_fragments(self.arch, series)
        self._last = ""
        try:
            built = build_tree(
                self.checkout.folder, self.arch, self.out, fragments, jobs=self.jobs, reconfigure=not plain
            )
        except BuildError as problem:
            raise self._failed(commit, problem) from problem
        self._last = commit
        image = self._keep(built.image, f"images/{commit[:12]}")
        return built.kernel(commit, f"commit {commit[:12]} of {self.repository.folder.name}", image)

    def _failed(self, commit: str, problem: BuildError) -> BuildError | StoreError:
        log = self._keep(self.out / "build.log", f"builds/{commit[:12]}.log")
        if b"No space left on device" in log.read_bytes():
            return StoreError(f"{self.out}: no space left; the commit is not to blame")
        return BuildError(str(problem).replace(str(self.out / "build.log"), str(log)))

    def _keep(self, file: Path, name: str) -> Path:
        kept = self.kept / name
        with telling(kept):
            kept.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file, kept)
        return kept


@dataclass(frozen=True)
class Located:
    """``parents`` of ``first`` have the old behaviour; ``checked``: all of them said so again in the end."""

    first: str
    parents: tuple[str, ...]
    checked: bool


@dataclass(frozen=True)
class Untestable:
    """Any of ``commits`` may be the first; ``last`` is the nearest with the old behaviour, ``first`` the new one."""

    last: str
    first: str
    commits: tuple[str, ...]


class CommitSearch:
    """Git's bisection with our answers. ``logged`` is told git's log after each of its steps."""

    def __init__(
        self,
        steps: Driver,
        repository: KernelRepository,
        checkout: Checkout,
        build: BuildCommit,
        logged: Callable[[str], None],
    ) -> None:
        self._steps, self._repository, self._checkout = steps, repository, checkout
        self._build, self._logged = build, logged

    def go(self, good: str, bad: str, *, fixed: bool, check: int) -> Located | Untestable | Refused:
        """Search to the end. Raises ``UsageError`` where git refuses, ``InfrastructureError``, ``Interrupted``."""
        older, newer = (bad, good) if fixed else (good, bad)
        old: Standing = "bad" if fixed else "good"
        new: Standing = "good" if fixed else "bad"
        left = (self._repository.count(older, newer) - 1).bit_length()
        for commit in (good, bad):  # the good end first: it may say what good is
            standing = self._settle(commit, "ends", left)
            if standing != (old if commit == older else new):
                return Refused(0 if commit == older else 1, standing)
        restarts = 0
        while True:
            end = self._drive(older, newer, fixed=fixed)
            if isinstance(end, OnlySkipped):
                return self._untestable(end, newer, new)
            parents = self._repository.parents(end.commit)
            neighbours = ((end.commit, new), *((parent, old) for parent in parents))
            checked = bool(check) and all(self._check(commit, wanted, check) for commit, wanted in neighbours)
            # A check that contradicts the search is in the book now: git is asked again with it.
            if checked or not check or restarts == _RESTARTS:
                return Located(end.commit, parents, checked)
            restarts += 1

    def _drive(self, older: str, newer: str, *, fixed: bool) -> First | OnlySkipped:
        """One bisection by git; what is in the book is not asked again."""
        words: dict[Standing, Literal["good", "bad", "broken", "fixed", "skip"]] = {
            "good": "fixed" if fixed else "good",
            "bad": "broken" if fixed else "bad",
            "untestable": "skip",
        }
        state = self._checkout.start(older, newer, fixed=fixed)
        while isinstance(state, Next):
            standing = self._settle(state.commit, "search", state.left)
            state = self._checkout.mark(state.commit, words[standing])
            self._logged(self._checkout.log())
        return state

    def _settle(self, commit: str, purpose: Purpose, left: int) -> Standing:
        """Have a commit built and asked until it stands."""
        while (standing := self._steps.book.standing(commit)) == "open":
            self._make(commit, self._steps.missing(commit), purpose, left)
        return standing

    def _check(self, commit: str, wanted: Standing, check: int) -> bool:
        """Ask once more, in a fresh guest. False when it says something else or nothing."""
        book = self._steps.book
        while (tally := book.tally(commit)).boots < (book.repeat if tally.bad else book.required) + check:
            if tally.untestable:
                return False
            before = book.required
            self._make(commit, check, "check", 0)
            if book.required != before:
                return False
        return book.standing(commit) == wanted

    def _make(self, commit: str, boots: int, purpose: Purpose, left: int) -> None:
        self._steps.say(f"building {commit[:12]}", left)
        begun = time.monotonic()
        try:
            kernel = self._build(commit)
        except BuildError as problem:
            seconds = round(time.monotonic() - begun, 3)
            self._steps.note(Trial(commit, "", purpose, "boot", None, "build", str(problem), seconds=seconds), left)
            return
        self._steps.make({commit: kernel}, {commit: boots}, purpose, left, time.monotonic() - begun)

    def _untestable(self, end: OnlySkipped, newer: str, new: Standing) -> Untestable:
        """Git lists the commits that were skipped and the oldest one with the new behaviour."""
        book = self._steps.book
        first = next((commit for commit in end.commits if book.standing(commit) == new), newer)
        between = tuple(commit for commit in end.commits if commit != first)
        listed = set(end.commits)
        olds = [p for commit in end.commits for p in self._repository.parents(commit) if p not in listed]
        last = min(olds, key=lambda commit: self._repository.count(commit, first))
        return Untestable(last, first, between)
