"""Runs whose guests follow a script: two probes, the lines a payload writes of them, and what is made of those."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from harness.errors import KernelUnavailable
from harness.matrix.model import Profile
from harness.model.rule import ProbeName, Rule, Selector
from harness.model.run_record import CellRecord, MachineRecord, RunRecord
from harness.runs.execution.run import execute
from harness.runs.model import Cell, ProgressEvent, RunDone, Workload
from harness.runs.plan import RunPlan
from harness.verdicts.judge import assign
from tests.fakes import BOOTED, FakeGuest

PROBES = tuple(ProbeName("munmap", "anon-rw", span, layout) for span, layout in (("exact", "SSS"), ("head", "SSs")))
RULE = Rule("munmap-blocked", "U1", "munmap", "required", "blocked", "s", ("T",), (Selector(("*",)),))
RULES = {RULE.id: RULE}
BEFORE = ["rw-p anon a0 a s", "rw-p anon a1 a s", "rw-p anon a2 a s"]
CONTROL = {
    "stage": "done",
    "result": 0,
    "errno": 0,
    "before": BEFORE,
    "after": ["-", "-", "-"],
    "write": "---",
    "mprotect": [12, 12, 12],
    "munmap": [0, 0, 0],
}
SEALED = {
    "stage": "done",
    "seal": [0],
    "result": -1,
    "errno": 1,
    "before": BEFORE,
    "after": BEFORE,
    "write": "www",
    "mprotect": [1, 1, 1],
    "munmap": [1, 1, 1],
}


def encode(record: object) -> bytes:
    return json.dumps(record).encode() + b"\n"


PLAN = encode(
    {
        "type": "plan",
        "stream": 1,
        "payload": "c",
        "id": "id",
        "machine": "x86_64",
        "release": "6.12.0-fake",
        "page_size": 4096,
        "pid1": False,
        "probes": [p.id for p in PROBES],
    }
)


def begin(index: int) -> bytes:
    return encode({"type": "begin", "probe": PROBES[index].id})


def seen(index: int) -> bytes:
    record = {
        "type": "observation",
        "probe": PROBES[index].id,
        "layout": PROBES[index].layout,
        "unit": 4096,
        "microseconds": 1,
        "control": CONTROL,
        "sealed": SEALED,
    }
    return begin(index) + encode(record)


END = encode({"type": "end", "probes": 2})
WHOLE = (PLAN, seen(0), seen(1), END)
MACHINE = MachineRecord(guest="qemu", smp=1, memory=256, boot=())
BOOTED_RELEASE = BOOTED.release
WORKLOAD = Workload("payload", "id", "0" * 64, b"ELF", (), PROBES)


def run_plan(folder: Path, cells: Sequence[Cell], jobs: int = 2) -> RunPlan:
    record = RunRecord(
        id=folder.name,
        state="running",
        started="2026-11-23T00:00:00+00:00",
        sealmatrix="0",
        command=("sealmatrix", "run"),
        options={},
        host={},
        matrix={},
        payload="c",
        payload_id="id",
        catalogue_sha256="",
        jobs=jobs,
        cells=tuple(
            CellRecord(id=c.id, profile=c.profile.name, arch=c.arch, payload_sha256="0" * 64, machine=MACHINE)
            for c in cells
        ),
    )
    return RunPlan(folder, record, tuple(cells), {"x86_64": WORKLOAD}, assign(RULES, PROBES), jobs)


def cell(name: str, kernel: KernelUnavailable | None = None) -> Cell:
    return Cell(name, "x86_64", Profile("standard"), kernel)


def run(
    folder: Path, guests: dict[str, FakeGuest], **kernels: KernelUnavailable
) -> tuple[RunDone, list[ProgressEvent]]:
    told: list[ProgressEvent] = []
    cells = [cell(name, kernels.get(name)) for name in (*guests, *kernels)]
    done = execute(run_plan(folder, cells), lambda c, _: guests[c.id], told.append)
    return done, told


def statuses(done: RunDone, name: str) -> list[str]:
    (result,) = done.results[name]
    return [v.status for v in result.verdicts]


def guest(tmp_path: Path, *script: object, **facts: object) -> FakeGuest:
    return FakeGuest(script=script, console=tmp_path / f"console-{len(script)}-{bool(facts)}", **facts)  # type: ignore[arg-type]


CRASH = "sealmatrix: begin munmap/anon-rw/exact\n[    1.000000] Kernel panic - not syncing: sysrq triggered crash\n"
