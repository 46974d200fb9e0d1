#!/usr/bin/env python3
"""What looking at digests costs a warm smoke run.

    bench/digests.py                 five warm runs of the smoke selection; medians
    bench/digests.py -n 9

A run is a process of its own, in which every digest of a file is timed by the CPU its thread used: on a busy machine
the clock would tell of others. What is read while a guest is being restored, which has a thread of its own, nobody
waits for.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Runs in the child: the command line of a run, with the store's digests timed.
_CHILD = """
import json, resource, sys, threading, time
from harness.kernels import store
plain, seen = store._Digests.of, []
def timed(self, path):
    begun = time.thread_time()
    try:
        return plain(self, path)
    finally:
        seen.append((threading.current_thread().name, path.stat().st_size, time.thread_time() - begun))
store._Digests.of = timed
from harness.cli.main import main
begun = time.monotonic()
try:
    main()
except SystemExit as end:
    status = end.code
used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
cpu = sum(one.ru_utime + one.ru_stime for one in used)
print(json.dumps({"status": status, "wall": time.monotonic() - begun, "cpu": cpu, "seen": seen}), file=sys.stderr)
"""


@dataclass(frozen=True)
class Cost:
    """Of one run: seconds of the clock and of CPU, and of CPU for digests that are waited for, and that are not."""

    wall: float
    cpu: float
    waited: float
    beside: float
    files: int


def measure(results: Path) -> Cost:
    """One run. Raises ``SystemExit`` when it does not end well."""
    words = ["run", "-s", "smoke", "-q", "--results", str(results)]
    done = subprocess.run(
        [sys.executable, "-c", _CHILD, *words], cwd=ROOT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=False,
    )  # fmt: skip
    told = json.loads(done.stderr.splitlines()[-1]) if done.stderr else {"status": "no answer"}
    if told["status"] not in (0, None):
        raise SystemExit(f"a run ended with {told['status']}: {done.stderr[-500:]}")
    beside = sum(seconds for thread, _, seconds in told["seen"] if thread.startswith("checksum"))
    waited = sum(seconds for thread, _, seconds in told["seen"] if not thread.startswith("checksum"))
    return Cost(told["wall"], told["cpu"], waited, beside, len(told["seen"]))


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-n", "--rounds", type=int, default=5, metavar="N", help="warm runs [default: 5]")
    rounds: int = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        measure(Path(folder))  # saves the guest, and builds what is not built
        costs = [measure(Path(folder)) for _ in range(rounds)]
    wall, cpu, waited, beside = (
        statistics.median(getattr(cost, name) for cost in costs) for name in ("wall", "cpu", "waited", "beside")
    )
    print(f"digests that are waited for / CPU of a warm smoke run: {waited / cpu:.2%}   must hold: at most 1 %")
    print(f"{costs[0].files} files; waited for {waited * 1000:.1f} ms, beside the guest {beside * 1000:.1f} ms")
    print(f"the whole run: {wall:.2f} s, {cpu:.2f} s of CPU with its guest")


if __name__ == "__main__":
    main()
