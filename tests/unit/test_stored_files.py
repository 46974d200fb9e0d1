"""Files of a run, packed: every reader reads them as before, and a damaged one is no answer."""

from __future__ import annotations

import os
import re
import signal
from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model.stored_files import is_stored, open_stored, pack, packed, read_stored, stored_sha256
from harness.observations.journal import read_journal, read_plan_of
from harness.reports.page import Sightings
from harness.reports.times import times_of
from harness.rules.load import load_catalogue
from harness.runs.packing import pack_run
from harness.runs.run_store import load_run, run_lock
from tests.stored_runs import copy_of, stored

LINES = b"".join(b"line %d of a journal\n" % number for number in range(5000))


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    path = tmp_path / "observations.jsonl"
    path.write_bytes(LINES)
    return path


def test_what_is_packed_is_read_as_before(journal: Path) -> None:
    assert pack(journal)
    assert not journal.exists()
    assert packed(journal).stat().st_size < len(LINES) / 5
    assert (is_stored(journal), read_stored(journal)) == (True, LINES)
    assert stored_sha256(journal) == sha256(LINES).hexdigest()
    with open_stored(journal) as file:
        assert [file.readline(), file.readline()] == LINES.splitlines(keepends=True)[:2]
    assert not pack(journal)


@pytest.mark.parametrize("damage", ["flipped", "junk"])
def test_a_damaged_one_cannot_be_read(journal: Path, damage: str) -> None:
    pack(journal)
    data = bytearray(packed(journal).read_bytes())
    data[len(data) // 2] ^= 1
    packed(journal).write_bytes(bytes(data) if damage == "flipped" else b"no zstd")
    with pytest.raises(OSError, match="it is damaged"):
        read_stored(journal)


def test_one_that_was_cut_off_anywhere_cannot_be_read(journal: Path) -> None:
    """The library's own reader ends such a file as if it were whole."""
    pack(journal)
    whole = packed(journal).read_bytes()
    for length in (*range(12), *range(12, len(whole) - 12, 997), *range(len(whole) - 12, len(whole))):
        packed(journal).write_bytes(whole[:length])
        for read in (read_stored, stored_sha256):
            with pytest.raises(OSError, match="it is cut off; copy it again"):
                read(journal)
    packed(journal).write_bytes(whole)
    assert read_stored(journal) == LINES


def test_more_than_a_run_writes_is_refused(journal: Path) -> None:
    pack(journal)
    with pytest.raises(OSError, match="more than 0 MiB"):
        read_stored(journal, 1000)


def test_killed_while_it_packs_one_of_both_is_whole(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("replace", "unlink"):
        journal.write_bytes(LINES)
        child = os.fork()
        if child == 0:
            monkeypatch.setattr(Path, name, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
            pack(journal)
            os._exit(1)
        assert os.WIFSIGNALED(os.waitpid(child, 0)[1])
        assert read_stored(journal) == LINES


@pytest.mark.parametrize("name", ["matrix", "repeats", "faults"])
def test_a_packed_run_says_the_same(tmp_path: Path, name: str) -> None:
    folder = copy_of(name, tmp_path)
    assert pack_run(folder) > 0
    assert pack_run(folder) == 0
    before, after = stored(name), load_run(folder, load_catalogue())
    assert after.record.cells == before.record.cells
    for cell in before.record.cells:
        assert after.results[cell.id] == before.results[cell.id]
        times = [times_of(Sightings(), done, cell.id) for done in (after, before)]
        assert times[0] == times[1]
        if not is_stored(before.folder / "cells" / cell.id / "observations.jsonl"):
            continue
        assert read_plan_of(folder / "cells" / cell.id / "observations.jsonl") == read_plan_of(
            before.folder / "cells" / cell.id / "observations.jsonl"
        )


def test_a_run_that_goes_on_is_not_packed(tmp_path: Path) -> None:
    folder = copy_of("matrix", tmp_path)
    with run_lock(folder), pytest.raises(UsageError, match="still active"):
        pack_run(folder)


def test_a_journal_that_was_cut_off_is_named_with_what_to_do(tmp_path: Path) -> None:
    folder = copy_of("matrix", tmp_path)
    pack_run(folder)
    name = next(cell.id for cell in stored("matrix").record.cells if cell.clean)
    path = folder / "cells" / name / "observations.jsonl.zst"
    whole = path.read_bytes()
    for length in (len(whole) // 2, len(whole) - 40, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(UsageError) as told:
            read_journal(path.with_suffix(""))
        remedy = "copy it again from where it is whole, or run the cell again"
        assert str(told.value) == f"{path}: cannot be read: it is cut off; {remedy}"
        with pytest.raises(UsageError, match=re.escape(f"{path}: cannot be read: it is cut off")):
            load_run(folder, load_catalogue())
