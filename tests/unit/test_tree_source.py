"""``source: tree`` without a compiler: fragments, commits, and what is refused."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.kernels import tree_source
from harness.kernels.store import Store
from harness.kernels.tree import OWN, BuiltTree
from harness.kernels.tree_source import built_source
from harness.matrix.model import TreeSource
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
