#!/usr/bin/env python3
"""Measure what running a foreign suite costs: a program of one second over twenty warm cells, two at a time.

    bench/suites.py                     debian-6.12 on x86_64, twenty repeats
    bench/suites.py debian-7.2 --cells 6

The first run saves the guest and is not counted. Prints the time from the first cell's start to the last one's end
against half of the sum of what one cell takes alone. Exit status: 0 at most 1.2 times that, 1 more, else a run's.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

PROGRAM = """#include <stdio.h>
#include <unistd.h>
int main(void)
{
	sleep(1);
	puts("1..1\\nok 1 a second");
	return 0;
}
"""
MOST = 1.2


def run(kernel: str, source: Path, results: Path, *, repeat: int, jobs: int) -> tuple[float, list[float]]:
    """Run; returns the wall time of the cells, and the seconds of each. Ends the script where a run fails."""
    words = [kernel, "-a", "x86_64", "--offline", "--suite", str(source), "--results", str(results)]
    command = [sys.executable, "-m", "harness", "run", *words, "--repeat", str(repeat), "-j", str(jobs)]
    first = last = 0.0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            first = first or (time.monotonic() if "  booting" in line else 0.0)
            last = time.monotonic() if "  done: " in line else last
    if child.returncode:
        sys.exit(child.returncode)
    record = json.loads(max(results.glob("*/run.json")).read_text())
    return last - first, [sum(cell["seconds"].values()) for cell in record["cells"]]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kernel", nargs="?", default="debian-6.12")
    parser.add_argument("--cells", type=int, default=20)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
        source = Path(scratch) / "second.c"
        source.write_text(PROGRAM)
        results = Path(scratch) / "results"
        run(asked.kernel, source, results, repeat=1, jobs=1)
        _, (alone, *_) = run(asked.kernel, source, results, repeat=2, jobs=1)
        wall, _ = run(asked.kernel, source, results, repeat=asked.cells, jobs=2)
    half = asked.cells * alone / 2
    told = f"{asked.cells} cells, two at a time: {wall:.2f} s, {wall / half:.2f} of {half:.2f} s"
    print(f"one cell alone {alone:.2f} s; {told}")
    return 0 if wall <= MOST * half else 1


if __name__ == "__main__":
    sys.exit(main())
