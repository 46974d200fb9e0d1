#!/usr/bin/env python3
"""What it takes to run kselftest's mseal_test on one kernel: our command beside virtme-ng's, and beside a bare boot.

    bench/peers.py                        debian-6.12-full on x86_64, five rounds
    bench/peers.py -n 3 --out speed       also writes speed/peers.json and speed/peers.svg

"bare" boots QEMU straight into the test, by a PID 1 that runs it and ends the machine: no tool can be quicker, and it
judges and keeps nothing. "vng" is virtme-ng's own command. "cold" and "warm" are the whole of `sealmatrix run KERNEL
--suite kselftest-mseal`, with its verdicts and reports, with and without --fresh. All take turns; medians and ratios
to "bare" are printed, of the clock and of CPU seconds. vimto and vmtest take no part: both share a root by 9p, which
the kernels of distributions have as a module only, and neither loads modules.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.contestants import NotHere, Sample, in_vng, timed
from bench.picture import bars
from harness.guests import devices
from harness.guests.accel import emulator as qemu_of
from harness.guests.initramfs import initramfs
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import CellSpec
from harness.matrix.plan import plan_cells
from harness.payload.compiler import compile_static
from harness.suites.gather import gather
from harness.suites.load import load_suites

SUITE = "kselftest-mseal"
PASSED = "# Totals: pass:"


@dataclass(frozen=True)
class Test:
    """What all run: the program, on a kernel and a machine."""

    kernel: Kernel
    spec: CellSpec
    program: Path


def bare(test: Test, folder: Path) -> Sample:
    """See above."""
    archive, said = folder / "once.cpio", folder / "console"
    init = compile_static([Path(__file__).with_name("once.c")], test.spec.arch, "once").read_bytes()
    archive.write_bytes(initramfs(init, [("test", test.program.read_bytes())]))
    program = qemu_of(test.spec.arch)
    machine = devices.Machine(test.kernel, test.spec.profile, "tcg", program, archive, folder / "serial")
    argv = [
        str(program), *devices.bare(), *devices.board(machine), *devices.memory(test.spec.profile),
        *devices.boot(machine), *devices.console(machine),
    ]  # fmt: skip
    sample, status = timed(argv, said)
    _has_passed((folder / "serial").read_text(errors="replace"), f"QEMU exited with {status}")
    return sample


def vng(test: Test, folder: Path) -> Sample:
    """See above."""
    sample, said = in_vng(test.kernel, test.spec, folder, [str(test.program)])
    _has_passed(said, "in virtme-ng's guest")
    return sample


def sealmatrix(test: Test, folder: Path, *more: str) -> Sample:
    """See above."""
    words = [test.spec.kernel.name, "-a", test.spec.arch, "-p", test.spec.profile.name, "--suite", SUITE, "--offline"]
    argv = [sys.executable, "-m", "harness", "run", *words, "--accel", "tcg", "--results", str(folder / "results")]
    sample, status = timed([*argv, *more], folder / "said")
    if status:
        raise NotHere(f"exit status {status}: {(folder / 'said').read_text()[-200:]}")
    return sample


def cold(test: Test, folder: Path) -> Sample:
    """See above."""
    return sealmatrix(test, folder, "--fresh")


WAYS: Mapping[str, Callable[[Test, Path], Sample]] = {"bare": bare, "cold": cold, "warm": sealmatrix, "vng": vng}


def _has_passed(said: str, where: str) -> None:
    if PASSED not in said or "not ok" in said:
        raise NotHere(f"the test did not pass: {where}: {(said.splitlines() or ['no output'])[-1][:200]}")


def prepare(name: str, arch: str, folder: Path) -> Test:
    """Fetch the kernel and build the test, so that neither is measured."""
    matrix = load_matrix(default_path())
    (spec,) = plan_cells(matrix, kernels=[name], arches=[arch])  # type: ignore[list-item]
    kernel = provide(matrix, [spec], progress=lambda *_: None).kernels[spec.kernel.name, spec.arch]
    if not isinstance(kernel, Kernel):
        raise kernel
    work = gather(load_suites()[SUITE], spec.arch, lambda *_: None, seconds=60, user_space=False)
    program = folder / "mseal_test"
    program.write_bytes(work.files[0].content)
    program.chmod(0o755)
    return Test(kernel, replace(spec, profile=replace(spec.profile, swap=0, hugepages=0)), program)


def measure(test: Test, rounds: int) -> tuple[dict[str, list[Sample]], dict[str, str]]:
    """(samples, why a way has none), after one go each that is not counted: it fills caches and saves guests."""
    samples: dict[str, list[Sample]] = {}
    absent: dict[str, str] = {}
    for go in range(rounds + 1):
        turn = go % len(WAYS)
        for name, way in [*list(WAYS.items())[turn:], *list(WAYS.items())[:turn]]:
            if name in absent:
                continue
            with tempfile.TemporaryDirectory(prefix="sealmatrix-") as folder:
                try:
                    sample = way(test, Path(folder))
                except NotHere as problem:
                    absent[name] = str(problem)
                else:
                    samples.setdefault(name, []).extend([sample] if go else [])
    return samples, absent


def table(samples: Mapping[str, Sequence[Sample]], absent: Mapping[str, str]) -> str:
    """Medians, and ratios to ``bare``."""
    medians = {
        name: tuple(statistics.median(getattr(go, what) for go in goes) for what in ("wall", "cpu"))
        for name, goes in samples.items()
    }
    lines = [f"{'':<8}{'wall s':>8}{'CPU s':>8}   of bare's: wall, CPU"]
    for name, (wall, cpu) in medians.items():
        ratios = f"{wall / medians['bare'][0]:.2f}, {cpu / medians['bare'][1]:.2f}" if "bare" in medians else "-"
        lines.append(f"{name:<8}{wall:>8.2f}{cpu:>8.2f}   {ratios}")
    return "\n".join([*lines, *(f"{name:<8}not measured: {why}" for name, why in absent.items())])


def main() -> int:
    """Measure and print. Exit status: 1 when nothing but us could be measured."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("-k", "--kernel", default="debian-6.12-full")
    options.add_argument("-n", "--rounds", type=int, default=5)
    options.add_argument("--out", type=Path, help="a folder for peers.json and peers.svg")
    chosen = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="sealmatrix-") as scratch:
        test = prepare(chosen.kernel, "x86_64", Path(scratch))
        samples, absent = measure(test, chosen.rounds)
    title = f"kselftest's mseal_test on {test.kernel.release}: medians of {chosen.rounds}"
    print(title, table(samples, absent), sep="\n")
    if chosen.out:
        chosen.out.mkdir(parents=True, exist_ok=True)
        told = {
            "kernel": test.kernel.release,
            "samples": {name: [asdict(go) for go in goes] for name, goes in samples.items()},
            "absent": absent,
        }
        (chosen.out / "peers.json").write_text(json.dumps(told, indent=1) + "\n")
        walls = {name: {"whole": statistics.median(go.wall for go in goes)} for name, goes in samples.items()}
        (chosen.out / "peers.svg").write_text(bars(title, walls))
    return int(not {"bare", "vng"} & set(samples))


if __name__ == "__main__":
    sys.exit(main())
