#!/usr/bin/env python3
"""Measure what running cells side by side costs: one cell after another, then twenty on all cores, in one sitting.

    bench/parallel.py                         20 cells of the default selection's kernels
    bench/parallel.py --cells 6 -- -r 'munmap/*'   fewer, narrower; what stands after -- goes to `sealmatrix run`

First each kernel's cell runs alone (`-j 1`), then all cells side by side (`--repeat` makes them twenty). Prints the
wall time of the cells against a perfect division of the single ones among the cores, what reports and history add,
and how the harness's memory grows with finished cells. Exit status: 0 all limits kept, 1 one is not, else a run's.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

SEALMATRIX = [sys.executable, "-m", "harness"]
CELLS = 20


@dataclass(frozen=True)
class Ran:
    """One run. ``cells_wall`` is from its first cell's start to the end of the last, ``after`` what came behind that
    (reports, history); ``single`` the seconds of each cell; ``rss`` the harness's resident MB when so many cells had
    finished."""

    status: int
    wall: float
    cells_wall: float
    after: float
    single: Mapping[str, float]
    rss: Mapping[int, float]


@dataclass(frozen=True)
class Limit:
    """One line of the result."""

    name: str
    value: float
    most: float
    unit: str

    @property
    def ok(self) -> bool:
        return self.value <= self.most


def run(folder: Path, words: Sequence[str]) -> Ran:
    """Run sealmatrix, looking at its memory as cells finish: a line on standard error tells each end."""
    command = [*SEALMATRIX, "run", "--offline", "--fresh", "--results", str(folder), *words]
    begun = time.monotonic()
    ended: list[float] = []
    first: list[float] = []
    rss: dict[int, float] = {}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "  booting" in line and not first:
                first.append(time.monotonic())
            if "  done: " in line:
                ended.append(time.monotonic())
                rss[len(ended)] = resident(child.pid)
        status = child.wait()
    over = time.monotonic()
    records = list(folder.glob("*/run.json"))
    cells = json.loads(records[0].read_text())["cells"] if records else []
    single = {cell["id"]: sum(cell["seconds"].values()) for cell in cells}
    last = ended[-1] if ended else over
    return Ran(status, over - begun, last - (first[0] if first else begun), over - last, single, rss)


def resident(pid: int) -> float:
    """MB of a process's resident memory; 0 when it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1000 for line in lines if line.startswith("VmRSS:")), 0.0)


def growth(rss: Mapping[int, float]) -> float:
    """MB by which memory grew for each cell that finished in the second half, when every kernel has been there (its
    configuration is kept) and what all cells share has been made."""
    seen = sorted((n, mb) for n, mb in rss.items() if mb)
    settled = [(n, mb) for n, mb in seen if n > seen[-1][0] // 2] if seen else []
    if len(settled) < 2:
        return 0.0
    (first, low), (last, high) = settled[0], settled[-1]
    return (high - low) / (last - first)


def limits(alone: Ran, together: Ran, cores: int) -> list[Limit]:
    """What must hold. The single times are those of ``alone``, one for each repeat of ``together``."""
    ideal = sum(alone.single[cell.partition("~")[0]] for cell in together.single) / cores
    return [
        Limit("cells side by side / (sum of single ones / cores)", together.cells_wall / ideal, 1.15, "x"),
        Limit("reports and history / cells", 100 * together.after / together.cells_wall, 3, "%"),
        Limit("harness's memory for each finished cell", growth(together.rss), 1.0, "MB"),
    ]


def as_text(found: Sequence[Limit], alone: Ran, together: Ran) -> str:
    lines = [
        f"{limit.name:<52}{limit.value:8.2f} {limit.unit:<3}{'ok' if limit.ok else 'NOT OK'} (at most {limit.most:g})"
        for limit in found
    ]
    return "\n".join(
        [
            *lines,
            "",
            f"{len(alone.single)} cells one after another {alone.cells_wall:8.1f} s",
            f"{len(together.single)} cells side by side     {together.cells_wall:8.1f} s, reports and history "
            f"{together.after:.1f} s, harness {max(together.rss.values(), default=0.0):.0f} MB",
        ]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure cells side by side.")
    parser.add_argument("--cells", type=int, default=CELLS, help="about so many cells side by side")
    parser.add_argument("--json", action="store_true", help="JSON instead of text")
    parser.add_argument("options", nargs="*", help="options of `sealmatrix run`, after --")
    arguments = parser.parse_args()
    cores = os.cpu_count() or 1
    fetched = subprocess.run([*SEALMATRIX, "kernels", "fetch"], stdout=subprocess.DEVNULL, check=False)
    if fetched.returncode:
        return fetched.returncode
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        alone = run(Path(folder) / "alone", ["-j", "1", *arguments.options])
        repeat = max(1, round(arguments.cells / max(1, len(alone.single))))
        together = run(Path(folder) / "together", ["-j", str(cores), "--repeat", str(repeat), *arguments.options])
    for ran in (alone, together):
        if ran.status:
            return ran.status
    found = limits(alone, together, cores)
    whole: dict[str, Any] = {"limits": [asdict(limit) | {"ok": limit.ok} for limit in found]}
    whole |= {"alone": asdict(alone), "together": asdict(together), "cores": cores}
    print(json.dumps(whole, indent=1) if arguments.json else as_text(found, alone, together))
    return int(not all(limit.ok for limit in found))


if __name__ == "__main__":
    sys.exit(main())
