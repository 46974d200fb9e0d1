#!/usr/bin/env python3
"""How fast is the machine, and how close are we: one kernel bare, cold, warm, on a root and by virtme-ng, in turn.

    bench/floor.py                                  debian-6.12 on x86_64, five rounds
    bench/floor.py -a arm64 -n 7                    another architecture, more rounds
    bench/floor.py -k debian-6.12-full              a kernel that virtme-ng can boot too
    bench/floor.py --also 'swap-out/*/exact'        with a disk to swap to, which smoke's probes do not use
    bench/floor.py --growth --out speed             whole runs too; also writes speed/floor.json and speed/floor.svg

"bare" is the floor: the best arguments we know, no console, no channel, no disk, and a PID 1 that ends the machine at
once. "cold" is a cell of `sealmatrix run --fresh`, "warm" one whose guest was saved, "virtme" one on this machine's
root (`guest: virtme`), and "vng" virtme-ng's own command with the same image, payload and probes. All take turns, so
that what else the machine does falls on all alike; medians and ratios are printed with the project's limits beside
them. Ratios of CPU seconds stand beside those of the clock, because they bear a busy machine better. Exit status: 0
within all limits, 1 over one.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from bench.contestants import CONTESTANTS, Course, NotHere, Sample
from bench.growth import Growth, growth, growth_text
from bench.picture import bars
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.plan import asked_of, plan_cells
from harness.model.architectures import ARCHES, Arch
from harness.payload.build import build
from harness.runs.planning.payload_tasks import chosen, fitted

STAGES = ("ready", "push", "suite", "stop")
OF = ("wall", "cpu")


@dataclass(frozen=True)
class Ratio:
    """What must hold: ``value`` at most (with ``least``: at least) ``limit``, if any; ``cpu`` is the same of CPU."""

    name: str
    value: float
    limit: float | None
    cpu: float = 0.0
    least: bool = False

    @property
    def kept(self) -> bool:
        if self.limit is None:
            return True
        return self.value >= self.limit if self.least else self.value <= self.limit


def main() -> int:
    options = _options()
    course = prepare(options.kernel, options.arch, options.run, options.also)
    samples, absent = measure(course, options.rounds, options.without)
    grown = growth(options.kernel, options.arch, course.probes) if options.growth else []
    held = ratios(samples)
    told = {
        "kernel": course.kernel.release,
        "arch": options.arch,
        "probes": list(course.probes),
        "samples": {name: [asdict(sample) for sample in goes] for name, goes in samples.items()},
        "absent": absent,
        "ratios": [{**asdict(ratio), "kept": ratio.kept} for ratio in held],
        "growth": [asdict(one) for one in grown],
    }
    if options.out:
        options.out.mkdir(parents=True, exist_ok=True)
        (options.out / "floor.json").write_text(json.dumps(told, indent=1) + "\n")
        title = f"{course.kernel.release} ({options.arch}): seconds, medians of {options.rounds}"
        (options.out / "floor.svg").write_text(bars(title, {name: medians(goes) for name, goes in samples.items()}))
    print(json.dumps(told, indent=1) if options.json else text(course, samples, absent, held, grown))
    return int(not all([*(ratio.kept for ratio in held), *(one.kept for one in grown)]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Measure boots against the floor.")
    parser.add_argument("-k", "--kernel", default="debian-6.12")
    parser.add_argument("-a", "--arch", choices=ARCHES, default="x86_64")
    parser.add_argument("-n", "--rounds", type=int, default=5)
    parser.add_argument("-r", "--run", action="append", metavar="GLOB", help="these probes [default: smoke's]")
    parser.add_argument("--also", action="append", default=[], metavar="GLOB", help="these probes beside smoke's")
    parser.add_argument("--without", action="append", default=[], choices=CONTESTANTS, help="leave one out")
    parser.add_argument("--growth", action="store_true", help="also whole runs: by cells and workers, warm and cold")
    parser.add_argument("--out", type=Path, help="a folder for floor.json and floor.svg")
    parser.add_argument("--json", action="store_true", help="JSON instead of the table")
    return parser.parse_args()


def prepare(name: str, arch: Arch, globs: Sequence[str] | None, also: Sequence[str] = ()) -> Course:
    """Fetch the kernel and build the payload, so that neither is measured."""
    matrix = load_matrix(default_path())
    (spec,) = plan_cells(matrix, kernels=[name], arches=[arch])
    kernel = provide(matrix, [spec], progress=lambda *_: None).kernels[spec.kernel.name, arch]
    if not isinstance(kernel, Kernel):
        raise kernel
    payload, probes = build(arch), globs or [*asked_of(matrix, "smoke").probes, *also]
    spec = replace(spec, profile=fitted(spec.profile, chosen(payload.probes, probes)))
    return Course(spec, kernel, payload, probes)


def measure(
    course: Course, rounds: int, without: Sequence[str]
) -> tuple[Mapping[str, Sequence[Sample]], Mapping[str, str]]:
    """(samples, why a contestant has none), after one go each that is not counted: it fills caches and saves guests."""
    samples: dict[str, list[Sample]] = {}
    absent: dict[str, str] = dict.fromkeys(without, "left out")
    for go in range(rounds + 1):
        # Whoever comes first changes with each round: what a guest frees, the next one finds warm.
        turn = go % len(CONTESTANTS)
        for name, contestant in [*list(CONTESTANTS.items())[turn:], *list(CONTESTANTS.items())[:turn]]:
            if name not in absent:
                try:
                    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
                        sample = contestant(course, Path(folder))
                except NotHere as reason:
                    absent[name] = str(reason)
                    continue
                if go:
                    samples.setdefault(name, []).append(sample)
    return samples, absent


def ratios(samples: Mapping[str, Sequence[Sample]]) -> list[Ratio]:
    """The promises that can be held against these samples."""
    found = []
    if {"bare", "cold"} <= set(samples):
        value, cpu = (
            _whole(samples["cold"], of) / (_whole(samples["bare"], of) + _stage(samples["cold"], "suite", of))
            for of in OF
        )
        found.append(Ratio("cold cell / (floor + suite)", value, 1.10, cpu))
    if {"cold", "warm"} <= set(samples):
        value, cpu = (_stage(samples["warm"], "ready", of) / _stage(samples["cold"], "ready", of) for of in OF)
        found.append(Ratio("warm ready / cold ready", value, 0.12, cpu))
    for name, called, limit in (("vng", "virtme-ng / cold", 3.0), ("virtme", "guest with a root / cold", None)):
        if {"cold", name} <= set(samples):
            value, cpu = (_whole(samples[name], of) / _whole(samples["cold"], of) for of in OF)
            found.append(Ratio(called, value, limit, cpu, least=True))
    return found


def _whole(samples: Sequence[Sample], of: str = "wall") -> float:
    return statistics.median(sample.wall if of == "wall" else sample.cpu for sample in samples)


def _stage(samples: Sequence[Sample], stage: str, of: str = "wall") -> float:
    return statistics.median((sample.stages if of == "wall" else sample.cpu_stages)[stage] for sample in samples)


def medians(samples: Sequence[Sample]) -> Mapping[str, float]:
    """Median seconds by stage; the whole is one stage where there are none."""
    stages = [stage for stage in STAGES if stage in samples[0].stages]
    return {stage: _stage(samples, stage) for stage in stages} or {"whole": _whole(samples)}


def text(
    course: Course,
    samples: Mapping[str, Sequence[Sample]],
    absent: Mapping[str, str],
    held: Sequence[Ratio],
    grown: Sequence[Growth],
) -> str:
    lines = [f"{course.kernel.release} ({course.spec.arch}), {len(course.probes)} globs of probes; medians, seconds"]
    lines.append(f"{'':<8}{'wall':>8}{'CPU':>8}{'peak MB':>9}" + "".join(f"{stage:>8}" for stage in STAGES))
    for name, goes in samples.items():
        cpu, peak = (statistics.median(getattr(sample, what) for sample in goes) for what in ("cpu", "peak_mb"))
        stages = "".join(f"{_stage(goes, s):>8.3f}" if s in goes[0].stages else f"{'':>8}" for s in STAGES)
        lines.append(f"{name:<8}{_whole(goes):>8.3f}{cpu:>8.2f}{peak:>9.0f}{stages}")
    lines += [f"{name:<8}not measured: {reason}" for name, reason in absent.items()]
    lines.append("")
    lines += map(_told, held)
    return "\n".join([*lines, *growth_text(grown)])


def _told(ratio: Ratio) -> str:
    word = "at least" if ratio.least else "at most"
    verdict = "ok" if ratio.kept else "UNDER" if ratio.least else "OVER"
    judged = "for comparison" if ratio.limit is None else f"{verdict} ({word} {ratio.limit:g})"
    return f"{ratio.name:<30}{ratio.value:7.2f}  {judged}; of CPU {ratio.cpu:.2f}"


if __name__ == "__main__":
    sys.exit(main())
