#!/usr/bin/env python3
"""What the Python payload costs: its build out of packages, its size, its start in an emulated guest.

    bench/python.py                               debian-6.12 on arm64
    bench/python.py -k debian-newest -a x86_64

Builds both architectures in an empty cache (which fetches their packages), then boots one guest and prints how long
after the push a scenario's first fact arrived, and what a probe of the crosscheck takes; three times, the best counts.
Exit status 1 when a limit is not kept: 15 MB, 60 s, 2.5 s.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from harness.guests.model import Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.kernels.store import SETTING
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.model.architectures import ARCHES
from harness.payload.python import build_python

MEGABYTES, BUILD_SECONDS, FIRST_SECONDS = 15.0, 60.0, 2.5
TIMES = 3
BUILD = "import sys; from harness.payload import build_python; build_python(sys.argv[1])"
SCENARIO = b'import guest\nguest.observe("first", guest.mseal(guest.pages(1)))\n'


def build_seconds(arch: str, cache: str) -> float:
    """How long a build takes that finds nothing but what is in ``cache``."""
    begun = time.monotonic()
    subprocess.run([sys.executable, "-c", BUILD, arch], env={**os.environ, SETTING: cache}, check=True)
    return time.monotonic() - begun


def first_seconds(guest: QemuGuest, path: str) -> float:
    """How long after its start a scenario's first fact arrives."""
    begun, text = time.monotonic(), b""
    seconds = 0.0
    for event in guest.run([path, "-m", "guest", "scenario/first/whole", "first.py"]):
        if isinstance(event, Output) and event.stream == "out":
            text += event.data
            if not seconds and b'"fact"' in text:
                seconds = time.monotonic() - begun
    if not seconds:
        raise SystemExit(f"the scenario said nothing: {text!r}")
    return seconds


def probe_seconds(guest: QemuGuest, path: str) -> float:
    """What a probe of the crosscheck takes, both halves."""
    begun, seen = time.monotonic(), 0
    for event in guest.run([path, "-m", "crosscheck", "--run", "munmap/anon-*"]):
        if isinstance(event, Output) and event.stream == "out":
            seen += event.data.count(b'"type":"observation"')
    return (time.monotonic() - begun) / seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the Python payload costs.")
    parser.add_argument("-k", "--kernel", default="debian-6.12")
    parser.add_argument("-a", "--arch", choices=ARCHES, default="arm64")
    options = parser.parse_args()
    matrix = load_matrix(default_path())
    (cell,) = plan_cells(matrix, kernels=[options.kernel], arches=[options.arch])
    kernel = provide(matrix, [cell], progress=lambda *_: None).kernels[cell.kernel.name, cell.arch]
    if not isinstance(kernel, Kernel):
        raise kernel
    kept = []
    with ExitStack() as stack:
        cache = stack.enter_context(tempfile.TemporaryDirectory(prefix="sealmatrix-bench-"))
        for arch in ARCHES:
            seconds, size = build_seconds(arch, cache), build_python(arch).path.stat().st_size / 1e6
            print(f"{arch}: built in {seconds:.1f} s (limit {BUILD_SECONDS:g}), {size:.1f} MB (limit {MEGABYTES:g})")
            kept += [seconds < BUILD_SECONDS, size < MEGABYTES]
        guest = QemuGuest(kernel, cell.profile, Path(cache) / "cell", Wishes(acceleration="tcg", scale=4))
        stack.callback(guest.stop)
        guest.boot()
        begun = time.monotonic()
        path = guest.push("python", build_python(cell.arch).path.read_bytes())
        pushed = time.monotonic() - begun
        guest.push("first.py", SCENARIO, 0o644)
        first = min(first_seconds(guest, path) for _ in range(TIMES))
        probe = min(probe_seconds(guest, path) for _ in range(TIMES))
    print(f"{cell.id}: pushed in {pushed:.2f} s, first fact {first:.2f} s later (limit {FIRST_SECONDS:g})")
    print(f"{cell.id}: {1000 * probe:.0f} ms for a probe of the crosscheck")
    kept.append(first < FIRST_SECONDS)
    raise SystemExit(0 if all(kept) else 1)


if __name__ == "__main__":
    main()
