#!/usr/bin/env python3
"""Write the reports of a run that is far too large, and ask a long history, and measure what that costs.

    bench/reports.py                        1,000 cells of 3,000 probes; 500 runs; a page of 60 cells
    bench/reports.py --cells 100 --json     a smaller one, as JSON

The data are generated and true to the schemas: journals as the payload writes them, of which a handful differ (as
they do on real kernels) and the others are links to them; verdicts that are objects of their own in every cell, as
the judge makes them. Prints wall time and peak memory with the project's limits beside them, and
the CPU time, which a busy machine does not lengthen so much. The page of a night of 60 cells is opened in Chromium,
where there is one. Exit status: 0 within, 1 over.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench.opening import browser, is_there, seconds_to_open
from harness.history.database import database_url, reading, writing
from harness.history.queries import rule_history
from harness.history.read import Recorded
from harness.history.record import record
from harness.model.rule import Rule, Selector
from harness.model.run_record import CellRecord, KernelRecord, MachineRecord, RunRecord
from harness.model.verdict import RuleResult, Status, Verdict
from harness.reports.write import write_reports
from harness.runs.model import RunDone

FAMILIES = ("arguments", "munmap", "mmap-fixed", "mremap", "mprotect", "madvise", "fork", "others")
DIFFERENT = 8
NIGHT = 60


@dataclass(frozen=True)
class Limit:
    """What must hold."""

    name: str
    most: float
    unit: str


REPORT = Limit("report: page, JUnit, JSON", 20, "s")
MEMORY = Limit("peak memory", 1000, "MB")
OPENED = Limit("a page of 60 cells opens", 1, "s")
HISTORY = Limit("a rule over all runs", 0.3, "s")


@dataclass(frozen=True)
class Size:
    """How much to make."""

    cells: int
    probes: int
    rules: int
    runs: int


def rules(size: Size) -> list[Rule]:
    return [
        Rule(
            id=f"{FAMILIES[i % len(FAMILIES)]}-rule-{i}",
            contract=f"X{i}",
            family=FAMILIES[i % len(FAMILIES)],
            level="open" if i % 10 == 9 else "required",
            outcome="open" if i % 10 == 9 else "blocked",
            statement=f"The sentence of rule {i}, about as long as those of the catalogue are on the average.",
            sources=("[D] Documentation/userspace-api/mseal.rst", "[S] mm/mseal.c"),
            probes=(Selector((f"operation-{i}",)),),
        )
        for i in range(size.rules)
    ]


def probe_name(number: int, size: Size) -> str:
    return f"operation-{number % size.rules}/region-{number // size.rules}/exact"


def observation(probe: str, number: int, variant: int) -> str:
    """One line as the payload writes it. One probe in twenty differs between the variants."""
    base = 0xA0 + (variant if number % 20 == 0 else 0)
    units = [f"rw-p anon {base + i:02x} a -" for i in range(4)]
    # A number of the probe's own keeps observations from being all the same: two in three differ on real kernels.
    extra = {"place": number * 2 // 3}
    half = {"stage": "done", "before": units, "result": 0, "errno": 0, "after": units, "extra": extra,
            "write": "wwww", "mprotect": [0] * 4, "munmap": [0] * 4}  # fmt: skip
    sealed = half | {"seal": [0], "result": -1, "errno": 1, "mprotect": [0, 1, 1, 0], "munmap": [0, 1, 1, 0]}
    facts = {"type": "observation", "probe": probe, "layout": "pSSp", "unit": 4096, "microseconds": 2000 + number,
             "control": half, "sealed": sealed}  # fmt: skip
    return json.dumps(facts, separators=(",", ":"))


def write_journals(folder: Path, size: Size) -> None:
    """The cells' journals; all but the first few are links."""
    for number in range(size.cells):
        path = folder / "cells" / cell_id(number) / "observations.jsonl"
        path.parent.mkdir(parents=True)
        if number < DIFFERENT:
            lines = (observation(probe_name(i, size), i, number) for i in range(size.probes))
            path.write_text("\n".join(lines) + "\n")
        else:
            path.hardlink_to(folder / "cells" / cell_id(number % DIFFERENT) / "observations.jsonl")


def cell_id(number: int) -> str:
    return f"kernel-{number // 2}.{'x86_64' if number % 2 else 'arm64'}"


def results(number: int, of: list[Rule], size: Size) -> tuple[RuleResult, ...]:
    """A cell's results, made as the judge makes them: objects of their own, equal texts shared."""
    found = []
    for place, rule in enumerate(of):
        verdicts = []
        for i in range(place, size.probes, size.rules):
            status: Status = "observed" if rule.level == "open" else "pass"
            reason = ""
            if (number * 7 + i) % 9973 == 0:
                status, reason = "fail", f"succeeded over sealed memory (answered {i})"
            observed = f"control 0, sealed EPERM; unit {i % 4}: contents a{number % DIFFERENT if i % 20 == 0 else 0}"
            kind = "bypass" if status == "fail" else None
            verdicts.append(
                Verdict(rule.id, sys.intern(probe_name(i, size)), status, reason, kind, sys.intern(observed))
            )
        found.append(RuleResult(rule, tuple(verdicts)))
    return tuple(found)


def cell(number: int, found: tuple[RuleResult, ...]) -> CellRecord:
    name, arch = cell_id(number).split(".")
    release = f"{6 + number // 400}.{number // 20 % 20}.{number // 2 % 10}-generated-{arch}"
    machine = MachineRecord(guest="qemu", smp=1, memory=256, boot=(), release=release, page_size=4096,
                            acceleration="tcg", acceleration_reason="generated")  # fmt: skip
    kernel = KernelRecord(name=name, release=release, arch=arch, flavour="cloud", sha256=f"{number:064x}",
                          image_format="Image", config_sha256="0" * 64, origin_kind="file",
                          origin="generated")  # fmt: skip
    return CellRecord(id=cell_id(number), profile="standard", arch=arch, state="finished", kernel=kernel,
                      machine=machine, started="2026-11-23T21:45:01+00:00",
                      seconds={"boot": 2.0, "payload": 9.0 + number % 7},
                      statuses=dict(Counter(r.status for r in found)))  # fmt: skip


def run(folder: Path, size: Size) -> RunDone:
    of = rules(size)
    found = {cell_id(i): results(i, of, size) for i in range(size.cells)}
    cells = tuple(cell(i, found[cell_id(i)]) for i in range(size.cells))
    return RunDone(folder, run_record("20261123-214500-0000", cells), found)


def run_record(name: str, cells: tuple[CellRecord, ...]) -> RunRecord:
    return RunRecord(
        id=name,
        state="finished",
        started="2026-11-23T21:45:00+00:00",
        finished="2026-11-23T21:46:00+00:00",
        sealmatrix="0.1.0",
        command=("sealmatrix", "run"),
        options={},
        host={},
        matrix={},
        payload="c",
        payload_id="0123456789abcdef",
        catalogue_sha256="0" * 64,
        jobs=2,
        cells=cells,
    )


def fill_history(folder: Path, size: Size) -> None:
    """A nightly run of 25 cells, recorded every night."""
    of = rules(size)
    small = Size(25, size.rules, size.rules, size.runs)
    cells = [(cell(i, ()), results(i, of, small)) for i in range(small.cells)]
    told = {r.id: {"family": r.family, "contract": r.contract, "statement": r.statement} for r in of}
    with writing(database_url(folder)) as connection:
        for night in range(size.runs):
            record(connection, _recorded(f"20260101-000000-{night:04x}", night, cells, told))


def _recorded(name: str, night: int, cells: list[tuple[CellRecord, tuple[RuleResult, ...]]], told: Any) -> Recorded:
    rows = tuple(
        {"run_id": name, "cell": c.id, "kernel": c.kernel.name if c.kernel else "", "release": "", "version": "",
         "arch": c.arch, "profile": c.profile, "page_size": 4096, "kernel_sha256": "0", "state": c.state, "reason": "",
         "acceleration": "tcg", "seconds": 9.0, "boot": 2.0}
        for c, _ in cells
    )  # fmt: skip
    facts: Mapping[str, Any] = {
        "id": name, "folder": name, "started": f"2026-01-01T00:00:00+{night:05d}", "finished": "", "state": "finished",
        "sealmatrix": "0.1.0", "payload_id": "0", "catalogue_sha256": "0", "plan_sha256": "0", "exit_code": 0,
        "counts": {"pass": 2500},
    }  # fmt: skip
    answers = {
        c.id: {
            r.rule.id: {"status": r.status, "kind": r.kind or "", "reason": r.worst.reason, "follows": ""} for r in rs
        }
        for c, rs in cells
    }
    return Recorded(facts, told, rows, answers)


@contextmanager
def timed(into: dict[str, float], name: str) -> Iterator[None]:
    begun = time.monotonic()
    yield
    into[name] = time.monotonic() - begun


def measure(size: Size) -> list[tuple[Limit, float]]:
    times: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as name:
        folder = Path(name)
        write_journals(folder / "run", size)
        done = run(folder / "run", size)
        cpu = time.process_time()
        with timed(times, "report"):
            write_reports(done)
        print(f"{'of the report, CPU':<28}{time.process_time() - cpu:8.1f} s", file=sys.stderr)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6
        print_sizes(folder / "run")
        del done
        fill_history(folder, size)
        with reading(database_url(folder)) as connection, timed(times, "history"):
            found = rule_history(connection, rules(size)[1].id)
        assert len(found.points) == size.runs * 25
    return [(REPORT, times["report"]), (MEMORY, peak), (HISTORY, times["history"])]


def opened(size: Size) -> Iterator[tuple[Limit, float]]:
    """How long the page of a night takes to open, in a browser of this machine."""
    if not is_there():
        print("not opened: no browser (apt-get install chromium chromium-driver)", file=sys.stderr)
        return
    night = Size(NIGHT, size.probes, size.rules, 0)
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as name, browser() as chrome:
        folder = Path(name) / "run"
        write_journals(folder, night)
        write_reports(run(folder, night))
        yield OPENED, seconds_to_open(chrome, folder / "report.html")


def print_sizes(folder: Path) -> None:
    for name in ("report.html", "junit.xml", "verdicts.json"):
        print(f"{name:<28}{(folder / name).stat().st_size / 1e6:8.1f} MB", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the reports and the history.")
    for name, number in asdict(Size(1000, 3000, 100, 500)).items():
        parser.add_argument(f"--{name}", type=int, default=number)
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    arguments = parser.parse_args()
    size = Size(arguments.cells, arguments.probes, arguments.rules, arguments.runs)
    measured = [*measure(size), *opened(size)]
    if arguments.json:
        told = [{**asdict(limit), "value": round(value, 3), "ok": value < limit.most} for limit, value in measured]
        print(json.dumps({"limits": told, "load": os.getloadavg()[0]}, indent=1))
    else:
        for limit, value in measured:
            verdict = "ok" if value < limit.most else "OVER"
            print(f"{limit.name:<28}{value:8.2f} {limit.unit:<3} {verdict} (under {limit.most:g} {limit.unit})")
    return int(not all(value < limit.most for limit, value in measured))


if __name__ == "__main__":
    sys.exit(main())
