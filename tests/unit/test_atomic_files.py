"""A file is written whole or not at all, whatever happens meanwhile, and nothing else is left in its folder."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.model.atomic_files import write_atomically, write_output, write_text
from harness.model.run_record import read_run, write_run
from harness.model.stored_files import pack, read_stored
from tests.builders import run


def test_it_makes_the_folder_and_replaces_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a" / "kernels.lock"
    write_atomically(path, b"one")
    write_atomically(path, b"two", 0o755)
    assert (path.read_bytes(), stat.S_IMODE(path.stat().st_mode)) == (b"two", 0o755)
    assert list(path.parent.iterdir()) == [path]


def test_what_the_user_hides_by_umask_stays_hidden(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        write_text(tmp_path / "x", "text")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "x").stat().st_mode) == 0o600


@pytest.mark.parametrize("at", ["fsync", "fdopen", "open"])
@pytest.mark.parametrize("problem", [KeyboardInterrupt(), OSError(28, "No space left on device")])
@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "new"),
        lambda path: write_run(path.parent, run(path.parent, []).record),
        pack,
    ],
    ids=["text", "run.json", "packed"],
)
def test_whatever_ends_it_leaves_the_old_file_and_no_other(
    write: Callable[[Path], object], problem: BaseException, at: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.json"
    path.write_text("old")

    def ends(*_: object) -> None:
        raise problem

    with monkeypatch.context() as patched, pytest.raises((KeyboardInterrupt, OSError, StoreError)):
        patched.setattr(os, at, ends)
        write(path)
    assert (list(tmp_path.iterdir()), path.read_text()) == ([path], "old")


def test_what_is_written_is_what_is_read(tmp_path: Path) -> None:
    record = run(tmp_path, []).record
    write_run(tmp_path, record)
    assert read_run(tmp_path) == record
    before = (tmp_path / "run.json").read_bytes()
    assert pack(tmp_path / "run.json")
    assert read_stored(tmp_path / "run.json") == before


def test_a_file_that_a_person_named_stays_what_it_is(tmp_path: Path) -> None:
    """As root a rename would put a file where /dev/null is."""
    (tmp_path / "real.xml").write_text("a longer text that was there")
    (tmp_path / "real.xml").chmod(0o600)
    (tmp_path / "link.xml").symlink_to("real.xml")
    write_output(tmp_path / "link.xml", "new")
    assert (tmp_path / "link.xml").is_symlink()
    assert (tmp_path / "real.xml").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real.xml").stat().st_mode) == 0o600
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_output(tmp_path / "pipe", "through a pipe")
        assert os.read(reader, 100) == b"through a pipe"
    finally:
        os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    write_output(tmp_path / "new" / "file", "made")
    assert (tmp_path / "new" / "file").read_text() == "made"
    with pytest.raises(StoreError, match="new: cannot be written: Is a directory"):
        write_output(tmp_path / "new", "text")
    assert {path.name for path in tmp_path.iterdir()} == {"real.xml", "link.xml", "pipe", "new"}
