"""``source: tree``: a kernel built from a folder of sources, or from one commit of a git repository, into the store."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

from harness.errors import InfrastructureError, ToolMissing, UsageError, nearest
from harness.kernels.archive import Saying
from harness.kernels.branches import clone_folder, clone_of
from harness.kernels.builds import Build, make_build
from harness.kernels.store import Store, telling
from harness.kernels.tree import OWN, build_tree, own_fragments, watched
from harness.matrix.sources.tree import TreeSource
from harness.model.architectures import Arch
from harness.processes import git


def built_source(store: Store, source: TreeSource, arch: Arch, say: Saying) -> Build:
    """Build what ``source`` is now, as far as it changed, and store it under the digest of its bytes.

    The user's tree is only read: objects go to the store's folder, and so does the checkout of a commit. Of a branch,
    ``commit`` says which commit of it was fetched. Raises ``UsageError`` for what is no tree, no commit or no fragment,
    and what ``build_tree`` raises.
    """
    extra = tuple(fragment_file(fragment) for fragment in source.fragments)
    # make uses every core by itself, and a checkout is one commit at a time.
    with store.lock("kernel builds", say):
        tree, where = _checkout(store, source, say) if source.commit else (source.tree, _describe(source.tree))
        fragments = (*own_fragments(arch), *extra)
        say(f"building {where} (minutes at first, seconds after small changes)")
        folder = _folder(store, source, arch, extra)
        # One folder serves every commit: what was configured for the last one says nothing of what this one has.
        with watched(folder, f"building {where}", say):
            built = build_tree(tree, arch, folder, fragments)
        with telling(built.image):
            image, config = built.image.read_bytes(), (folder / ".config").read_bytes()
    return make_build(
        store, image, config, arch,
        kind="tree", where=where, suite="", flavour="own", release=built.release, package_version="",
    )  # fmt: skip


def fragment_file(path: Path) -> Path:
    """A fragment that is a file, or one of our own by its bare name. Raises ``UsageError``."""
    own = OWN / f"{path.name}.config"
    if path.is_file():
        return path
    if not path.suffix and own.is_file():
        return own
    ours = sorted(file.stem for file in OWN.glob("*.config"))
    raise UsageError(f"{path}: no such configuration fragment, and none of ours{nearest(path.name, ours)}")


def _folder(store: Store, source: TreeSource, arch: Arch, extra: Sequence[Path]) -> Path:
    """Where make keeps its objects: one folder for each tree, architecture and list of fragments."""
    words = (str(source.tree.resolve()), bool(source.commit), arch, *(str(f.resolve()) for f in extra))
    return store.root / "builds" / hashlib.sha256("\0".join(map(str, words)).encode()).hexdigest()[:24]


def _checkout(store: Store, source: TreeSource, say: Saying) -> tuple[Path, str]:
    """Check a commit out into the store's clone, and name it. That of a branch was fetched there."""
    try:
        origin, ours = clone_of(store, source.tree)
        place = ours if source.branch else origin
        commit = place.do("rev-parse", "--verify", "--end-of-options", f"{source.commit}^{{commit}}")
    except (InfrastructureError, UsageError) as problem:
        if isinstance(problem, ToolMissing):
            raise
        raise UsageError(f"{source.tree}: no git repository with a commit {source.commit!r} ({problem})") from None
    say(f"checking out {commit[:12]}")
    ours.check_out(commit)
    ours.do("clean", "--quiet", "-fdx")
    branch = f"branch {source.branch}, " if source.branch else ""
    return clone_folder(store, source.tree), f"tree {source.tree.name}, {branch}commit {commit[:12]}"


def _describe(tree: Path) -> str:
    """A tree for reports: its name, and which commit it stands at where it is a repository."""
    if not (tree / ".git").exists():
        return f"tree {tree.name}"
    try:
        place = git.Repository.at(tree)
        commit = place.do("rev-parse", "--short=12", "HEAD")
        changed = place.do("status", "--porcelain", "--untracked-files=no")
    except (InfrastructureError, UsageError):
        return f"tree {tree.name}"
    return f"tree {tree.name}, commit {commit}{' with changes' if changed else ''}"
