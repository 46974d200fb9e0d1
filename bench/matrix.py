#!/usr/bin/env python3
"""Run the default matrix with its kernels already fetched, and measure what that costs.

    bench/matrix.py                       the default selection
    bench/matrix.py --json -- -s nightly  another run, as JSON: what stands after -- goes to `sealmatrix run`

Prints wall time, the harness's CPU against the guests', each QEMU's peak of resident memory, and the median of every
stage, with the limits of the project beside them. Exit status: 0 within all limits, 1 over one, else that of
`sealmatrix run`.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SEALMATRIX = [sys.executable, "-m", "harness"]
SAMPLE_SECONDS = 0.02
_TICK = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Limit:
    """What must hold of the default matrix on two cores without KVM."""

    name: str
    most: float
    unit: str


WALL = Limit("wall time", 90, "s")
SHARE = Limit("harness CPU / guests' CPU", 4, "%")
RESIDENT = Limit("largest QEMU, resident", 300, "MB")


@dataclass(frozen=True)
class Emulator:
    """One QEMU as last seen: CPU seconds, peak resident memory in MB, and the guest's console file as its name."""

    name: str
    cpu_seconds: float
    peak_mb: float


@dataclass(frozen=True)
class Measured:
    """One run. ``harness_cpu`` has everything we started that is no QEMU; seconds throughout."""

    status: int
    wall: float
    harness_cpu: float
    guests_cpu: float
    emulators: tuple[Emulator, ...]

    @property
    def share(self) -> float:
        """Per cent."""
        return 100 * self.harness_cpu / self.guests_cpu if self.guests_cpu else math.inf

    @property
    def peak_mb(self) -> float:
        return max((emulator.peak_mb for emulator in self.emulators), default=0.0)


def measure(argv: Sequence[str]) -> Measured:
    """Run a program, looking at its QEMUs now and then.

    The program's whole CPU time is exact (its rusage, children that were waited for included). A QEMU's is what the
    last look saw: up to one interval of it counts as the harness's, so the share that is printed is never too small.
    """
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    begun = time.monotonic()
    seen: dict[int, Emulator] = {}
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as program:
        while True:
            try:
                status = program.wait(SAMPLE_SECONDS)
                break
            except subprocess.TimeoutExpired:
                seen.update(emulators_of(program.pid))
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    total = (after.ru_utime + after.ru_stime) - (before.ru_utime + before.ru_stime)
    guests = sum(emulator.cpu_seconds for emulator in seen.values())
    return Measured(status, wall, total - guests, guests, tuple(seen.values()))


def emulators_of(parent: int) -> Iterator[tuple[int, Emulator]]:
    """Yield (pid, what /proc says) of the QEMUs among a process's children."""
    for task in Path(f"/proc/{parent}/task").glob("*/children"):
        for pid in map(int, _read(task).split()):
            found = emulator(pid)
            if found:
                yield pid, found


def emulator(pid: int) -> Emulator | None:
    """One process as a guest's QEMU; None when it is none (`--version` boots nothing), or gone."""
    # The name in parentheses may hold blanks; utime and stime are fields 14 and 15 of proc(5).
    name, _, rest = _read(Path(f"/proc/{pid}/stat")).partition(") ")
    fields = rest.split()
    peak = [line.split()[1] for line in _read(Path(f"/proc/{pid}/status")).splitlines() if line.startswith("VmHWM:")]
    words = _read(Path(f"/proc/{pid}/cmdline")).split("\0")
    paths = [Path(word.partition("path=")[2].partition(",")[0]) for word in words]
    cell = next((path.parent.name for path in paths if path.name == "console.log"), "")
    if "(qemu-system" not in name or not peak or not cell:
        return None
    return Emulator(cell, (int(fields[11]) + int(fields[12])) / _TICK, int(peak[0]) * 1024 / 1e6)


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def stage_medians(record: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """Median seconds of each stage of the cells that finished, by architecture."""
    stages: dict[str, dict[str, list[float]]] = {}
    for cell in record["cells"]:
        if cell["state"] == "finished":
            for stage, seconds in cell["seconds"].items():
                stages.setdefault(cell["arch"], {}).setdefault(stage, []).append(seconds)
    return {arch: {name: statistics.median(times) for name, times in found.items()} for arch, found in stages.items()}


def against_limits(measured: Measured) -> list[tuple[Limit, float, bool]]:
    """(limit, value, kept) for each limit."""
    values = ((WALL, measured.wall), (SHARE, measured.share), (RESIDENT, measured.peak_mb))
    return [(limit, value, value < limit.most) for limit, value in values]


def as_json(measured: Measured, medians: Mapping[str, Mapping[str, float]]) -> str:
    limits = [
        {**asdict(limit), "value": round(value, 2) if math.isfinite(value) else None, "ok": ok}
        for limit, value, ok in against_limits(measured)
    ]
    return json.dumps({**asdict(measured), "limits": limits, "stage_medians": medians}, indent=1)


def as_text(measured: Measured, medians: Mapping[str, Mapping[str, float]]) -> str:
    lines = [
        f"{limit.name:<28}{value:8.1f} {limit.unit:<3} {'ok' if ok else 'OVER'} (under {limit.most:g} {limit.unit})"
        for limit, value, ok in against_limits(measured)
    ]
    lines += [
        f"{'harness CPU':<28}{measured.harness_cpu:8.1f} s",
        f"{'guests CPU':<28}{measured.guests_cpu:8.1f} s",
        "",
    ]
    lines += [f"{'QEMU of':<36}{'CPU s':>8}{'peak MB':>9}"]
    lines += [f"{qemu.name:<36}{qemu.cpu_seconds:8.1f}{qemu.peak_mb:9.0f}" for qemu in measured.emulators]
    for arch, stages in sorted(medians.items()):
        lines += [
            "",
            f"median seconds, {arch}: " + ", ".join(f"{name} {seconds:.2f}" for name, seconds in stages.items()),
        ]
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure a run of the default matrix.")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    parser.add_argument("options", nargs="*", help="options of `sealmatrix run`, after --")
    arguments = parser.parse_args()
    chosen = [word for word in arguments.options if word in ("--host", "--offline")]
    if not chosen:
        fetched = subprocess.run([*SEALMATRIX, "kernels", "fetch"], stdout=subprocess.DEVNULL, check=False)
        if fetched.returncode:
            return fetched.returncode
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        measured = measure([*SEALMATRIX, "run", "--quiet", "--results", folder, *arguments.options])
        records = list(Path(folder).glob("*/run.json"))
        medians = stage_medians(json.loads(records[0].read_text())) if records else {}
    print(as_json(measured, medians) if arguments.json else as_text(measured, medians))
    return measured.status or int(not all(ok for _, _, ok in against_limits(measured)))


if __name__ == "__main__":
    sys.exit(main())
