"""Git, as a bisection needs it: the user's repository, which is only read, and a checkout of our own for builds.

The checkout has a repository of its own that borrows the user's objects (gitrepository-layout(5), alternates): neither
the user's files nor refs nor index are ever touched, and the bisection's state cannot meet a `git bisect` of theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from harness.bisect.outcome import Commit
from harness.errors import InfrastructureError, UsageError
from harness.kernels.store import telling
from harness.kernels.tree import series_of
from harness.processes import git
from harness.processes.children import Done

_FIRST = re.compile(r"^([0-9a-f]{40,64}) is the first \S+ commit", re.MULTILINE)
_NAMES = re.compile(r"^[0-9a-f]{40,64}$", re.MULTILINE)
_STEPS = re.compile(r"roughly (\d+) steps?")


@dataclass(frozen=True)
class KernelRepository:
    """The user's repository; ``open_repository`` has looked at it."""

    folder: Path
    place: git.Repository
    objects: Path
    format: str

    def resolve(self, option: str, revision: str) -> str:
        """The commit a revision means. Raises ``UsageError``."""
        commit = self._commit(revision)
        if not commit:
            raise UsageError(f"{option} {revision}: {self.folder} has no such revision")
        return commit

    def knows(self, revision: str) -> bool:
        """Whether something is a revision here."""
        return bool(self._commit(revision))

    def _commit(self, revision: str) -> str:
        return self.place.text("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")

    def check_ends(self, good: tuple[str, str], bad: tuple[str, str], *, fixed: bool) -> None:
        """Raise ``UsageError`` unless two (revision, commit) are two kernels, the older one first."""
        older, newer = (bad, good) if fixed else (good, bad)
        if older[1] == newer[1]:
            raise UsageError(f"--good {good[0]} and --bad {bad[0]} are the same commit: {good[1][:12]}")
        if self._is_ancestor(newer[1], older[1]):
            remedy = "leave --fixed out" if fixed else "add --fixed to find the first good commit"
            words = ("bad", "good") if fixed else ("good", "bad")
            told = f"the {words[0]} revision {older[0]} is newer than the {words[1]} one {newer[0]}"
            raise UsageError(f"{told}; swap them, or {remedy}")
        if not self.place.text("merge-base", older[1], newer[1]):
            raise UsageError(f"{older[0]} and {newer[0]} have no common history in {self.folder}")
        for revision, commit in (older, newer):
            makefile = self.place.text("cat-file", "blob", f"{commit}:Makefile")
            if series_of(makefile) is None or self.place.git("cat-file", "-e", f"{commit}:Kbuild").status:
                raise UsageError(f"{revision} of {self.folder} holds no kernel source")

    def _is_ancestor(self, one: str, other: str) -> bool:
        return self.place.git("merge-base", "--is-ancestor", one, other).status == 0

    def count(self, older: str, newer: str) -> int:
        """How many commits a search between two looks at, both of them among it."""
        return int(self.place.text("rev-list", "--count", f"{older}..{newer}") or 0) + 1

    def parents(self, commit: str) -> tuple[str, ...]:
        """A commit's parents."""
        return tuple(self.place.text("rev-list", "--parents", "-n1", commit).split()[1:])

    def describe(self, commit: str) -> Commit:
        """What the answer says of a commit."""
        told = self.place.text("show", "--no-patch", "--date=short", "--format=%an <%ae>%n%ad%n%s", commit)
        author, date, subject = (told.splitlines() + [""] * 3)[:3]
        files = self.place.text("diff-tree", "-r", "--name-only", "--no-commit-id", "--root", "-m", commit)
        return Commit(commit, author, date, subject, tuple(dict.fromkeys(files.splitlines())))

    def changed(self, one: str, other: str) -> tuple[str, ...]:
        """The files that differ between two commits."""
        return tuple(self.place.text("diff-tree", "-r", "--name-only", one, other).splitlines())

    @property
    def key(self) -> str:
        """A name for what is kept of this repository in the cache."""
        path = str(self.objects.resolve())
        name = re.sub(r"[^A-Za-z0-9.+_-]+", "_", self.folder.resolve().name)[:60]
        return f"{name}-{sha256(path.encode()).hexdigest()[:8]}"


def open_repository(folder: Path) -> KernelRepository:
    """Look at the user's repository. Raises ``UsageError`` for none, a shallow, partial or dirty one."""
    if not folder.is_dir():
        raise UsageError(f"--tree {folder}: no such folder")
    try:
        place = git.Repository.at(folder)
        shallow, form = place.do("rev-parse", "--is-shallow-repository", "--show-object-format").split()
        objects = place.do("rev-parse", "--path-format=absolute", "--git-path", "objects")
    except (InfrastructureError, UsageError) as problem:
        raise UsageError(f"--tree {problem}") from None
    if shallow == "true":
        raise UsageError(f"--tree {folder}: a shallow clone lacks commits; to fetch them: git fetch --unshallow")
    if place.text("config", "--get-regexp", r"^remote\..*\.promisor$"):
        raise UsageError(f"--tree {folder}: a partial clone lacks files; to fetch all: git fetch --refetch --no-filter")
    if place.files is not None and (names := _changed(place)):
        more = f" and {len(names) - 1} more" if names[1:] else ""
        raise UsageError(
            f"--tree {folder}: {names[0]}{more} differ from what is committed and would not be tested; "
            "commit or stash them"
        )
    return KernelRepository(folder, place, Path(objects), form)


def _changed(place: git.Repository) -> list[str]:
    """Files that differ from what is committed."""
    listed = place.git("status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none")
    if listed.status:
        raise UsageError(f"--tree {place.files}: {git.words_of(listed)}")
    return [line[3:] for line in listed.out.decode("utf-8", "replace").splitlines()]


@dataclass(frozen=True)
class Next:
    """Git wants to know about a commit; about ``left`` steps follow it."""

    commit: str
    left: int


@dataclass(frozen=True)
class First:
    """Git names the first commit with the new behaviour."""

    commit: str


@dataclass(frozen=True)
class OnlySkipped:
    """Any of these may be the first."""

    commits: tuple[str, ...]


SearchState = Next | First | OnlySkipped


class Checkout:
    """Our own repository and its files, in ``folder``."""

    def __init__(self, folder: Path, origin: KernelRepository) -> None:
        self.folder, self._origin = folder, origin
        self._place = git.Repository.ours(folder)

    def prepare(self) -> None:
        """Make it, or put right what an interrupted process left. Raises ``StoreError``."""
        with telling(self.folder):
            if not self.folder.exists():
                git.Repository.create(self.folder, self._origin.format)
            self._place.borrow(self._origin.objects)

    @property
    def head(self) -> str:
        """The commit whose files are there, "" before the first."""
        return self._place.text("rev-parse", "--verify", "--quiet", "HEAD") if self._has_files() else ""

    def _has_files(self) -> bool:
        return (self.folder / "Makefile").is_file()

    def checkout(self, commit: str) -> None:
        """Have the files of a commit. Files that do not differ keep their times, so that make builds what changed."""
        self._place.check_out(commit)

    def start(self, older: str, newer: str, *, fixed: bool) -> SearchState:
        """Begin to bisect. Nothing is checked out by git: what is known already is not built again."""
        self._place.git("bisect", "reset")
        if not self.head:
            self._place.do("update-ref", "--no-deref", "HEAD", newer)
        terms = ["--term-old=broken", "--term-new=fixed"] if fixed else []
        return self._state(self._place.git("bisect", "start", "--no-checkout", *terms, newer, older))

    def mark(self, commit: str, word: Literal["good", "bad", "broken", "fixed", "skip"]) -> SearchState:
        """Tell git about a commit."""
        return self._state(self._place.git("bisect", word, commit))

    def log(self) -> str:
        """Git's own log."""
        return self._place.git("bisect", "log").out.decode("utf-8", "surrogateescape")

    def _state(self, done: Done) -> SearchState:
        told = done.out.decode("utf-8", "replace")
        if (first := _FIRST.search(told)) is not None:
            return First(first[1])
        if done.status == 2 and "skip" in told:
            return OnlySkipped(tuple(_NAMES.findall(told)))
        if "merge base" in told and done.status:
            raise UsageError(" ".join(told.split())[:300])
        if done.status:
            raise InfrastructureError(f"git bisect in {self.folder}: {git.words_of(done)}")
        head = (self.folder / ".git" / "BISECT_HEAD").read_text(encoding="ascii").strip()
        steps = _STEPS.search(told)
        return Next(head, int(steps[1]) if steps else 0)
