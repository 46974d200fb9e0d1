#!/usr/bin/env python3
"""What a probe costs in an emulated guest, beside two processes that do nothing in the same guest.

    bench/payload.py                               every probe on debian-6.12, x86_64
    bench/payload.py -k debian-newest -a arm64 -r 'munmap/*'

Prints milliseconds of QEMU's CPU time for a probe (a clock on the wall measures whoever else is there), the ratio to
two times fork, exit and wait, and by family the median of the microseconds the payload itself took.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from bench.matrix import emulator
from harness.guests.model import Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import ARCHES
from harness.matrix.plan import plan_cells
from harness.observations.model import Observation
from harness.observations.stream import StreamParser
from harness.payload.build import build
from harness.payload.compiler import compile_static

FORKS = 500


def timed(guest: QemuGuest, argv: Sequence[str]) -> tuple[float, list[Observation]]:
    """Run a program in the guest: QEMU's CPU seconds meanwhile, and the observations it wrote."""
    parser, seen = StreamParser(), list[Observation]()
    before = cpu_seconds(guest)
    for event in guest.run(argv):
        if isinstance(event, Output) and event.stream == "out":
            seen += [record for _, record in parser.feed(event.data) if isinstance(record, Observation)]
    return cpu_seconds(guest) - before, seen


def cpu_seconds(guest: QemuGuest) -> float:
    found = emulator(guest.pid or 0)
    return found.cpu_seconds if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a probe costs.")
    parser.add_argument("-k", "--kernel", default="debian-6.12")
    parser.add_argument("-a", "--arch", choices=ARCHES, default="x86_64")
    parser.add_argument("-r", "--run", action="append", default=[], metavar="GLOB", help="only these probes")
    options = parser.parse_args()
    matrix = load_matrix(default_path())
    (cell,) = plan_cells(matrix, kernels=[options.kernel], arches=[options.arch])
    kernel = provide(matrix, [cell], progress=lambda *_: None).kernels[cell.kernel.name, cell.arch]
    if not isinstance(kernel, Kernel):
        raise kernel
    payload = build(cell.arch)
    forks = compile_static([Path(__file__).with_name("fork.c")], cell.arch, "forks")
    families = {probe.id: probe.family for probe in payload.probes}
    globs = [word for glob in options.run for word in ("--run", glob)]
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        guest = QemuGuest(kernel, cell.profile, Path(folder), Wishes(acceleration="tcg", scale=4))
        with closing(_Stopped(guest)):
            guest.boot()
            bare, _ = timed(guest, [guest.push("forks", forks.read_bytes()), str(FORKS)])
            whole, seen = timed(guest, [guest.push("payload", payload.path.read_bytes()), "--kmsg", *globs])
    report(1000 * bare / FORKS, 1000 * whole / max(1, len(seen)), seen, families)


class _Stopped:
    """A guest that ``closing`` can end."""

    def __init__(self, guest: QemuGuest) -> None:
        self.close = guest.stop


def report(fork: float, probe: float, seen: Sequence[Observation], families: dict[str, str]) -> None:
    """Print the figures; ``fork`` and ``probe`` in milliseconds of CPU time."""
    print(f"{len(seen)} probes, {probe:.2f} ms of CPU each; fork, exit and wait {fork:.2f} ms")
    print(f"a probe costs {probe / (2 * fork):.1f} times its two processes" if fork else "no fork was measured")
    print(f"{'family':<20}{'probes':>8}{'median ms':>11}{'total s':>9}")
    for family in dict.fromkeys(families[one.probe] for one in seen):
        times = [one.microseconds / 1000 for one in seen if families[one.probe] == family]
        print(f"{family:<20}{len(times):>8}{statistics.median(times):>11.2f}{sum(times) / 1000:>9.2f}")


if __name__ == "__main__":
    main()
