#!/usr/bin/env python3
"""One command of sealmatrix here and in another checkout, in turn: seconds, CPU seconds and their ratios.

    bench/turns.py --against DIR -- run --fresh                          the default matrix, every guest booted
    bench/turns.py --against DIR -- run                                  the same with saved guests
    bench/turns.py --against DIR -- mutants run --only mprotect-unchecked    a mutant whose kernel is kept
    bench/turns.py --against DIR -n 5 -- bisect ...                      a bisection

Each go has a results folder of its own. The first go of each side is not counted: it fetches, compiles and saves what
later ones find. Prints each go with its exit status, the medians and their ratio.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from bench.contestants import Sample, timed

OURS = Path(__file__).resolve().parents[1]


def go(checkout: Path, words: Sequence[str]) -> tuple[Sample, int]:
    """Run the command in a checkout, by that checkout's own environment."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        argv = [str(checkout / ".venv/bin/sealmatrix"), *words, "--results", f"{folder}/results"]
        sample, status = timed(argv, Path(folder) / "said", environment, checkout)
        if status == 2:
            sys.exit((Path(folder) / "said").read_text(errors="replace"))
        return sample, status


def medians(samples: Sequence[Sample]) -> tuple[float, float]:
    """(wall, CPU) in seconds."""
    return statistics.median(s.wall for s in samples), statistics.median(s.cpu for s in samples)


def main() -> None:
    parser = argparse.ArgumentParser(description="Time one command in two checkouts, in turn.")
    parser.add_argument("--against", type=Path, required=True, metavar="DIR", help="a checkout that is set up")
    parser.add_argument("-n", "--rounds", type=int, default=3)
    parser.add_argument("words", nargs="+", help='words of the command, after "--"')
    options = parser.parse_args()
    sides = {"ours": OURS, "against": options.against.resolve()}
    found: dict[str, list[Sample]] = {name: [] for name in sides}
    for number in range(options.rounds + 1):
        for name in sorted(sides, reverse=bool(number % 2)):
            sample, status = go(sides[name], options.words)
            if number:
                found[name].append(sample)
            said = "" if number else " (not counted)"
            print(f"  {name}: {sample.wall:.1f} s, {sample.cpu:.1f} s of CPU, status {status}{said}", flush=True)
    ours, others = medians(found["ours"]), medians(found["against"])
    for what, mine, theirs in zip(("wall", "CPU"), ours, others, strict=True):
        print(f"{what:<5} ours {mine:6.1f} s, against {theirs:6.1f} s, ratio {mine / theirs:.2f}")


if __name__ == "__main__":
    main()
