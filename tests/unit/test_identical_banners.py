"""Two kernels with the same release and the same banner: only their bytes tell them apart, and do so everywhere."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import pytest

from harness.errors import StoreError
from harness.guests.handshake import Hello
from harness.guests.identity import Identity
from harness.guests.meant import demand_image, other_than_image, other_than_recorded
from harness.guests.snapshots import SavedGuests, facts_of
from harness.kernels.model import Kernel
from harness.kernels.store import Store
from harness.matrix.model import Profile
from harness.model.run_record import CellRecord, MachineRecord
from harness.runs.finished_cells import FinishedCells, cell_key
from harness.runs.model import Cell
from harness.runs.planning.compose import taking
from tests.support.machines import KERNEL, MACHINE
from tests.support.scripted_runs import WORKLOAD, run_plan

RELEASE, BUILD = "6.12.1", "#1 SMP PREEMPT_DYNAMIC Mon Nov 23 00:00:00 UTC 2026"
BANNER = f"Linux version {RELEASE} (me@here) (gcc 14, ld 2.44) {BUILD}\n\0".encode()
HELLO = Hello(RELEASE, BUILD, "x86_64", 4096, "console=ttyS0", ())
ASKED = MachineRecord(guest="qemu", smp=1, memory=256, boot=())


def kernel(folder: Path, code: bytes) -> Kernel:
    content = BANNER + code
    digest = sha256(content).hexdigest()
    path = folder / digest
    path.write_bytes(content)
    return replace(KERNEL, release=RELEASE, image=path, sha256=digest, image_sha256=digest)


@pytest.fixture
def twins(tmp_path: Path) -> tuple[Kernel, Kernel]:
    return kernel(tmp_path, b"looks for seals"), kernel(tmp_path, b"looks for no seal")


def test_what_they_say_of_themselves_is_the_same(twins: tuple[Kernel, Kernel]) -> None:
    for one in twins:
        assert (other_than_recorded(one, HELLO), other_than_image(one, HELLO)) == ("", "")


def test_the_bytes_of_one_do_not_boot_as_the_other(twins: tuple[Kernel, Kernel]) -> None:
    one, other = twins
    demand_image(one)
    one.image.write_bytes(other.image.read_bytes())
    with pytest.raises(StoreError, match="has the sha256"):
        demand_image(one)
    with pytest.raises(StoreError, match="has the sha256"):
        demand_image(replace(one, image=other.image))


def test_a_saved_guest_of_one_is_not_restored_for_the_other(twins: tuple[Kernel, Kernel], tmp_path: Path) -> None:
    saved = SavedGuests(Store(tmp_path / "cache"))
    qemu = Identity("9.9.9", "f" * 64)
    (tmp_path / "console").write_text("booted\n")
    facts = []
    for one in twins:
        machine = replace(MACHINE, kernel=one, console=tmp_path / "console")
        facts.append(facts_of(machine, "i" * 64, qemu))
    saved.keep(machine, facts[0], HELLO, 1.0, lambda _fd: None)
    assert saved.find(facts[0]) is not None
    assert saved.find(facts[1]) is None


def of(one: Kernel) -> Cell:
    return Cell("a", "x86_64", Profile("standard"), one)


def key(one: Kernel) -> str:
    record = CellRecord(id="a", profile="standard", arch="x86_64", machine=ASKED)
    return cell_key(of(one), record, replace(WORKLOAD, name="c"))


@pytest.fixture
def tools(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A QEMU and an init that cost nothing."""
    program = tmp_path / "qemu-system-x86_64"
    program.write_text("#!/bin/sh\necho QEMU emulator version 9.9.9\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), ":")
    monkeypatch.setattr("harness.runs.finished_cells.build_init", lambda _arch: program)
    monkeypatch.setenv("SEALMATRIX_CACHE", str(tmp_path / "cache"))


@pytest.mark.usefixtures("tools")
def test_the_answers_of_one_are_not_taken_for_the_other(twins: tuple[Kernel, Kernel], tmp_path: Path) -> None:
    one, other = twins
    assert key(one)
    assert key(one) == key(one)
    assert key(one) != key(other)
    # The published bytes are the same, what boots is not.
    assert key(one) != key(replace(other, sha256=one.sha256))
    kept = FinishedCells()
    record = CellRecord(id="a", profile="standard", arch="x86_64", state="finished", machine=ASKED)
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / "observations.jsonl").write_text("{}\n")
    kept.keep(key(one), "first", record, folder)
    assert kept.find(key(one), record) is not None
    assert kept.find(key(other), record) is None


@pytest.mark.usefixtures("tools")
def test_no_answer_is_taken_for_an_image_that_has_other_bytes_than_its_record_says(
    twins: tuple[Kernel, Kernel], tmp_path: Path
) -> None:
    """Where answers are taken nothing boots, so nobody else would look."""
    one, other = twins
    record = CellRecord(id="a", profile="standard", arch="x86_64", state="finished", machine=ASKED)
    folder = tmp_path / "cells"
    folder.mkdir()
    (folder / "observations.jsonl").write_text("{}\n")
    FinishedCells().keep(key(one), "first", record, folder)
    plan = replace(run_plan(tmp_path / "run", [of(one)]), keys={"a": key(one)})
    assert [taken.record.id for taken in taking(plan, ["a"]).taken] == ["a"]
    other.image.replace(one.image)
    left = taking(plan, ["a"])
    assert left.taken == ()
    assert [cell.id for cell in left.cells] == ["a"]
    assert key(replace(one, image_sha256="")) == ""
