#!/usr/bin/env python3
"""What the whole suite of probes costs in a guest after its boot: many probes in a process, and each in its own.

    bench/suite.py                                  both architectures, two CPUs and so two lanes
    bench/suite.py -a x86_64 --cpus 1 -s default    the probes of a selection, on one CPU
    bench/suite.py --against DIR -n 5               beside another checkout's payload and guests, in turn, with ratios
    bench/suite.py --against DIR --common           the same, of the probes that both have
    bench/suite.py --counted --against DIR -n 1     instructions in place of time: the same on a busy machine
    bench/suite.py --json suite.json

Every measurement has a guest of its own, freshly booted, as a cell has; the ways take turns, and each round another
begins, so that whatever else the machine does falls on all alike. Seconds are on the wall and of QEMU's CPU: of a busy
machine the latter tell more, and instructions are the same on any: those of the halves, and what the guest runs
outside of them, from the first probe's mark in the kernel's log to the end. A nanosecond in which the guest waits
counts as one, so races differ from run to run; -r '!race-*' leaves them out. The share of the calls under test is from
the guest's own clock, as are the medians by family.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import ARCHES, Matrix
from harness.matrix.plan import asked_of
from harness.observations.model import Batch, End, Observation, Plan
from harness.observations.stream import StreamParser
from harness.payload.build import probe_list

OURS = Path(__file__).resolve().parents[1]
ONCE = OURS / "bench" / "suite_once.py"


@dataclass(frozen=True)
class Way:
    """One way of running the suite: a payload and how it is asked."""

    name: str
    root: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Took:
    """One run of the suite. Seconds; ``operations`` is the part of the halves' time that the calls under test took.

    ``guest`` is by the guest's clock, and has what happens between halves as well.
    """

    wall: float
    cpu: float
    probes: int
    lanes: int
    in_batches: int
    halves: float
    operations: float
    guest: float
    families: dict[str, float] = field(default_factory=dict)


def ways(against: Path | None) -> list[Way]:
    """What is compared; the last is what the others are held against."""
    found = [Way("batched", OURS), Way("lone", OURS, ("--lone",))]
    return [*found, Way("against", against)] if against else found


def measure(kernel: str, arch: str, cpus: str, way: Way, options: Sequence[str]) -> Took:
    """Boot a guest with the way's own harness and run its suite in it."""
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        stream = Path(folder) / "stream"
        argv = [sys.executable, str(ONCE), kernel, arch, cpus, str(stream), *way.options, *options]
        environment = {**os.environ, "PYTHONPATH": str(way.root)}
        done = subprocess.run(argv, cwd=way.root, env=environment, stdout=subprocess.PIPE, text=True, check=True)
        seconds = json.loads(done.stdout.splitlines()[-1])
        return took(stream.read_bytes(), seconds["wall"], seconds["cpu"], seconds["guest"])


def took(said: bytes, wall: float, cpu: float, guest: float) -> Took:
    """What a stream says of its own time."""
    records = [record for _, record in StreamParser().feed(said)]
    plan = next(r for r in records if isinstance(r, Plan))
    end = next(r for r in records if isinstance(r, End))
    families = {probe.id: probe.family for probe in probe_list()}
    times: dict[str, list[int]] = {}
    for seen in records:
        if isinstance(seen, Observation) and not seen.again:
            times.setdefault(families.get(seen.probe, "?"), []).append(seen.microseconds)
    shared = sum(r.probes for r in records if isinstance(r, Batch))
    medians = {name: statistics.median(values) / 1000 for name, values in times.items()}
    return Took(wall, cpu, end.probes, plan.lanes, shared, end.half_ns / 1e9, end.operation_ns / 1e9, guest, medians)


def rounds(
    kernel: str, arch: str, cpus: str, compared: Sequence[Way], options: Sequence[str], count: int
) -> Iterator[tuple[str, Took]]:
    """All measurements, each round beginning with another way."""
    for number in range(count):
        first = number % len(compared)
        for way in (*compared[first:], *compared[:first]):
            yield way.name, measure(kernel, arch, cpus, way, options)


def _counted(one: Took) -> str:
    halves, others = (1e9 * seconds / max(1, one.probes) for seconds in (one.halves, one.guest - one.halves))
    return f"instructions a probe: {halves:,.0f} in its halves, {others:,.0f} outside"


def _ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / max(other, 1e-9) for one, other in zip(ones, others, strict=True))


def report(title: str, found: dict[str, list[Took]]) -> None:
    """Print medians, and ratios to the last way for each probe: another checkout may have fewer."""
    names = list(found)
    last = found[names[-1]]
    print(f"\n{title}: {last[0].probes} probes, {last[0].lanes} lanes, medians of {len(last)}")
    against = f"   a probe, of {names[-1]}'s: wall, CPU"
    print(f"{'':<10}{'wall s':>9}{'CPU s':>9}{'ms CPU':>9}{'in batches':>12}{'calls':>8}{against}")
    for name, runs in found.items():
        wall, cpu = (statistics.median(getattr(run, what) for run in runs) for what in ("wall", "cpu"))
        ratios = [
            _ratio(*([getattr(run, what) / max(1, run.probes) for run in some] for some in (runs, last)))
            for what in ("wall", "cpu")
        ]
        halves = sum(run.halves for run in runs)
        share = f"{100 * sum(run.operations for run in runs) / halves:.0f} %" if halves else "-"
        print(
            f"{name:<10}{wall:>9.2f}{cpu:>9.2f}{1000 * cpu / max(1, runs[0].probes):>9.2f}{runs[0].in_batches:>12}"
            f"{share:>8}   {ratios[0]:.2f}, {ratios[1]:.2f}"
        )
    print(f"{'family, median ms':<20}" + "".join(f"{name:>10}" for name in names))
    for family in last[0].families:
        values = [statistics.median(run.families.get(family, 0.0) for run in found[name]) for name in names]
        print(f"{family:<20}" + "".join(f"{value:>10.2f}" for value in values))


def probes_of(checkout: Path) -> frozenset[str]:
    """The probes that a checkout's payload has."""
    program = "from harness.payload.build import probe_list; print(*(probe.id for probe in probe_list()))"
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=checkout, env=environment, stdout=subprocess.PIPE, text=True, check=True
    )
    return frozenset(done.stdout.split())


def all_but(ours: frozenset[str], common: frozenset[str]) -> list[str]:
    """Globs that leave out what is ours alone, few enough for a command: operations, regions, spans, then the rest."""
    left, globs = ours - common, []
    for place, form in enumerate(("{}/*", "*/{}/*", "*/{}")):
        known = {probe.split("/")[place] for probe in common}
        new = sorted({probe.split("/")[place] for probe in left} - known)
        globs += [form.format(name) for name in new]
        left = {probe for probe in left if probe.split("/")[place] in known}
    return [*globs, *sorted(left)]


def globs_of(matrix: Matrix, selection: str | None, asked: Sequence[str]) -> list[str]:
    """The selection's probes, and those asked for, as the payload's options; ``!`` leaves out."""
    chosen = (*(asked_of(matrix, selection).probes if selection else ()), *asked)
    return [w for g in chosen for w in (("--exclude", g[1:]) if g.startswith("!") else ("--run", g))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the suite costs.")
    parser.add_argument("-k", "--kernel", default="debian-6.12")
    parser.add_argument("-a", "--arch", action="append", choices=ARCHES, help="[default: all]")
    parser.add_argument("--cpus", type=int, choices=(1, 2), default=2, help="of the guest, and so lanes")
    parser.add_argument("--counted", action="store_true", help="one CPU, and a clock that counts instructions")
    parser.add_argument("-s", "--selection", help="only the probes of this selection of kernels.yaml")
    parser.add_argument(
        "-r", "--run", action="append", default=[], metavar="GLOB", help="only these probes, or all but !GLOB"
    )
    parser.add_argument("-n", "--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turn")
    parser.add_argument("--common", action="store_true", help="only the probes that the other checkout has, too")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    options = parser.parse_args()
    matrix = load_matrix(default_path())
    compared = ways(options.against)
    asked = list(options.run)
    if options.common:
        if not options.against:
            parser.error("--common needs --against DIR, which says what the other checkout has")
        left_out = all_but(ours := probes_of(OURS), ours & probes_of(options.against))
        asked += [f"!{glob}" for glob in left_out]
    globs = globs_of(matrix, options.selection, asked)
    cpus = "counted" if options.counted else str(options.cpus)
    written: dict[str, dict[str, list[dict[str, object]]]] = {}
    for arch in options.arch or ARCHES:
        found: dict[str, list[Took]] = {way.name: [] for way in compared}
        for name, one in rounds(options.kernel, arch, cpus, compared, globs, options.rounds):
            found[name].append(one)
            counted = f", {_counted(one)}" if options.counted else ""
            print(f"  {arch} {name}: {one.wall:.2f} s, {one.cpu:.2f} s of CPU{counted}", flush=True)
        report(f"{options.kernel} {arch}", found)
        written[arch] = {name: [asdict(one) for one in runs] for name, runs in found.items()}
    if options.json:
        options.json.write_text(json.dumps({"kernel": options.kernel, "runs": written}, indent=1) + "\n")


if __name__ == "__main__":
    main()
