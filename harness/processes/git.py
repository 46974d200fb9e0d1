"""Git: the one place that calls it, told by name which repository and which files, whatever the environment says.

Git itself sets ``GIT_DIR`` and others of its variables for hooks, aliases and ``rebase --exec``, absolute ones in a
linked work tree; they win over ``git -C``. So none of them is passed on. Somebody else's repository is only read: a
command that changes anything needs a repository that ``Repository.create`` made, which bears a mark.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from harness.errors import InfrastructureError, ToolMissing, UsageError
from harness.processes.children import Done, ask, run

MARK = "sealmatrix-made-this"
# Of git's variables these choose the installation and its configuration files; every other one is dropped.
_KEPT = ("GIT_EXEC_PATH", "GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM", "GIT_CONFIG_NOSYSTEM")
_ALWAYS = {
    "LC_ALL": "C",
    "GIT_TERMINAL_PROMPT": "0",
    # `git status` would write the user's index to save time.
    "GIT_OPTIONAL_LOCKS": "0",
}
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.autocrlf=false",
    "gc.auto=0",
    "maintenance.auto=false",
)
# Commands that change neither a repository nor files, with these words as they are used here.
_READING = frozenset({"cat-file", "diff-tree", "ls-files", "merge-base", "rev-list", "rev-parse", "show", "status"})


@dataclass(frozen=True)
class Repository:
    """A repository (``--git-dir``) and its files (``--work-tree``, None for a bare one), both absolute."""

    folder: Path
    files: Path | None

    @classmethod
    def at(cls, folder: Path) -> Repository:
        """The repository whose files lie in ``folder``, also of a linked work tree, or the bare one that it is.

        One further up is not it. Raises ``UsageError`` in git's words, ``ToolMissing``.
        """
        place = folder.resolve()
        done = _run(ask, place, ("rev-parse", "--is-inside-work-tree", "--absolute-git-dir"), ceiling=place.parent)
        lines = done.out.decode("utf-8", "surrogateescape").splitlines()
        if done.status or len(lines) != 2:
            raise UsageError(f"{folder}: {words_of(done)}")
        return cls(Path(lines[1]), place if lines[0] == "true" else None)

    @classmethod
    def create(cls, files: Path, form: str) -> Repository:
        """Make an empty one of ours in ``files``, which must not be there; ``form`` is its object format.

        It appears whole or not at all. Raises ``OSError``, also when there is something, and ``InfrastructureError``.
        """
        files.parent.mkdir(parents=True, exist_ok=True)
        files = files.resolve()
        with tempfile.TemporaryDirectory(dir=files.parent, prefix=f".{files.name}-") as scratch:
            draft = Path(scratch) / "draft"
            made = cls(draft / ".git", draft)
            made.folder.mkdir(parents=True)
            (made.folder / MARK).write_text("sealmatrix made this repository and may change it\n", encoding="utf-8")
            made.do("init", "--quiet", "--template=", f"--object-format={form}")
            draft.rename(files)
        return cls.ours(files)

    @classmethod
    def ours(cls, files: Path) -> Repository:
        """The repository that ``create`` made in ``files``, which ``is_ours`` confirms."""
        return cls(files.resolve() / ".git", files.resolve())

    @property
    def is_ours(self) -> bool:
        """Whether ``create`` made it."""
        plain = self.files is not None and self.folder == self.files / ".git" and self.folder.is_dir()
        return plain and not self.folder.is_symlink() and (self.folder / MARK).is_file()

    def git(self, *words: str) -> Done:
        """Run git; whatever it answers is returned. Raises ``InfrastructureError`` before a change of another's."""
        reading = words[0] in _READING or words[:2] == ("config", "--get-regexp")
        if not reading and not self.is_ours:
            raise InfrastructureError(f"{self.folder}: sealmatrix did not make this repository and does not change it")
        # Git answers by itself, and calls others where it works.
        how = ask if reading else run
        return _run(how, self.files or self.folder, (f"--git-dir={self.folder}", *self._work_tree(), *words))

    def text(self, *words: str) -> str:
        """What git answers, without the white space around it; "" when it fails."""
        done = self.git(*words)
        return "" if done.status else text_of(done)

    def do(self, *words: str) -> str:
        """Run git and return what it says. Raises ``InfrastructureError`` when it fails."""
        done = self.git(*words)
        if done.status:
            raise InfrastructureError(f"git {words[0]} in {self.files or self.folder}: {words_of(done)}")
        return text_of(done)

    def borrow(self, objects: Path) -> None:
        """Have the objects of another repository at hand (gitrepository-layout(5), alternates). Raises ``OSError``."""
        alternates = self.folder / "objects" / "info" / "alternates"
        alternates.parent.mkdir(parents=True, exist_ok=True)
        alternates.write_bytes(os.fsencode(objects) + b"\n")

    def check_out(self, commit: str) -> None:
        """Have the files of a commit; those that do not differ keep their times. Raises ``InfrastructureError``."""
        # What an interrupted process left; whoever changes a repository of ours holds a lock of ours.
        with contextlib.suppress(OSError):
            (self.folder / "index.lock").unlink()
        self.do("checkout", "--quiet", "--force", "--detach", commit)

    def _work_tree(self) -> tuple[str, ...]:
        return (f"--work-tree={self.files}",) if self.files else ()


def text_of(done: Done) -> str:
    """What git answered, without the white space around it."""
    return done.out.decode("utf-8", "surrogateescape").strip()


def words_of(done: Done) -> str:
    """Why git failed, in one line."""
    text = (done.err or done.out).decode("utf-8", "replace")
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    told = next((line for line in lines if line.startswith(("fatal: ", "error: "))), lines[0] if lines else "")
    return told.removeprefix("fatal: ")[:300] or f"git ended with status {done.status}"


def _run(how: Callable[..., Done], folder: Path, words: tuple[str, ...], ceiling: Path | None = None) -> Done:
    if shutil.which("git") is None:
        raise ToolMissing("git", "git")
    settings = [word for setting in _SETTINGS for word in ("-c", setting)]
    kept = {name: value for name, value in os.environ.items() if not name.startswith("GIT_") or name in _KEPT}
    environment = kept | _ALWAYS | ({"GIT_CEILING_DIRECTORIES": str(ceiling)} if ceiling else {})
    return how(["git", "-C", str(folder), *settings, *words], environment=environment, seconds=None)
