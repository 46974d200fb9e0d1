"""``source: tree`` without a compiler: fragments, commits, and what is refused."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import InfrastructureError, KernelUnavailable, UsageError
from harness.kernels import tree_source
from harness.kernels.branches import newest
from harness.kernels.lock import Lock
from harness.kernels.model import Kernel
from harness.kernels.resolve import resolve
from harness.kernels.store import Store
from harness.kernels.tree import OWN, BuiltTree
from harness.kernels.tree_source import built_source
from harness.matrix.model import KernelSpec
from harness.matrix.sources.tree import TreeSource
from tests.unit.kernel_fakes import CONFIG, arm64_image


def git(tree: Path, *words: str) -> str:
    argv = ["git", "-C", str(tree), "-c", "user.name=x", "-c", "user.email=x", *words]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A repository with two commits of something that looks like a kernel."""
    folder = tmp_path / "linux"
    folder.mkdir()
    git(folder, "init", "-q")
    for sublevel in ("1", "2"):
        (folder / "Makefile").write_text(f"VERSION = 6\nPATCHLEVEL = {sublevel}\n")
        (folder / "Kbuild").write_text("")
        git(folder, "add", ".")
        git(folder, "commit", "-qm", sublevel)
        git(folder, "tag", f"v6.{sublevel}")
    return folder


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, tuple[Path, ...]]]:
    """Instead of make: what tree was given, and an image that says its version."""
    seen: list[tuple[str, tuple[Path, ...]]] = []

    def build(tree: Path, arch: str, out: Path, fragments: tuple[Path, ...]) -> BuiltTree:
        version = (tree / "Makefile").read_text().split()[-1]
        seen.append((version, fragments))
        out.mkdir(parents=True, exist_ok=True)
        (out / "Image").write_bytes(arm64_image(f"6.{version}.0-own"))
        (out / ".config").write_bytes(CONFIG)
        return BuiltTree(out / "Image", "Image", "", "arm64", f"6.{version}.0-own", {}, "", out / "log", (), 0.0)

    monkeypatch.setattr(tree_source, "build_tree", build)
    return seen


def say(_text: str) -> None:
    pass


def test_a_commit_is_built_and_the_repository_stays_as_it_is(tree: Path, built: list, tmp_path: Path) -> None:
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 3\n")
    before = git(tree, "status", "--porcelain"), git(tree, "branch", "-a"), git(tree, "worktree", "list")
    store = Store(tmp_path / "store")
    one = built_source(store, TreeSource(tree, "v6.1"), "arm64", say)
    two = built_source(store, TreeSource(tree, "v6.2"), "arm64", say)
    lying = built_source(store, TreeSource(tree), "arm64", say)
    assert [version for version, _ in built] == ["1", "2", "3"]
    assert [build.version for build in (one, two, lying)] == ["6.1.0", "6.2.0", "6.3.0"]
    assert one.where == f"tree linux, commit {git(tree, 'rev-parse', '--short=12', 'v6.1')}"
    assert lying.where.endswith(" with changes")
    assert len({build.image for build in (one, two, lying)}) == 3
    assert before == (git(tree, "status", "--porcelain"), git(tree, "branch", "-a"), git(tree, "worktree", "list"))


def test_fragments_are_files_or_ours(tree: Path, built: list, tmp_path: Path) -> None:
    extra = tmp_path / "extra.config"
    extra.write_text("CONFIG_X=y\n")
    built_source(Store(tmp_path / "store"), TreeSource(tree, fragments=(extra, tmp_path / "virtme")), "arm64", say)
    assert built[0][1][-2:] == (extra, OWN / "virtme.config")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"fragments": (Path("/nowhere/virtm"),)}, r"no such configuration fragment.*did you mean 'virtme'"),
        ({"commit": "v9.9"}, r"no git repository with a commit 'v9.9'"),
    ],
)
def test_what_cannot_be_meant(tree: Path, built: list, tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        built_source(Store(tmp_path / "store"), TreeSource(tree, **changes), "arm64", say)
    assert built == []


# --- branches -----------------------------------------------------------------------------------------------------


class Following:
    """A clone of ``tree`` that follows its branch ``next``, with a lock file of its own."""

    def __init__(self, folder: Path, upstream: Path, remote: str = "") -> None:
        git(upstream, "checkout", "-q", "-b", "next")
        self.upstream, self.mine, self.store = upstream, folder / "mine", Store(folder / "store")
        git(upstream, "clone", "-q", "--no-local", str(upstream), str(self.mine))
        git(self.mine, "remote", "set-url", "origin", "../linux")
        self.source = TreeSource(self.mine, branch="next", remote=remote)
        self.spec = KernelSpec("next", self.source, ("arm64",), ())
        self.lock = Lock(folder / "kernels.lock")

    def commit(self, sublevel: str) -> str:
        (self.upstream / "Makefile").write_text(f"VERSION = 6\nPATCHLEVEL = {sublevel}\n")
        git(self.upstream, "commit", "-qam", sublevel)
        return git(self.upstream, "rev-parse", "HEAD")

    def resolve(self, *, keep: bool = True, **how: bool) -> tuple[Kernel | InfrastructureError, tuple[str, ...]]:
        found = resolve([(self.spec, "arm64")], store=self.store, lock=self.lock, **how)
        if found.found and keep:
            self.lock = replace(self.lock, entries={("next", "arm64"): found.found[0]})
        return found.kernels["next", "arm64"], found.remarks

    @property
    def state(self) -> tuple[str, ...]:
        """All of the user's clone that could be touched."""
        asked = (("for-each-ref",), ("status", "--porcelain"), ("rev-parse", "HEAD"), ("worktree", "list"), ("reflog",))
        files = sorted(str(p.relative_to(self.mine)) for p in self.mine.rglob("*"))
        return (*(git(self.mine, *words) for words in asked), *files)


def released(found: Kernel | InfrastructureError) -> str:
    assert isinstance(found, Kernel), found
    return found.release


def test_a_branch_is_fetched_when_asked_and_locked_between(tree: Path, built: list, tmp_path: Path) -> None:
    following = Following(tmp_path, tree)
    before = following.state
    first, _ = following.resolve()
    assert released(first) == "6.2.0-own"
    assert isinstance(first, Kernel)
    assert first.origin.where == f"tree mine, branch next, commit {git(tree, 'rev-parse', '--short=12', 'HEAD')}"
    commit = following.commit("7")
    assert released(following.resolve()[0]) == "6.2.0-own"  # a run uses what is locked
    assert len(built) == 1  # and builds nothing for it
    assert released(following.resolve(update=True)[0]) == "6.7.0-own"
    assert following.lock.entries["next", "arm64"].commit == commit
    assert released(following.resolve(update=True)[0]) == "6.7.0-own"
    assert len(built) == 2  # what is locked and stored is not built again
    assert released(following.resolve(offline=True)[0]) == "6.7.0-own"
    assert following.state == before


def test_a_remote_that_is_away_leaves_what_is_locked(tree: Path, built: list, tmp_path: Path) -> None:
    following = Following(tmp_path, tree)
    following.resolve()
    tree.rename(tmp_path / "away")
    found, remarks = following.resolve(update=True)
    assert released(found) == "6.2.0-own"
    assert remarks[0].startswith("next (arm64): branch next of origin: ")
    assert "; the locked commit is used: " in remarks[0]
    following.lock = Lock(following.lock.path)
    never, _ = following.resolve()
    assert isinstance(never, KernelUnavailable)
    assert released(following.resolve(offline=True)[0]) == "6.2.0-own"  # what was fetched last


def test_a_locked_commit_is_fetched_again_where_the_store_was_lost(tree: Path, built: list, tmp_path: Path) -> None:
    following = Following(tmp_path, tree)
    following.resolve()
    following.commit("7")
    following.resolve(update=True)
    following.store = Store(tmp_path / "another")
    off, _ = following.resolve(offline=True)
    assert isinstance(off, KernelUnavailable)
    assert "and fetching is off" in str(off) or "; fetching is off" in str(off)
    assert released(following.resolve()[0]) == "6.7.0-own"
    git(tree, "reset", "-q", "--hard", "HEAD^")
    following.commit("8")
    following.store = Store(tmp_path / "third")
    gone, _ = following.resolve()
    assert isinstance(gone, KernelUnavailable)
    assert "to take the newest one: sealmatrix kernels lock --update" in str(gone)
    assert released(following.resolve(update=True)[0]) == "6.8.0-own"


def test_where_a_branch_comes_from(tree: Path, built: list, tmp_path: Path) -> None:
    following = Following(tmp_path, tree)
    url = TreeSource(following.mine, branch="next", remote=f"file://{tree}")
    assert len(newest(following.store, url, say, offline=False)) == 40
    with pytest.raises(UsageError, match=r"it has no remote 'orign'.*'origin'"):
        newest(following.store, TreeSource(following.mine, branch="next", remote="orign"), say, offline=False)
    with pytest.raises(KernelUnavailable, match=r"branch nxt of origin: .*nxt"):
        newest(following.store, TreeSource(following.mine, branch="nxt"), say, offline=False)
    with pytest.raises(UsageError, match="`commit: next` is a branch of the tree itself"):
        newest(following.store, TreeSource(tree, branch="next"), say, offline=False)
    secret = TreeSource(following.mine, branch="next", remote="https://me:s3cret@127.0.0.1:1/x.git")
    with pytest.raises(KernelUnavailable) as told:
        newest(following.store, secret, say, offline=False)
    assert "s3cret" not in str(told.value)
