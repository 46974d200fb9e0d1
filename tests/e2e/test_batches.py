"""Many probes in one process and each in its own see the same, field by field, on real kernels.

On four kernels; with SEALMATRIX_ALL_KERNELS=1 on all those of ``nightly``.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from harness.guests.model import Output
from harness.guests.qemu import QemuGuest
from harness.matrix.load import load_matrix
from harness.matrix.model import Profile
from harness.model.architectures import Arch
from harness.observations.collector import Collector
from harness.observations.journal import read_journal
from harness.observations.model import Half, Observation
from harness.observations.stream import StreamParser
from harness.payload.build import build
from tests.support.payload_here import WEATHER, facts
from tests.support.real_kernels import MakeGuest

pytestmark = pytest.mark.kernels

ROOT = Path(__file__).parents[2]
MATRIX = load_matrix(ROOT / "kernels.yaml")
FEW: tuple[tuple[str, Arch], ...] = (
    ("debian-6.12", "x86_64"),
    ("debian-newest", "arm64"),
    ("debian-6.12-16k", "arm64"),
    ("debian-newest", "x86_64"),
)
NIGHTLY = MATRIX.selections["nightly"].kernels
KERNELS = (
    [(name, arch) for name in NIGHTLY for arch in MATRIX.kernels[name].arches]
    if os.environ.get("SEALMATRIX_ALL_KERNELS")
    else FEW
)
# Two CPUs and so two lanes, swap, huge pages: whatever a probe may use.
PROFILE = Profile("wide", smp=2, memory=512, swap=64, hugepages=8)


def observed(guest: QemuGuest, program: str, *options: str) -> Collector:
    collector, parser = Collector(), StreamParser()
    for event in guest.run([program, "--kmsg", *options]):
        if isinstance(event, Output) and event.stream == "out":
            for _, record in parser.feed(event.data):
                collector.add(record)
    assert (collector.ended, collector.garbage, collector.doubts) == (True, [], {})
    return collector


def in_memory_or_swapped(seen: Observation) -> Observation:
    """What is anonymous stays so; when memory is short, the kernel swaps it out (pagemap: a, s)."""

    def half(one: Half) -> Half:
        before, after = (tuple(map(_as_present, units)) for units in (one.before, one.after))
        return replace(one, before=before, after=after)

    return replace(facts(seen), control=half(seen.control), sealed=half(seen.sealed))


def _as_present(unit: str) -> str:
    words = unit.split()
    return " ".join(["a" if place == 3 and word == "s" else word for place, word in enumerate(words)])


@pytest.mark.parametrize(("name", "arch"), KERNELS)
def test_both_ways_give_the_same_facts(guest: MakeGuest, name: str, arch: Arch) -> None:
    one = guest(name, arch, profile=PROFILE)
    one.boot()
    program = one.push("payload", build(arch).path.read_bytes())
    among, alone = observed(one, program), observed(one, program, "--lone")
    assert among.observations.keys() == alone.observations.keys()
    if among.plan is None or among.plan.features["mseal"]:
        return  # without the system call nothing runs, in one process or in many
    assert len(among.batched) > 0.9 * len(among.observations)
    assert not alone.batched
    for probe, seen in alone.observations.items():
        if not probe.startswith(WEATHER):
            told: list[Observation] = [among.observations[probe]]
            told += [among.among_others[probe]] if probe in among.among_others else []
            for other in told:
                assert in_memory_or_swapped(other) == in_memory_or_swapped(seen)


def test_what_a_real_kernel_does_wrong_among_others_is_asked_again_alone(tmp_path: Path) -> None:
    """CVE-2025-40040: MADV_UNMERGEABLE drops the seal. What passes is not asked again."""
    asked = ("after-mergeable-unmergeable-*/anon-r/*", "munmap/anon-rw/*")
    command = [sys.executable, "-m", "harness", "run", "debian-6.16.12", "-f", str(ROOT / "kernels.yaml")]
    command += ["-a", "x86_64", *(word for glob in asked for word in ("-r", glob)), "--results", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=500, check=False)
    (cell,) = tmp_path.glob("*/cells/*")
    told = read_journal(cell / "observations.jsonl")
    (again,) = (note["probes"] for note in told.notes if note["type"] == "harness-again")
    assert isinstance(again, list), done.stderr
    assert {probe.split("-")[1] for probe in again} == {"mergeable"}
    assert not told.batched & set(again), "what counts was seen alone"
    assert {probe.split("/")[0] for probe in told.batched} == {"munmap"}
    rules = {rule["rule"]: rule["verdicts"] for rule in json.loads((cell / "verdicts.json").read_text())["rules"]}
    found = {verdict["probe"]: verdict["status"] for verdict in rules["after-mergeable-unmergeable"]}
    sampled = {probe for probe in told.among_others if probe in found}  # both ways already: one in 256, by chance
    assert not sampled & set(again)
    assert found == dict.fromkeys([*again, *sampled], "known")
    assert {verdict["status"] for verdict in rules["munmap-blocked"]} == {"pass"}
