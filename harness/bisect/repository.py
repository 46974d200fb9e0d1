"""Git, as a bisection needs it: the user's repository, which is only read, and a checkout of our own for builds.

The checkout has a repository of its own that borrows the user's objects (gitrepository-layout(5), alternates): neither
the user's files nor refs nor index are ever touched, and the bisection's state cannot meet a `git bisect` of theirs.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Literal

from harness.bisect.outcome import Commit
from harness.errors import InfrastructureError, ToolMissing, UsageError
from harness.kernels.store import telling
from harness.kernels.tree import series_of

# What would make git look elsewhere than told.
_UNWANTED = re.compile(r"GIT_(DIR|WORK_TREE|INDEX_FILE|OBJECT_DIRECTORY|ALTERNATE_.*|COMMON_DIR|NAMESPACE|PREFIX)\Z")
_QUIET = (
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "gc.auto=0",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "core.autocrlf=false",
)
_FIRST = re.compile(r"^([0-9a-f]{40,64}) is the first \S+ commit", re.MULTILINE)
_NAMES = re.compile(r"^[0-9a-f]{40,64}$", re.MULTILINE)
_STEPS = re.compile(r"roughly (\d+) steps?")


def git(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git; whatever it answers is returned. Raises ``ToolMissing``."""
    if shutil.which("git") is None:
        raise ToolMissing("git", "git")
    kept = {name: value for name, value in os.environ.items() if not _UNWANTED.match(name)}
    # Optional locks: `git status` would write the user's index to save time.
    environment = kept | {"LC_ALL": "C", "GIT_TERMINAL_PROMPT": "0", "GIT_OPTIONAL_LOCKS": "0"}
    return subprocess.run(
        ["git", "-C", str(folder), *_QUIET, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
        encoding="utf-8", errors="surrogateescape", check=False,
    )  # fmt: skip


def _words(done: subprocess.CompletedProcess[str]) -> str:
    lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
    return lines[0].removeprefix("fatal: ")[:300] if lines else f"git ended with status {done.returncode}"


@dataclass(frozen=True)
class Repository:
    """The user's repository; ``open_repository`` has looked at it."""

    folder: Path
    objects: Path
    format: str

    def resolve(self, option: str, revision: str) -> str:
        """The commit a revision means. Raises ``UsageError``."""
        done = git(self.folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        if done.returncode:
            raise UsageError(f"{option} {revision}: {self.folder} has no such revision")
        return done.stdout.strip()

    def knows(self, revision: str) -> bool:
        """Whether something is a revision here."""
        done = git(self.folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
        return not done.returncode

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
        if not git(self.folder, "merge-base", older[1], newer[1]).stdout.strip():
            raise UsageError(f"{older[0]} and {newer[0]} have no common history in {self.folder}")
        for revision, commit in (older, newer):
            makefile = git(self.folder, "cat-file", "blob", f"{commit}:Makefile").stdout
            if series_of(makefile) is None or git(self.folder, "cat-file", "-e", f"{commit}:Kbuild").returncode:
                raise UsageError(f"{revision} of {self.folder} holds no kernel source")

    def _is_ancestor(self, one: str, other: str) -> bool:
        return git(self.folder, "merge-base", "--is-ancestor", one, other).returncode == 0

    def count(self, older: str, newer: str) -> int:
        """How many commits a search between two looks at, both of them among it."""
        done = git(self.folder, "rev-list", "--count", f"{older}..{newer}")
        return int(done.stdout.strip() or 0) + 1

    def parents(self, commit: str) -> tuple[str, ...]:
        """A commit's parents."""
        return tuple(git(self.folder, "rev-list", "--parents", "-n1", commit).stdout.split()[1:])

    def describe(self, commit: str) -> Commit:
        """What the answer says of a commit."""
        done = git(self.folder, "show", "--no-patch", "--date=short", "--format=%an <%ae>%n%ad%n%s", commit)
        author, date, subject = (done.stdout.splitlines() + [""] * 3)[:3]
        files = git(self.folder, "diff-tree", "-r", "--name-only", "--no-commit-id", "--root", "-m", commit).stdout
        return Commit(commit, author, date, subject, tuple(dict.fromkeys(files.splitlines())))

    def changed(self, one: str, other: str) -> tuple[str, ...]:
        """The files that differ between two commits."""
        return tuple(git(self.folder, "diff-tree", "-r", "--name-only", one, other).stdout.splitlines())

    @property
    def key(self) -> str:
        """A name for what is kept of this repository in the cache."""
        path = str(self.objects.resolve())
        name = re.sub(r"[^A-Za-z0-9.+_-]+", "_", self.folder.resolve().name)[:60]
        return f"{name}-{sha256(path.encode()).hexdigest()[:8]}"


def open_repository(folder: Path) -> Repository:
    """Look at the user's repository. Raises ``UsageError`` for none, a shallow, partial or dirty one."""
    if not folder.is_dir():
        raise UsageError(f"--tree {folder}: no such folder")
    done = git(folder, "rev-parse", "--is-bare-repository", "--is-shallow-repository", "--show-object-format")
    if done.returncode:
        raise UsageError(f"--tree {folder}: {_words(done)}")
    bare, shallow, form = done.stdout.split()
    if shallow == "true":
        raise UsageError(f"--tree {folder}: a shallow clone lacks commits; `git fetch --unshallow` brings them")
    if git(folder, "config", "--get-regexp", r"^remote\..*\.promisor$").stdout.strip():
        raise UsageError(f"--tree {folder}: a partial clone lacks files; `git fetch --refetch --no-filter` brings them")
    if bare != "true":
        status = git(folder, "status", "--porcelain", "--untracked-files=no", "--ignore-submodules=none")
        if status.returncode:
            raise UsageError(f"--tree {folder}: {_words(status)}")
        if changed := [line[3:] for line in status.stdout.splitlines()]:
            more = f" and {len(changed) - 1} more" if changed[1:] else ""
            raise UsageError(
                f"--tree {folder}: {changed[0]}{more} differ from what is committed and would not be tested; "
                "commit or stash them"
            )
    objects = git(folder, "rev-parse", "--path-format=absolute", "--git-path", "objects")
    if objects.returncode:
        raise UsageError(f"--tree {folder}: {_words(objects)}")
    return Repository(folder, Path(objects.stdout.strip()), form)


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


State = Next | First | OnlySkipped


class Checkout:
    """Our own repository and its files, in ``folder``."""

    def __init__(self, folder: Path, origin: Repository) -> None:
        self.folder, self._origin = folder, origin

    def prepare(self) -> None:
        """Make it, or put right what an interrupted process left. Raises ``StoreError``."""
        with telling(self.folder):
            if not (self.folder / ".git" / "HEAD").is_file():
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                self._git("init", "--quiet", f"--object-format={self._origin.format}")
            alternates = self.folder / ".git" / "objects" / "info" / "alternates"
            alternates.parent.mkdir(exist_ok=True)
            alternates.write_text(f"{self._origin.objects}\n", encoding="utf-8")
            (self.folder / ".git" / "index.lock").unlink(missing_ok=True)

    @property
    def head(self) -> str:
        """The commit whose files are there, "" before the first."""
        done = git(self.folder, "rev-parse", "--verify", "--quiet", "HEAD")
        return done.stdout.strip() if (self.folder / "Makefile").is_file() and not done.returncode else ""

    def checkout(self, commit: str) -> None:
        """Have the files of a commit. Files that do not differ keep their times, so that make builds what changed."""
        self._git("checkout", "--quiet", "--force", "--detach", commit)

    def start(self, older: str, newer: str, *, fixed: bool) -> State:
        """Begin to bisect. Nothing is checked out by git: what is known already is not built again."""
        git(self.folder, "bisect", "reset")
        if not self.head:
            self._git("update-ref", "--no-deref", "HEAD", newer)
        terms = ["--term-old=broken", "--term-new=fixed"] if fixed else []
        return self._state(git(self.folder, "bisect", "start", "--no-checkout", *terms, newer, older))

    def mark(self, commit: str, word: Literal["good", "bad", "broken", "fixed", "skip"]) -> State:
        """Tell git about a commit."""
        return self._state(git(self.folder, "bisect", word, commit))

    def log(self) -> str:
        """Git's own log."""
        return git(self.folder, "bisect", "log").stdout

    def _state(self, done: subprocess.CompletedProcess[str]) -> State:
        if (first := _FIRST.search(done.stdout)) is not None:
            return First(first[1])
        if done.returncode == 2 and "skip" in done.stdout:
            return OnlySkipped(tuple(_NAMES.findall(done.stdout)))
        if "merge base" in done.stdout and done.returncode:
            raise UsageError(" ".join(done.stdout.split())[:300])
        if done.returncode:
            raise InfrastructureError(f"git bisect in {self.folder}: {_words(done)}")
        head = (self.folder / ".git" / "BISECT_HEAD").read_text(encoding="ascii").strip()
        steps = _STEPS.search(done.stdout)
        return Next(head, int(steps[1]) if steps else 0)

    def _git(self, *arguments: str) -> None:
        done = git(self.folder, *arguments)
        if done.returncode:
            raise InfrastructureError(f"git {arguments[0]} in {self.folder}: {_words(done)}")
