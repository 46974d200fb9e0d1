#!/usr/bin/env python3
"""From a kernel of one's own to the answer, the baseline being in store: one command, under 20 s.

    bench/own_kernel.py                    a stock kernel's image as if it were one's own; median of 3
    bench/own_kernel.py ~/linux -n 5       a built tree

The first run is not counted: it fills the store with the baseline.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.plan import plan_cells

ROOT = Path(__file__).resolve().parent.parent
LIMIT_SECONDS = 20.0


def stock_image(folder: Path) -> Path:
    """A stock kernel's own image, from its package in the store, as a file of ours."""
    matrix = load_matrix(shipped_path())
    (kernel,) = provide(matrix, plan_cells(matrix, kernels=["debian-6.12"], arches=["x86_64"])).kernels.values()
    if not isinstance(kernel, Kernel):
        raise SystemExit(str(kernel))
    image = folder / "vmlinux"
    shutil.copyfile(kernel.image, image)
    return image


def once(kernel: Path, results: Path) -> float:
    """Seconds of one run, from command to report."""
    begun = time.monotonic()
    words = [sys.executable, "-m", "harness", "run", str(kernel), "-q", "--results", str(results)]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode not in (0, 1):
        raise SystemExit(f"the run ended with {done.returncode}: {done.stderr.strip()[-500:]}")
    return time.monotonic() - begun


def main() -> int:
    """Measure, print, and exit 1 when the median is over the limit."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", nargs="?", type=Path)
    parser.add_argument("-n", type=int, default=3, help="counted runs [3]")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        kernel = asked.kernel or stock_image(folder)
        first = once(kernel, folder / "results")
        seconds = [once(kernel, folder / "results") for _ in range(asked.n)]
    median = statistics.median(seconds)
    print(f"first run, which fills the store: {first:.1f} s")
    print(f"from the kernel to the answer: {' '.join(f'{s:.1f}' for s in seconds)} s, median {median:.1f} s", end=" ")
    print("ok" if median <= LIMIT_SECONDS else "OVER", f"({LIMIT_SECONDS:.0f} s)")
    return int(median > LIMIT_SECONDS)


if __name__ == "__main__":
    sys.exit(main())
