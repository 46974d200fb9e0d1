"""The C payload, run on the kernel of this machine."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from harness.model.architectures import Arch
from harness.observations.collector import Collector
from harness.observations.model import End, Garbage, Observation, Plan, Record
from harness.observations.stream import parse_line
from harness.payload import build

ARCH: dict[str, Arch] = {"x86_64": "x86_64", "aarch64": "arm64"}
# Advice that makes the kernel reclaim or move pages: where a page is afterwards is not ours to promise. A race, and a
# wait that has to be seen, need not come about on a busy machine.
WEATHER = (
    "madvise-pageout", "madvise-cold", "process-madvise-pageout", "process-madvise-cold", "madvise-free",
    "after-pageout", "after-cold", "swap-out", "collapse", "move-pages", "mbind", "race", "killed-in-mseal",
)  # fmt: skip


def program() -> Path:
    if platform.machine() not in ARCH:
        pytest.skip(f"no payload for a {platform.machine()} machine")
    return build(ARCH[platform.machine()]).path


def run(*arguments: str, cwd: Path, timeout: float = 120) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([program(), *arguments], cwd=cwd, capture_output=True, timeout=timeout, check=False)


def records(stream: bytes) -> list[Record]:
    assert stream.endswith(b"\n")
    found = [parse_line(line) for line in stream.splitlines()]
    assert not [r for r in found if isinstance(r, Garbage)]
    return [r for r in found if not isinstance(r, Garbage)]


@dataclass(frozen=True)
class Stream:
    plan: Plan
    observations: dict[str, Observation]


def observe(cwd: Path, *arguments: str) -> Stream:
    done = run(*arguments, cwd=cwd)
    assert done.returncode == 0, done.stderr
    assert done.stderr == b""
    plan, *middle, end = records(done.stdout)
    assert isinstance(plan, Plan)
    assert isinstance(end, End)
    collector = Collector()  # which holds each lane to the plan's order
    for record in (plan, *middle, end):
        collector.add(record)
    assert not collector.garbage
    assert set(collector.begun) == set(collector.observations) == set(plan.probes)
    assert collector.ended
    return Stream(plan, collector.observations)


def facts(seen: Observation) -> Observation:
    """An observation without what is no fact of the kernel: its time, and whether it was made twice."""
    return replace(seen, microseconds=0, again=False)
