"""Branches that a matrix follows: fetched into the store's own clone of a tree; the tree itself is only read."""

from __future__ import annotations

import hashlib
from pathlib import Path

from harness.errors import InfrastructureError, KernelUnavailable, ToolMissing, UsageError, nearest
from harness.kernels.archive import Saying
from harness.kernels.store import Store, telling
from harness.matrix.sources.tree import ORIGIN, TreeSource
from harness.processes import git
from harness.secret_urls import masked_text


def clone_folder(store: Store, tree: Path) -> Path:
    """Where the store's clone of a tree is: it borrows the tree's objects, and holds what was fetched."""
    return store.root / "trees" / hashlib.sha256(str(tree.resolve()).encode()).hexdigest()[:24]


def clone_of(store: Store, tree: Path) -> tuple[git.Repository, git.Repository]:
    """The repository of a tree, and the store's clone of it. Raises what git raises."""
    origin = git.Repository.at(tree)
    objects = Path(origin.do("rev-parse", "--path-format=absolute", "--git-path", "objects"))
    form = origin.do("rev-parse", "--show-object-format")
    clone = clone_folder(store, tree)
    with telling(clone):
        ours = git.Repository.ours(clone) if clone.exists() else git.Repository.create(clone, form)
        ours.borrow(objects)
    return origin, ours


def newest(store: Store, source: TreeSource, say: Saying, *, offline: bool) -> str:
    """Fetch a branch and return its commit; ``offline`` the one that was fetched last.

    Raises ``KernelUnavailable`` where it cannot be had, ``UsageError`` for a tree that does not say where from.
    """
    try:
        with store.lock(f"branches of {clone_folder(store, source.tree)}", say):
            origin, ours = clone_of(store, source.tree)
            url = _url(origin, source)
            ref = f"refs/fetched/{hashlib.sha256(f'{url} {source.branch}'.encode()).hexdigest()[:24]}"
            if not offline:
                say(f"fetching {source.branch_text}")
                words = ("--quiet", "--no-tags", "--no-write-fetch-head", "--force", "--end-of-options")
                done = ours.git("fetch", *words, url, f"refs/heads/{source.branch}:{ref}")
                if done.status:
                    raise KernelUnavailable(f"{source.branch_text}: {masked_text(git.words_of(done))}")
            commit = ours.text("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
    except ToolMissing:
        raise
    except InfrastructureError as problem:
        raise KernelUnavailable(str(problem)) from problem
    if not commit:
        raise KernelUnavailable(f"{source.branch_text}: it was never fetched, and fetching is off")
    return commit


def knows(store: Store, tree: Path, commit: str) -> bool:
    """Whether the store's clone has a commit. Raises ``UsageError``, ``InfrastructureError``."""
    return clone_of(store, tree)[1].git("cat-file", "-e", f"{commit}^{{commit}}").status == 0


def _url(origin: git.Repository, source: TreeSource) -> str:
    """Where the branch is fetched from. Raises ``UsageError``."""
    remotes: dict[str, str] = {}
    for line in origin.text("config", "--get-regexp", r"^remote\..*\.url$").splitlines():
        key, _, value = line.partition(" ")
        remotes.setdefault(key.removeprefix("remote.").removesuffix(".url"), value)
    wanted = source.remote or ORIGIN
    if wanted not in remotes and "/" not in wanted and ":" not in wanted:
        near = nearest(wanted, remotes) if remotes else ""
        remedy = f"; `commit: {source.branch}` is a branch of the tree itself" if not source.remote else ""
        raise UsageError(f"{source.tree}: it has no remote {wanted!r}{near}{remedy}")
    url = remotes.get(wanted, wanted)
    local = "://" not in url and ":" not in url.partition("/")[0]
    return str((source.tree / Path(url).expanduser()).resolve()) if local else url
