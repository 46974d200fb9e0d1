"""A patch series or a range of commits as two kernels: the base it was made on, and the base with it.

A series (an mbox, as ``git format-patch`` and lore give it) names its base in a ``base-commit:`` line. It is applied in
a repository of the store's own, which borrows the objects of the user's; the user's tree is only read.
"""

from __future__ import annotations

import hashlib
import mailbox
import re
from dataclasses import dataclass
from email.header import decode_header, make_header
from pathlib import Path

from harness.errors import InfrastructureError, UsageError
from harness.kernels.archive import Saying
from harness.kernels.store import Store, telling
from harness.matrix.sources.tree import TreeSource
from harness.processes import git

MAX_BYTES = 64 << 20
_BASE = re.compile(rb"^base-commit: ([0-9a-f]{12,40})\s*$", re.MULTILINE)
_PATCH = re.compile(r"^\s*(\[[^\]]*\]\s*)*")
_IDENTITY = ("-c", "user.name=sealmatrix", "-c", "user.email=sealmatrix@localhost")


@dataclass(frozen=True)
class Series:
    """Two kernels to be built from one tree. ``subjects`` are those of the patches or commits, oldest first."""

    tree: Path
    base: str
    patched: str
    subjects: tuple[str, ...]
    what: str

    @property
    def sources(self) -> tuple[TreeSource, TreeSource]:
        """The base, and the base with the patches."""
        return TreeSource(self.tree, self.base), TreeSource(self.tree, self.patched)


def read_series(word: str, tree: Path, store: Store, say: Saying, base: str = "") -> Series:
    """Read a mailbox's path, or a range ``REV..REV`` of ``tree``'s commits; ``base`` is for a series that names none.

    Raises ``UsageError`` for what is neither, a base that is unknown, and a series that does not apply to it.
    """
    repository = git.Repository.at(tree)
    if Path(word).is_file():
        return _applied(Path(word), repository, tree, store, say, base)
    first, dots, last = word.partition("..")
    if not dots or not first or not last or last.startswith("."):
        raise UsageError(f"{word}: neither a mailbox nor a range of commits; give SERIES.mbox or REV..REV")
    if base:
        raise UsageError("--base is for a mailbox; a range has its own")
    commits = [_commit(repository, tree, revision) for revision in (first, last)]
    if commits[0] == commits[1]:
        raise UsageError(f"{word}: both are commit {commits[0][:12]}; there is nothing to compare")
    subjects = repository.do(
        "rev-list", "--reverse", "--format=%s", "--no-commit-header", f"{commits[0]}..{commits[1]}"
    )
    return Series(tree, commits[0], commits[1], tuple(subjects.splitlines()), word)


def _commit(repository: git.Repository, tree: Path, revision: str, why: str = "") -> str:
    try:
        return repository.do("rev-parse", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    except InfrastructureError:
        raise UsageError(f"{tree}: has no commit {revision!r}{why}") from None


def _applied(path: Path, repository: git.Repository, tree: Path, store: Store, say: Saying, base: str) -> Series:
    data = _read(path)
    found = _BASE.findall(data)
    named = base or (found[-1].decode() if found else "")
    if not named:
        raise UsageError(f"{path}: names no base-commit, and testing on the wrong base misleads; give --base REV")
    start = _commit(repository, tree, named, f", the base of {path.name}; fetch it, or give --base REV")
    subjects = _subjects(path)
    if not subjects:
        raise UsageError(f"{path}: holds no patch")
    objects = Path(repository.do("rev-parse", "--path-format=absolute", "--git-path", "objects"))
    form = repository.do("rev-parse", "--show-object-format")
    ident = hashlib.sha256(str(tree.resolve()).encode()).hexdigest()[:24]
    clone = store.root / "series" / ident
    with store.lock(f"series {ident}", say), telling(clone):
        ours = git.Repository.ours(clone) if clone.exists() else git.Repository.create(clone, form)
        ours.borrow(objects)
        say(f"applying the series ({len(subjects)}) to {start[:12]}")
        ours.git(*_IDENTITY, "am", "--abort")
        ours.check_out(start)
        ours.do("clean", "--quiet", "-fdx")
        done = ours.git(
            *_IDENTITY,
            "am",
            "--quiet",
            "--3way",
            "--empty=drop",
            "--committer-date-is-author-date",
            str(path.absolute()),
        )
        if done.status:
            ours.git(*_IDENTITY, "am", "--abort")
            raise UsageError(f"{path}: does not apply to {start[:12]}: {git.words_of(done)}")
        patched = ours.do("rev-parse", "HEAD")
    return Series(clone, start, patched, subjects, path.name)


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise UsageError(f"{path}: is larger than {MAX_BYTES >> 20} MiB; a series is not")
        return path.read_bytes()
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror or error}") from None


def _subjects(path: Path) -> tuple[str, ...]:
    """The patches of a mailbox by their subjects; a cover letter has no diff and is none of them."""
    found = []
    for message in mailbox.mbox(path, create=False):
        body = message.get_payload(decode=True) if not message.is_multipart() else b""
        if isinstance(body, bytes) and re.search(rb"^(diff --git |--- a/)", body, re.MULTILINE):
            subject = " ".join(str(make_header(decode_header(message.get("Subject", "")))).split())
            found.append(_PATCH.sub("", subject))
    return tuple(found)
