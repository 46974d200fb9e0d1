#!/usr/bin/env python3
"""How many programs of six steps a guest runs in a second, and what judging them costs the host.

    bench/explore.py                               random programs on debian-6.12, x86_64
    bench/explore.py -k debian-newest -a arm64 --seconds 30

Prints programs a second of the wall clock, the same for a machine with nothing else to do (two cores' worth of QEMU's
CPU time), microseconds of host CPU a program, and what share of one core that is at the rate of the quiet machine. It
must be at least 1,000 programs a second, and the host below 25 % of one core.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from bench.payload import cpu_seconds
from harness.cli.main import ALLOCATIONS
from harness.explore.exploration import Exploration
from harness.explore.program import Program
from harness.explore.session import Explorer
from harness.explore.source import Drawn, ProgramSource, whole_process_first
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import plan_cells
from harness.model.architectures import ARCHES
from harness.payload.build import build

STEPS, LANES = 6, 2


class SixSteps(ProgramSource):
    """The random part of what a run draws, every program cut or filled to six steps."""

    def _draw(self, size: int, chunk: int) -> Drawn:
        programs: list[Program] = []
        while len(programs) < size:
            program = self.random.program()
            if len(program.steps) >= STEPS:
                programs.append(program.with_steps(program.steps[:STEPS]))
        return Drawn(whole_process_first(programs, chunk), [])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-k", "--kernel", default="debian-6.12")
    options.add_argument("-a", "--arch", choices=ARCHES, default="x86_64")
    options.add_argument("--seconds", type=float, default=20.0)
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    gc.set_threshold(ALLOCATIONS)  # as in `sealmatrix explore`
    matrix = load_matrix(default_path())
    (spec,) = plan_cells(matrix, kernels=[chosen.kernel], arches=[chosen.arch], profiles=["two-cpus"])
    kernel = provide(matrix, [spec]).kernels[spec.kernel.name, spec.arch]
    if not isinstance(kernel, Kernel):
        raise SystemExit(str(kernel))
    with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
        profile = replace(spec.profile, hugepages=0)
        guest = QemuGuest(kernel, profile, Path(scratch), Wishes(load=4.0, fresh=False))
        with closing(_Stopping(guest)):
            guest.boot()
            payload = build(spec.arch).path.read_bytes()
            explorer = Explorer(lambda: guest, payload, lambda _text: None)
            explorer.executor()
            outcome, source = Exploration(chosen.seed), SixSteps(chosen.seed)
            source.batch(4096, 64)  # not timed: windows and steps are drawn from what was drawn before
            emulated, host, wall = cpu_seconds(guest), time.process_time(), time.monotonic()
            explorer.explore(source, chosen.seconds, outcome)
            emulated, host = cpu_seconds(guest) - emulated, time.process_time() - host
            wall = time.monotonic() - wall
    rate = outcome.programs / (emulated / LANES)
    each = host / outcome.programs
    print(f"{kernel.name} {spec.arch}: {outcome.programs} programs of {STEPS} steps in {wall:.1f} s")
    print(f"{outcome.programs / wall:.0f} a second of the wall clock; {rate:.0f} a second with two cores to itself")
    print(f"host: {each * 1e6:.0f} us a program, {100 * each * rate:.0f} % of one core at that rate")
    print(f"{len(outcome.findings)} findings, {len(outcome.unconfirmed)} seen once")


class _Stopping:
    def __init__(self, guest: QemuGuest) -> None:
        self._guest = guest

    def close(self) -> None:
        self._guest.stop()


if __name__ == "__main__":
    main()
