"""A kernel source package as a git repository: its whole tree in the first commit, then a history of small ones.

The first commit is written once, by git fast-import, and kept in the cache; commits after it take a second. Everything
that goes into a commit is fixed, so that its name is the same on every machine and what was built of it is found again.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.kernels.sources import SourceTree
from harness.kernels.store import Store

_WHO = "A U Thor <author@example.org> 1700000000 +0000"
_IDENTITY = {
    "GIT_AUTHOR_NAME": "A U Thor",
    "GIT_AUTHOR_EMAIL": "author@example.org",
    "GIT_COMMITTER_NAME": "A U Thor",
    "GIT_COMMITTER_EMAIL": "author@example.org",
}


@dataclass(frozen=True)
class Change:
    """One commit: the text of a file replaced, where ``old`` is empty appended to."""

    subject: str
    file: str
    new: str
    old: str = ""

    def apply(self, text: str) -> str:
        if not self.old:
            return text + self.new
        assert text.count(self.old) == 1, (self.file, self.old)
        return text.replace(self.old, self.new)


def git(folder: Path, *arguments: str, stdin: bytes = b"", **environment: str) -> str:
    done = subprocess.run(
        ["git", "-C", str(folder), *arguments], input=stdin, capture_output=True, check=True,
        env=os.environ | _IDENTITY | environment,
    )  # fmt: skip
    return done.stdout.decode().strip()


def kernel_repository(source: SourceTree, store: Store | None = None) -> Path:
    """A bare repository whose branch ``package`` is the source package as one commit. Made once, then kept."""
    store = store or Store()
    folder = store.root / "sources" / f"{source.path.name}.git"
    with store.lock(f"repository {folder.name}"):
        if not folder.is_dir():
            with store.scratch() as scratch:
                draft = scratch / "repository"
                draft.mkdir()
                git(draft, "init", "--quiet", "--bare", "--initial-branch=package")
                # Loose objects of 86,000 files would take minutes, hard compression too.
                git(draft, "config", "core.compression", "1")
                _import(draft, source)
                draft.rename(folder)
    return folder


def commits(repository: Path, branch: str, changes: Sequence[Change], base: str = "package") -> list[str]:
    """Put ``changes`` on top of ``base`` as ``branch``; returns the names of the base and of every commit, in order."""
    environment = {"GIT_INDEX_FILE": str(repository / f"index-{branch}")}
    names = [git(repository, "rev-parse", base)]
    git(repository, "read-tree", names[0], **environment)
    for number, change in enumerate(changes, 1):
        text = subprocess.run(
            ["git", "-C", str(repository), "show", f"{names[-1]}:{change.file}"], capture_output=True, check=True
        ).stdout.decode("utf-8", "surrogateescape")
        content = change.apply(text).encode("utf-8", "surrogateescape")
        blob = git(repository, "hash-object", "-w", "--stdin", stdin=content)
        git(repository, "update-index", "--cacheinfo", f"100644,{blob},{change.file}", **environment)
        date = f"{1700000000 + 60 * number} +0000"
        dated = {"GIT_AUTHOR_DATE": date, "GIT_COMMITTER_DATE": date}
        tree = git(repository, "write-tree", **environment)
        names.append(git(repository, "commit-tree", tree, "-p", names[-1], "-m", change.subject, **dated))
    git(repository, "update-ref", f"refs/heads/{branch}", names[-1])
    (repository / f"index-{branch}").unlink()
    return names


def _import(repository: Path, source: SourceTree) -> None:
    argv = ["git", "-C", str(repository), "fast-import", "--quiet", "--done"]
    with subprocess.Popen(argv, stdin=subprocess.PIPE) as process:
        assert process.stdin is not None
        for part in _stream(source):
            process.stdin.write(part)
        process.stdin.close()
    assert process.returncode == 0


def _stream(source: SourceTree) -> Iterator[bytes]:
    """See git-fast-import(1): files inline, in the order of their names."""
    message = f"{source.where}\n".encode()
    yield b"commit refs/heads/package\n"
    yield f"author {_WHO}\ncommitter {_WHO}\ndata {len(message)}\n".encode() + message
    for folder, folders, files in os.walk(source.path):
        folders.sort()
        for name in sorted([*files, *(f for f in folders if Path(folder, f).is_symlink())]):
            path = Path(folder, name)
            if path.is_symlink():
                mode, content = b"120000", os.fsencode(path.readlink())
            else:
                mode = b"100755" if path.stat().st_mode & 0o100 else b"100644"
                content = path.read_bytes()
            place = os.fsencode(path.relative_to(source.path))
            yield b"M " + mode + b" inline " + place + b"\ndata " + str(len(content)).encode() + b"\n"
            yield content + b"\n"
    yield b"\ndone\n"
