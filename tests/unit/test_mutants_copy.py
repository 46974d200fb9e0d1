from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from harness.errors import BuildError, UsageError
from harness.mutants.copy import open_copy
from harness.mutants.model import Edit

FILE = "mm/mseal.c"
EDIT = Edit(FILE, "", "one", "put", "two")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    tree = tmp_path / "tree"
    (tree / "mm").mkdir(parents=True)
    (tree / "Makefile").write_text("VERSION = 6\nPATCHLEVEL = 12\n")
    (tree / "Kbuild").write_text("")
    (tree / FILE).write_bytes(b"one \xff\n")
    (tree / "linked").symlink_to("mm")
    return tree


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_tree_is_only_read(tree: Path, tmp_path: Path) -> None:
    before = contents(tree)
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        assert contents(copy.folder) == before
        assert (copy.folder / "linked").readlink() == Path("mm")
        with copy.mutated([EDIT]):
            assert (copy.folder / FILE).read_bytes() == b"two \xff\n"
            assert contents(tree) == before
        assert contents(copy.folder) == before
    assert contents(tree) == before


def test_an_original_comes_back_with_a_fresh_time(tree: Path, tmp_path: Path) -> None:
    os.utime(tree / FILE, (1, 1))
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        with copy.mutated([EDIT]):
            pass
        assert (copy.folder / FILE).stat().st_mtime > 1


def test_what_an_interrupted_run_left_is_put_right(tree: Path, tmp_path: Path) -> None:
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        (copy.folder / FILE).unlink()
        (copy.folder / FILE).write_text("half a mutant")
        (copy.folder / "mm" / ".mseal.c.x1").write_text("half a file")
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        assert contents(copy.folder) == contents(tree)


def test_files_come_and_go(tree: Path, tmp_path: Path) -> None:
    with open_copy(tree, tmp_path / "copy", [FILE]):
        pass
    (tree / "mm/new.c").write_text("new")
    (tree / "Kbuild").rename(tree / "Kbuild.old")
    (tree / "Kbuild").write_text("again")
    (tree / "linked").unlink()
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        assert contents(copy.folder) == contents(tree)


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_says_what_belongs_to_a_tree(tree: Path, tmp_path: Path) -> None:
    for argv in (["init", "-q"], ["add", "-A"]):
        subprocess.run(["git", "-C", str(tree), *argv], check=True)
    (tree / ".gitignore").write_text("*.o\n")
    (tree / "mm/mseal.o").write_text("ignored")
    (tree / "mm/uncommitted.c").write_text("taken")
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        names = contents(copy.folder)
    assert "mm/uncommitted.c" in names
    assert not [name for name in names if name.endswith(".o") or name.startswith(".git/")]


def test_a_pattern_in_vain_writes_nothing(tree: Path, tmp_path: Path) -> None:
    with open_copy(tree, tmp_path / "copy", [FILE]) as copy:
        with pytest.raises(BuildError, match="moved on"), copy.mutated([EDIT, Edit(FILE, "", "absent", "put", "")]):
            pytest.fail("never entered")
        with pytest.raises(BuildError, match="no such file"), copy.mutated([Edit("mm/gone.c", "", "x", "put", "")]):
            pytest.fail("never entered")
        assert (copy.folder / FILE).is_symlink()


def test_one_process_at_a_time(tree: Path, tmp_path: Path) -> None:
    with (
        open_copy(tree, tmp_path / "copy", []),
        pytest.raises(UsageError, match="in use by another run"),
        open_copy(tree, tmp_path / "copy", []),
    ):
        pytest.fail("never entered")


def test_no_tree(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a kernel source tree"), open_copy(tmp_path, tmp_path / "copy", []):
        pytest.fail("never entered")
