#!/usr/bin/env python3
"""What a probe costs in an emulated guest, beside two processes that do nothing in the same guest.

    bench/payload.py                               every probe on debian-6.12, x86_64
    bench/payload.py -k debian-newest -a arm64 -r 'munmap/*'
    bench/payload.py --cpus 2                      in two lanes; the whole suite has to end in 15 s on two quiet cores

Prints the seconds the payload took, milliseconds of QEMU's CPU time for a probe (a clock on the wall measures whoever
else is there), the ratio to two times fork, exit and wait, what a probe's parts cost there, as the guest's own clock
has it, and by family the median of the microseconds the payload itself took.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

from bench.matrix import emulator
from harness.guests.model import Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.model.architectures import ARCHES
from harness.observations.model import Observation
from harness.observations.stream import StreamParser
from harness.payload.build import build
from harness.payload.compiler import compile_static

FORKS = 500
# How often a probe does what the payload measures of itself, and what that is to be called.
PARTS = (("fork_ns", 2, "fork, exit and wait of its halves"), ("snapshot_ns", 4, "snapshots"))


@dataclass(frozen=True)
class Timed:
    """What a program cost: QEMU's CPU seconds, seconds on the wall, and the observations it wrote."""

    cpu: float
    wall: float
    seen: Sequence[Observation]


def timed(guest: QemuGuest, argv: Sequence[str]) -> Timed:
    """Run a program in the guest."""
    parser, seen = StreamParser(), list[Observation]()
    before, begun = cpu_seconds(guest), time.monotonic()
    for event in guest.run(argv):
        if isinstance(event, Output) and event.stream == "out":
            seen += [record for _, record in parser.feed(event.data) if isinstance(record, Observation)]
    return Timed(cpu_seconds(guest) - before, time.monotonic() - begun, seen)


def cpu_seconds(guest: QemuGuest) -> float:
    found = emulator(guest.pid or 0)
    return found.cpu_seconds if found else 0.0


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what a probe costs.")
    parser.add_argument("-k", "--kernel", default="debian-6.12")
    parser.add_argument("-a", "--arch", choices=ARCHES, default="x86_64")
    parser.add_argument("--cpus", type=int, choices=(1, 2), default=1, help="of the guest, and so lanes")
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
    profile = replace(cell.profile, smp=options.cpus, memory=256 * options.cpus)
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        guest = QemuGuest(kernel, profile, Path(folder), Wishes(acceleration="tcg", scale=4))
        with closing(_Stopped(guest)):
            guest.boot()
            bare = timed(guest, [guest.push("forks", forks.read_bytes()), str(FORKS)])
            program = guest.push("payload", payload.path.read_bytes())
            costs = timed(guest, [program, "--run", "selftest-costs/*"])
            whole = timed(guest, [program, "--kmsg", *globs])
    report(bare.cpu / FORKS, whole, {k: v for one in costs.seen for k, v in one.sealed.extra.items()}, families)


class _Stopped:
    """A guest that ``closing`` can end."""

    def __init__(self, guest: QemuGuest) -> None:
        self.close = guest.stop


def report(fork: float, whole: Timed, costs: Mapping[str, int | str], families: Mapping[str, str]) -> None:
    """Print the figures; ``fork`` in seconds of CPU time, ``costs`` as the guest measured them."""
    count = max(1, len(whole.seen))
    probe, took = whole.cpu / count, sum(one.microseconds for one in whole.seen) / count / 1000
    print(f"{len(whole.seen)} probes in {whole.wall:.1f} s, {1000 * probe:.2f} ms of CPU each")
    print(f"fork, exit and wait of a process that does nothing {1000 * fork:.2f} ms of CPU")
    print(f"a probe costs {probe / (2 * fork):.1f} times two of them" if fork else "no fork was measured")
    print(f"by the guest's clock a probe takes {took:.2f} ms in the mean, of which")
    for name, times, what in PARTS:
        part = times * int(costs.get(name, 0)) / 1e6
        print(f"  {part:8.2f} ms ({100 * part / took if took else 0:3.0f} %) {what} ({times} of them)")
    for name, what in (("syscall_ns", "system call that does nothing"), ("fault_ns", "madvise and the fault after it")):
        print(f"  a {what} takes {int(costs.get(name, 0)) / 1000:.1f} us")
    print(f"{'family':<20}{'probes':>8}{'median ms':>11}{'total s':>9}")
    for family in dict.fromkeys(families[one.probe] for one in whole.seen):
        times_of = [one.microseconds / 1000 for one in whole.seen if families[one.probe] == family]
        print(f"{family:<20}{len(times_of):>8}{statistics.median(times_of):>11.2f}{sum(times_of) / 1000:>9.2f}")


if __name__ == "__main__":
    main()
