"""A patch series or a range of commits as two kernels, and what is said of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness.compare.comparison import Comparison
from harness.compare.diff import compare
from harness.compare.sides import sides_of
from harness.errors import UsageError
from harness.kernels.series import Series, read_series
from harness.kernels.store import Store
from harness.matrix.sources.tree import TreeSource
from harness.reports.mail import WIDTH, SeriesTested, mail_text
from tests.builders import cell, result, rule, run
from tests.kernel_history import git


class Tree:
    """A repository with three commits, and the newest two as a series."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "linux"
        self.path.mkdir()
        git(self.path, "init", "--quiet")
        self.commits = [self.commit(str(number), f"mm: change {number}") for number in range(3)]
        self.store = Store(folder / "cache")
        self.folder = folder

    def commit(self, text: str, subject: str) -> str:
        (self.path / "mprotect.c").write_text("".join(f"line {n} of {text}\n" for n in range(5)))
        git(self.path, "add", ".")
        git(self.path, "commit", "--quiet", "-m", subject)
        return git(self.path, "rev-parse", "HEAD")

    def mailbox(self, *words: str) -> Path:
        text = git(self.path, "format-patch", "--stdout", "--cover-letter", *words, f"{self.commits[0]}..HEAD")
        path = self.folder / "series.mbox"
        path.write_text(f"{text}\n")
        return path

    def read(self, word: str | Path, base: str = "") -> Series:
        return read_series(str(word), self.path, self.store, lambda text: None, base)


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    return Tree(tmp_path)


def state(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_range_is_its_ends(tree: Tree) -> None:
    found = tree.read(f"{tree.commits[0]}..HEAD")
    assert found.sources == (TreeSource(tree.path, tree.commits[0]), TreeSource(tree.path, tree.commits[2]))
    assert found.subjects == ("mm: change 1", "mm: change 2")


def test_a_mailbox_is_applied_to_its_base_beside_the_user_s_tree(tree: Tree) -> None:
    path = tree.mailbox(f"--base={tree.commits[0]}")
    git(tree.path, "checkout", "--quiet", "--detach", tree.commits[1])
    before = state(tree.path)
    found = tree.read(path)
    assert state(tree.path) == before
    assert (found.base, found.subjects) == (tree.commits[0], ("mm: change 1", "mm: change 2"))
    assert found.tree != tree.path
    assert "line 4 of 2" in git(found.tree, "show", f"{found.patched}:mprotect.c")
    assert tree.read(path) == found  # the same again gives the same commit, so that nothing is built anew


def test_a_base_may_be_said(tree: Tree) -> None:
    path = tree.mailbox()
    with pytest.raises(UsageError, match="names no base-commit"):
        tree.read(path)
    assert tree.read(path, base="HEAD~2").base == tree.commits[0]


def _unknown_base(tree: Tree) -> Path:
    path = tree.mailbox(f"--base={tree.commits[0]}")
    path.write_text(path.read_text().replace(f"base-commit: {tree.commits[0]}", f"base-commit: {'1' * 40}"))
    return path


def _wrong_base(tree: Tree) -> Path:
    path = tree.mailbox(f"--base={tree.commits[0]}")
    path.write_text(path.read_text().replace("line 0 of 0", "line 9 of 9"))
    return path


def _no_patch(tree: Tree) -> Path:
    path = tree.folder / "cover.mbox"
    path.write_text(f"From 1 Mon Sep 17 00:00:00 2001\nSubject: hello\n\nbase-commit: {tree.commits[0]}\n")
    return path


@pytest.mark.parametrize(
    ("word", "said"),
    [
        (lambda tree: "absent.mbox", "neither a mailbox nor a range"),
        (lambda tree: "HEAD..", "neither a mailbox nor a range"),
        (lambda tree: "HEAD..HEAD", "nothing to compare"),
        (lambda tree: "nowhere..HEAD", "has no commit 'nowhere'"),
        (_unknown_base, "has no commit '1111.*the base of series.mbox"),
        (_wrong_base, "does not apply to"),
        (_no_patch, "holds no patch"),
    ],
)
def test_what_is_refused_is_one_line(tree: Tree, word: Callable[[Tree], str | Path], said: str) -> None:
    with pytest.raises(UsageError, match=said) as caught:
        tree.read(word(tree))
    assert "\n" not in str(caught.value)


def test_after_a_series_that_does_not_apply_the_next_one_does(tree: Tree) -> None:
    with pytest.raises(UsageError):
        tree.read(_wrong_base(tree))
    assert tree.read(tree.mailbox(f"--base={tree.commits[0]}")).base == tree.commits[0]


def test_no_git_tree(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        read_series("a..b", tmp_path, Store(tmp_path / "cache"), lambda text: None)


TESTED = SeriesTested(
    version="1.2",
    base="1" * 40,
    patched="2" * 40,
    subjects=("mm/mprotect: look at the seal a little later than before, which nobody will ever notice", "b"),
    probes=1200,
    where="x86_64 (QEMU, tcg)",
    command=("sealmatrix", "patch", "series.mbox", "--tree", "linux"),
)


def text(status: str) -> str:
    rules = [rule("mprotect-blocked")]
    kind = "bypass" if status == "fail" else None
    done = run(
        Path("r"),
        [
            (cell("base"), [result(rules[0])]),
            (cell("patched"), [result(rules[0], status, "succeeded over sealed memory" if kind else "", kind)]),  # type: ignore[arg-type]
        ],
    )
    before, after = sides_of(done)
    return mail_text(TESTED, Comparison("sides", (compare(before, after),)))


def test_the_text_says_what_broke_and_how_to_repeat_it() -> None:
    said = text("fail")
    assert "x86_64: 1 rule introduced." in said
    assert "introduced: mprotect-blocked" in said
    assert "  sealmatrix patch series.mbox --tree linux\n" in said
    assert all(len(line) <= WIDTH for line in said.splitlines())


def test_the_text_says_that_nothing_changed() -> None:
    assert "x86_64: nothing changed.\n" in text("pass")
