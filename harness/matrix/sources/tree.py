"""``source: tree``: a kernel to be built from a folder of sources, a commit or a branch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import model_validator

from harness.matrix.sources.base import NamedPath, PathText, Source, SourceEntry, joined, place, places
from harness.matrix.words import matching
from harness.secret_urls import masked

ORIGIN = "origin"
_COMMIT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_./^~-]{0,199}\Z")
_REMOTE = re.compile(r"[A-Za-z0-9_./~][\x21-\x7e]{0,999}\Z")
_BRANCH = re.compile(r"[A-Za-z0-9_](?!.*(\.\.|//|@\{))[A-Za-z0-9_./@+-]{0,199}(?<![./])\Z")

Remote = Annotated[str, matching(_REMOTE, "a remote of the tree, or the URL of a repository")]
BranchName = Annotated[str, matching(_BRANCH, "the name of a branch, such as mm-unstable")]
Revision = Annotated[str, matching(_COMMIT, "a commit, tag or branch")]


@dataclass(frozen=True)
class TreeSource(Source):
    """A kernel to be built from a source tree: our minimal configuration and ``fragments`` after it.

    With ``commit``, ``tree`` is a git repository and that commit of it is meant, else the tree as it lies there. With
    ``branch``, what that branch of ``remote`` (a remote of the tree, or a URL) has when it is fetched.
    """

    tree: Path
    commit: str = ""
    fragments: tuple[Path, ...] = ()
    branch: str = ""
    remote: str = ""

    @property
    def asked(self) -> str:
        branch = self.branch_text if self.branch else ""
        return joined("tree", self.tree.name, self.commit, branch, *(fragment.name for fragment in self.fragments))

    @property
    def branch_text(self) -> str:
        """Its branch for a person: ``branch mm-unstable of origin``."""
        return f"branch {self.branch} of {masked(self.remote or ORIGIN)}"

    @property
    def named_paths(self) -> tuple[NamedPath, ...]:
        return (NamedPath("tree", self.tree, folder=True),)

    @property
    def words(self) -> tuple[str, ...]:
        return (str(self.tree.absolute()), "--build", *filter(None, (self.commit,)))


class TreeEntry(SourceEntry):
    """``source: tree``. Paths are relative to the matrix's own folder."""

    source: Literal["tree"]
    tree: PathText
    commit: Revision | None = None
    branch: BranchName | None = None
    remote: Remote | None = None
    fragments: tuple[PathText, ...] = ()

    @model_validator(mode="after")
    def _one_of_both(self) -> TreeEntry:
        if self.commit and self.branch:
            raise ValueError("commit and branch exclude each other: a branch is fetched, a commit is there")
        if self.remote and not self.branch:
            raise ValueError("remote says where branch is fetched from, and there is no branch")
        return self

    def noun(self, folder: Path) -> TreeSource:
        return TreeSource(
            place(folder, self.tree),
            self.commit or "",
            places(folder, self.fragments),
            self.branch or "",
            self.remote or "",
        )
