"""Runs to compare, on kernels of two releases."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from harness.cli.main import main
from harness.model.run_record import KernelRecord
from harness.rules.load import load_catalogue
from harness.runs.execution.run import execute
from harness.verdicts.judge import assign
from tests.fakes import FakeGuest
from tests.support.scripted_runs import CONTROL, END, PLAN, PROBES, SEALED, cell, encode, run_plan, seen

BROKEN = SEALED | {
    "result": 0,
    "errno": 0,
    "after": ["-", "-", "-"],
    "write": "---",
    "mprotect": [12] * 3,
    "munmap": [0] * 3,
}


def bypassed(index: int) -> bytes:
    name = PROBES[index]
    record = {"type": "observation", "probe": name.id, "layout": name.layout, "unit": 4096, "microseconds": 1}
    return encode({"type": "begin", "probe": name.id}) + encode(record | {"control": CONTROL, "sealed": BROKEN})


def kernel_record(name: str) -> KernelRecord:
    named = {"debian-6.12": "6.12", "debian-newest": "7.3"}
    version = named.get(name, f"{name[1]}.{name[2:]}")
    return KernelRecord(
        name=name, release=f"{version}.0", version=version, arch="x86_64", flavour="f", sha256="ab" * 32,
        image_format="", config_sha256="", origin_kind="file", origin="f",
    )  # fmt: skip


def make_run(results: Path, name: str, **cells: bytes) -> Path:
    """A run with one cell for each script: ``k612`` is the kernel 6.12."""
    made = [cell(f"{kernel}.x86_64") for kernel in cells]
    plan = run_plan(results / name, made)
    records = tuple(
        record.model_copy(update={"kernel": kernel_record(kernel)})
        for record, kernel in zip(plan.record.cells, cells, strict=True)
    )
    scripts = dict(zip((c.id for c in made), cells.values(), strict=True))
    vars(plan)["record"] = plan.record.model_copy(update={"cells": records})
    vars(plan)["assignment"] = assign(load_catalogue(), PROBES)
    execute(plan, lambda c, _: FakeGuest(script=(scripts[c.id],)), lambda told: None)
    return results / name


GOOD, BAD = PLAN + seen(0) + seen(1) + END, PLAN + seen(0) + bypassed(1) + END


POLICY = "version: 1\ntitle: T\narchitectures: [x86_64]\nrequire:\n  - {levels: [required], families: [munmap]}\n"


@pytest.fixture(name="results")
def two_nights(tmp_path: Path) -> Path:
    make_run(tmp_path / "results", "20261122-000000-aaaa", k612=GOOD)
    make_run(tmp_path / "results", "20261123-000000-bbbb", k612=GOOD, k73=BAD)
    (tmp_path / "policy.yaml").write_text(POLICY)
    return tmp_path / "results"


@pytest.fixture(name="call")
def command_line(results: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.chdir(results.parent)

    def called(*words: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["sealmatrix", *words])
        with pytest.raises(SystemExit) as ended:
            main()
        out = capsys.readouterr()
        return int(ended.value.code or 0), out.out, out.err

    return called
