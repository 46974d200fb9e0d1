"""``source: tree``: a kernel built from a folder of sources, or from one commit of a git repository, into the store."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from harness.errors import KernelUnavailable, ToolMissing, UsageError, nearest
from harness.kernels.archive import Saying
from harness.kernels.builds import Build, make_build
from harness.kernels.store import Store, telling
from harness.kernels.tree import OWN, build_tree, own_fragments
from harness.matrix.model import Arch, TreeSource


def built_source(store: Store, source: TreeSource, arch: Arch, say: Saying) -> Build:
    """Build what ``source`` is now, as far as it changed, and store it under the digest of its bytes.

    The user's tree is only read: objects go to the store's folder, and so does the checkout of a commit. Raises
    ``UsageError`` for what is no tree, no commit or no fragment, and what ``build_tree`` raises.
    """
    extra = tuple(_fragment(fragment) for fragment in source.fragments)
    # make uses every core by itself, and a checkout is one commit at a time.
    with store.lock("kernel builds"):
        tree, where = _checkout(store, source, say) if source.commit else (source.tree, _describe(source.tree))
        fragments = (*own_fragments(arch), *extra)
        say(f"building {where} (minutes at first, seconds after small changes)")
        folder = _folder(store, source, arch, extra)
        # One folder serves every commit: what was configured for the last one says nothing of what this one has.
        built = build_tree(tree, arch, folder, fragments)
        with telling(built.image):
            image, config = built.image.read_bytes(), (folder / ".config").read_bytes()
    return make_build(
        store, image, config, arch,
        kind="tree", where=where, suite="", flavour="own", release=built.release, package_version="",
    )  # fmt: skip


def _fragment(path: Path) -> Path:
    """A file, or one of our own by its bare name."""
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
    """Check a commit out into a clone of the store's own, which shares the repository's objects; name it."""
    try:
        commit = _git(
            source.tree, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{source.commit}^{{commit}}"
        )
    except KernelUnavailable as problem:
        raise UsageError(f"{source.tree}: no git repository with a commit {source.commit!r} ({problem})") from None
    clone = store.root / "checkouts" / hashlib.sha256(str(source.tree.resolve()).encode()).hexdigest()[:24]
    if not clone.is_dir():
        say(f"cloning {source.tree.name}")
        with store.scratch() as folder, telling(clone):
            new = folder / "clone"
            _git(folder, "clone", "--quiet", "--shared", "--no-checkout", str(source.tree.resolve()), str(new))
            clone.parent.mkdir(parents=True, exist_ok=True)
            new.rename(clone)
    say(f"checking out {commit[:12]}")
    _git(clone, "checkout", "--quiet", "--force", "--detach", commit)
    _git(clone, "clean", "--quiet", "-fdx")
    return clone, f"tree {source.tree.name}, commit {commit[:12]}"


def _describe(tree: Path) -> str:
    """A tree for reports: its name, and which commit it stands at where it is a repository."""
    if not (tree / ".git").exists():
        return f"tree {tree.name}"
    try:
        commit = _git(tree, "rev-parse", "--short=12", "HEAD")
        changed = _git(tree, "status", "--porcelain", "--untracked-files=no")
    except (KernelUnavailable, ToolMissing):
        return f"tree {tree.name}"
    return f"tree {tree.name}, commit {commit}{' with changes' if changed else ''}"


def _git(folder: Path, *words: str) -> str:
    """Run git there; without hooks, prompts and the user's aliases. Raises ``KernelUnavailable`` in git's words."""
    if shutil.which("git") is None:
        raise ToolMissing("git", "git")
    argv = ["git", "-C", str(folder), "-c", "core.hooksPath=/dev/null", *words]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if done.returncode:
        lines = done.stderr.decode("utf-8", "replace").splitlines()
        raise KernelUnavailable(f"git {words[0]}: {lines[-1].strip() if lines else 'failed'}")
    return done.stdout.decode("utf-8", "replace").strip()
