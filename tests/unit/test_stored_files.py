"""Files of a run, packed: every reader reads them as before, and a damaged one is no answer."""

from __future__ import annotations

import os
import signal
from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.model.stored_files import is_stored, open_stored, pack, packed, read_stored, stored_sha256
from harness.observations.journal import read_plan_of
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


@pytest.mark.parametrize("damage", ["cut", "flipped", "junk"])
def test_a_damaged_one_cannot_be_read(journal: Path, damage: str) -> None:
    pack(journal)
    data = bytearray(packed(journal).read_bytes())
    if damage == "flipped":
        data[len(data) // 2] ^= 1
    packed(journal).write_bytes({"cut": bytes(data[:-9]), "junk": b"no zstd"}.get(damage, bytes(data)))
    try:
        assert read_stored(journal) != LINES
    except OSError as problem:
        assert "damaged" in str(problem)


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


def test_a_damaged_journal_is_no_pass(tmp_path: Path) -> None:
    folder = copy_of("matrix", tmp_path)
    pack_run(folder)
    name = next(cell.id for cell in stored("matrix").record.cells if cell.clean)
    path = folder / "cells" / name / "observations.jsonl.zst"
    path.write_bytes(path.read_bytes()[:-40])
    try:
        cell = next(one for one in load_run(folder, load_catalogue()).record.cells if one.id == name)
        assert not cell.clean
    except UsageError as problem:
        assert "observations.jsonl" in str(problem)
