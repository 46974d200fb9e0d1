"""Whole runs, from the command to the last report: warm and cold, and how wall time grows with cells and workers."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

SEALMATRIX = [sys.executable, "-m", "harness"]
SHAPES = ((1, 1), (2, 1), (4, 1), (2, 2), (4, 2))  # (cells, workers)
ROUNDS = 3
SMOKE = 1.5  # seconds a whole warm run of one cell may take


@dataclass(frozen=True)
class Growth:
    """One shape of run: its wall time, the seconds its cells took, and the rest (start, reports, history)."""

    start: str
    cells: int
    workers: int
    wall: float
    in_cells: float
    limit: float = field(default=0.0)

    @property
    def kept(self) -> bool:
        return not self.limit or self.wall <= self.limit


def growth(kernel: str, arch: str, probes: Sequence[str]) -> list[Growth]:
    """Run these probes in every shape, warm and cold; medians."""
    chosen = ["-k", kernel, "-a", arch, *(word for probe in probes for word in ("-r", probe))]
    return [one for start in ("warm", "cold") for one in _shapes(chosen, start)]


def _shapes(chosen: Sequence[str], start: str) -> Iterator[Growth]:
    for cells, workers in SHAPES:
        goes = [_run(chosen, start, cells, workers) for _ in range(ROUNDS)]
        wall, inside = (statistics.median(go[what] for go in goes) for what in (0, 1))
        limit = SMOKE if (start, cells, workers) == ("warm", 1, 1) else 0.0
        yield Growth(start, cells, workers, wall, inside, limit)


def _run(chosen: Sequence[str], start: str, cells: int, workers: int) -> tuple[float, float]:
    """(wall, seconds in cells divided by workers)."""
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        argv = [*SEALMATRIX, "run", *chosen, "-q", "--offline", "--accel", "tcg"]
        argv += ["--repeat", str(cells), "-j", str(workers), "--scale", "4", "--results", folder]
        argv += ["--fresh"] if start == "cold" else []
        begun = time.monotonic()
        subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, check=False)
        wall = time.monotonic() - begun
        (path,) = Path(folder).glob("*/run.json")
        ran = json.loads(path.read_text())["cells"]
    lost = [cell["reason"] for cell in ran if cell["state"] != "finished"]
    if lost:
        raise SystemExit(f"bench/growth.py: a cell was lost, nothing is measured: {lost[0]}")
    return wall, sum(sum(cell["seconds"].values()) for cell in ran) / workers


def growth_text(grown: Sequence[Growth]) -> list[str]:
    """Lines for a table."""
    if not grown:
        return []
    lines = ["", f"{'whole run':<10}{'cells':>6}{'workers':>8}{'wall':>8}{'in cells':>10}{'the rest':>10}"]
    for one in grown:
        mark = f"  {'ok' if one.kept else 'OVER'} (at most {one.limit:g})" if one.limit else ""
        rest = one.wall - one.in_cells
        lines.append(
            f"{one.start:<10}{one.cells:>6}{one.workers:>8}{one.wall:>8.2f}{one.in_cells:>10.2f}{rest:>10.2f}{mark}"
        )
    return lines
