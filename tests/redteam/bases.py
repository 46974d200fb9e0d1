"""The runs that are forged: cells of the stored runs, without their reports unless it is these that are forged."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from harness.model.run_record import CellRecord, write_run
from harness.reports.write import write_again
from harness.rules.load import load_catalogue
from harness.runs.cell_states import evidence_of
from harness.runs.run_store import load_run
from tests.stored_runs import copy_of, stored

# Name → the stored run, its cells, and which of them is forged.
BASES: Mapping[str, tuple[str, tuple[str, ...], str]] = {
    "healthy": ("faults", ("healthy.x86_64",), "healthy.x86_64"),
    "bypass": ("faults", ("bypass.x86_64",), "bypass.x86_64"),
    "reported": ("faults", ("bypass.x86_64",), "bypass.x86_64"),
    "two": ("faults", ("healthy.x86_64", "bypass.x86_64"), "bypass.x86_64"),
    "panic": ("faults", ("panic-within.x86_64",), "panic-within.x86_64"),
    "late": ("faults", ("dies-at-end.x86_64",), "dies-at-end.x86_64"),
    "boot": ("faults", ("report-at-boot.x86_64",), "report-at-boot.x86_64"),
    "noted": ("faults", ("healthy.x86_64",), "healthy.x86_64"),
    "noted-bypass": ("faults", ("bypass.x86_64",), "bypass.x86_64"),
    "noted-late": ("faults", ("dies-at-end.x86_64",), "dies-at-end.x86_64"),
    "noted-boot": ("faults", ("report-at-boot.x86_64",), "report-at-boot.x86_64"),
    "crossed": ("matrix", ("debian-6.12.x86_64",), "debian-6.12.x86_64"),
    "wide": ("matrix", ("debian-6.12.x86_64",), "debian-6.12.x86_64"),
    "repeats": ("repeats", ("debian-6.12.x86_64", "debian-6.12.x86_64~2"), "debian-6.12.x86_64~2"),
}


def make_base(name: str, results: Path) -> Path:
    """Lay a base out. What was narrowed and restored counts as whole and booted: a policy would refuse it for that."""
    run, cells, _ = BASES[name]
    folder = copy_of(run, results, cells).rename(results / f"base-{name}")
    (folder / "verdicts.json").unlink()
    if name == "wide":
        (folder / "cells" / cells[0] / "crosscheck.jsonl").unlink()
    told = [as_told(cell, name, folder / "cells" / cell.id) for cell in stored(run).record.cells if cell.id in cells]
    write_run(folder, stored(run).record.model_copy(update={"cells": tuple(told), "options": {}, "id": name}))
    if name == "reported":
        write_again(load_run(folder, load_catalogue()))
    return folder


def as_told(cell: CellRecord, base: str, folder: Path) -> CellRecord:
    """A cell's record as its base has it.

    ``noted`` ones have the digests of their evidence, as runs have them now. Of the crash at boot, 8085df5 had not
    noticed that it is one; ``wide`` is ``crossed`` without the second payload, which would notice most of what is
    forged of the first.
    """
    machine = cell.machine and cell.machine.model_copy(update={"start": "cold"})
    changes = {
        "boot": {"state": "finished", "reason": ""},
        "noted-boot": {"state": "finished", "reason": ""},
        "wide": {"second_sha256": ""},
    }
    if base.startswith("noted"):
        cell = cell.model_copy(update={"evidence": evidence_of(folder, cell)})
    return cell.model_copy(update={"machine": machine, **changes.get(base, {})})
