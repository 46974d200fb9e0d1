#!/usr/bin/env python3
"""What the whole suite of probes costs in a guest after its boot: many probes in a process, and each in its own.

    bench/suite.py                                  both architectures, two CPUs and so two lanes
    bench/suite.py -a x86_64 --cpus 1 -s default    the probes of a selection, on one CPU
    bench/suite.py --against DIR -n 5               beside the payload of another checkout, in turn, with ratios
    bench/suite.py --json suite.json

Every measurement has a guest of its own, freshly booted, as a cell has; the ways take turns, and each round another
begins, so that whatever else the machine does falls on all alike. Seconds are on the wall and of QEMU's CPU: of a busy
machine the latter tell more. The share of the calls under test is from the guest's own clock, as are the medians by
family.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from bench.matrix import emulator
from harness.guests.model import Output
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.resolve import provide
from harness.matrix.load import default_path, load_matrix
from harness.matrix.model import ARCHES, Arch, Matrix, Profile
from harness.matrix.plan import plan_cells, selected_probes
from harness.observations.model import Batch, End, Observation, Plan
from harness.observations.stream import StreamParser
from harness.payload.build import probe_list
from harness.payload.compiler import compile_static, sources_digest

OURS = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Way:
    """One way of running the suite: a payload and how it is asked."""

    name: str
    root: Path
    options: tuple[str, ...] = ()


@dataclass(frozen=True)
class Took:
    """One run of the suite. Seconds; ``operations`` is the part of the halves' time that the calls under test took."""

    wall: float
    cpu: float
    probes: int
    lanes: int
    in_batches: int
    halves: float
    operations: float
    families: dict[str, float] = field(default_factory=dict)


def ways(against: Path | None) -> list[Way]:
    """What is compared; the last is what the others are held against."""
    found = [Way("batched", OURS), Way("lone", OURS, ("--lone",))]
    return [*found, Way("against", against)] if against else found


def elf(way: Way, arch: Arch) -> Path:
    """The way's payload, built with our compiler and flags."""
    sources = sorted((way.root / "guest_payload" / "c").glob("*.c"))
    return compile_static(sources, arch, "payload", {"PAYLOAD_ID": f'"{sources_digest(sources)[:16]}"'})


def measure(kernel: Kernel, profile: Profile, way: Way, globs: Sequence[str]) -> Took:
    """Boot a guest and run the suite in it."""
    with tempfile.TemporaryDirectory(prefix="sealmatrix-bench-") as folder:
        guest = QemuGuest(kernel, profile, Path(folder), Wishes(acceleration="tcg", scale=10))
        with closing(_Stopped(guest)):
            guest.boot()
            program = guest.push("payload", elf(way, kernel.arch).read_bytes())
            before, begun, said = _cpu(guest), time.monotonic(), bytearray()
            for event in guest.run([program, "--kmsg", *way.options, *globs]):
                if isinstance(event, Output) and event.stream == "out":
                    said += event.data
            return took(bytes(said), time.monotonic() - begun, _cpu(guest) - before)


def took(said: bytes, wall: float, cpu: float) -> Took:
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
    return Took(wall, cpu, end.probes, plan.lanes, shared, end.half_ns / 1e9, end.operation_ns / 1e9, medians)


class _Stopped:
    """A guest that ``closing`` can end."""

    def __init__(self, guest: QemuGuest) -> None:
        self.close = guest.stop


def _cpu(guest: QemuGuest) -> float:
    found = emulator(guest.pid or 0)
    return found.cpu_seconds if found else 0.0


def rounds(
    kernel: Kernel, profile: Profile, compared: Sequence[Way], globs: Sequence[str], count: int
) -> Iterator[tuple[str, Took]]:
    """All measurements, each round beginning with another way."""
    for number in range(count):
        first = number % len(compared)
        for way in (*compared[first:], *compared[:first]):
            yield way.name, measure(kernel, profile, way, globs)


def _ratio(ones: Sequence[float], others: Sequence[float]) -> float:
    return statistics.median(one / max(other, 1e-9) for one, other in zip(ones, others, strict=True))


def report(title: str, found: dict[str, list[Took]]) -> None:
    """Print medians, and ratios to the last way."""
    names = list(found)
    last = found[names[-1]]
    print(f"\n{title}: {last[0].probes} probes, {last[0].lanes} lanes, medians of {len(last)}")
    print(f"{'':<10}{'wall s':>9}{'CPU s':>9}{'ms CPU':>9}{'in batches':>12}{'calls':>8}   of {names[-1]}: wall, CPU")
    for name, runs in found.items():
        wall, cpu = (statistics.median(getattr(run, what) for run in runs) for what in ("wall", "cpu"))
        ratios = [
            _ratio([getattr(r, what) for r in runs], [getattr(r, what) for r in last]) for what in ("wall", "cpu")
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


def globs_of(matrix: Matrix, selection: str | None) -> list[str]:
    """The selection's probes as the payload's options."""
    chosen = selected_probes(matrix, selection=selection) if selection else ()
    return [w for g in chosen for w in (("--exclude", g[1:]) if g.startswith("!") else ("--run", g))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure what the suite costs.")
    parser.add_argument("-k", "--kernel", default="debian-6.12")
    parser.add_argument("-a", "--arch", action="append", choices=ARCHES, help="[default: all]")
    parser.add_argument("--cpus", type=int, choices=(1, 2), default=2, help="of the guest, and so lanes")
    parser.add_argument("-s", "--selection", help="only the probes of this selection of kernels.yaml")
    parser.add_argument("-r", "--run", action="append", default=[], metavar="GLOB", help="only these probes")
    parser.add_argument("-n", "--rounds", type=int, default=3)
    parser.add_argument("--against", type=Path, metavar="DIR", help="another checkout, measured in turn")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all measurements there")
    options = parser.parse_args()
    matrix = load_matrix(default_path())
    compared = ways(options.against)
    globs = [*globs_of(matrix, options.selection), *(w for g in options.run for w in ("--run", g))]
    written: dict[str, dict[str, list[dict[str, object]]]] = {}
    for arch in options.arch or ARCHES:
        (cell,) = plan_cells(matrix, kernels=[options.kernel], arches=[arch])
        kernel = provide(matrix, [cell], progress=lambda *_: None).kernels[cell.kernel.name, arch]
        if not isinstance(kernel, Kernel):
            raise kernel
        profile = replace(cell.profile, smp=options.cpus, memory=256 * options.cpus)
        found: dict[str, list[Took]] = {way.name: [] for way in compared}
        for name, one in rounds(kernel, profile, compared, globs, options.rounds):
            found[name].append(one)
            print(f"  {arch} {name}: {one.wall:.2f} s, {one.cpu:.2f} s of CPU", flush=True)
        report(f"{options.kernel} {arch}", found)
        written[arch] = {name: [asdict(one) for one in runs] for name, runs in found.items()}
    if options.json:
        options.json.write_text(json.dumps({"kernel": options.kernel, "runs": written}, indent=1) + "\n")


if __name__ == "__main__":
    main()
