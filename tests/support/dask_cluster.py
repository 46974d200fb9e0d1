"""A real Dask scheduler and real workers on the loopback interface, as programs that are gone after the test."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from harness.cluster.connection import connected
from harness.cluster.pool import ClusterPool
from harness.guests.qemu import Wishes
from harness.kernels.model import Kernel, Origin
from harness.matrix.model import Profile
from harness.runs.execution.run import execute_in
from harness.runs.model import Cell, ProgressEvent, RunDone
from harness.runs.plan import RunPlan
from tests.support.scripted_runs import run_plan

ROOT = Path(__file__).parents[2]
Start = Callable[..., "Process"]


class Process:
    """A child whose output is read line by line, and that is gone after the test."""

    def __init__(self, *words: str, **environment: str) -> None:
        self.child = subprocess.Popen(
            [sys.executable, *words], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            text=True, cwd=ROOT, env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"} | environment,
        )  # fmt: skip
        self.said: list[str] = []

    def until(self, word: str) -> str:
        """Read on to the next line that has a word."""
        assert self.child.stdout is not None
        for line in self.child.stdout:
            self.said.append(line)
            if word in line:
                return line
        raise AssertionError(f"ended without {word!r}:\n{''.join(self.said)}")

    def kill(self) -> None:
        self.child.kill()
        self.child.wait()
        assert self.child.stdout is not None
        self.child.stdout.close()


def worker(start: Start, address: str, tmp_path: Path, name: str, behaviour: str = "well") -> Process:
    """A worker with a store of its own, which has nothing but what the compiler makes."""
    process = start("tests/data/fake_worker.py", address, name, behaviour, SEALMATRIX_CACHE=str(tmp_path / name))
    process.until("ready")
    return process


def kernel(tmp_path: Path) -> Kernel:
    image = tmp_path / "image"
    image.write_bytes(b"the image")
    return Kernel(
        name="k", release="6.12.0-fake", arch="x86_64", flavour="cloud", image=image, image_format="bzImage",
        sha256=sha256(b"the image").hexdigest(), origin=Origin("file", "here"),
        config={"VIRTIO_PCI": "y", "VIRTIO_CONSOLE": "m"},
        modules=lambda names: tuple((f"{name}.ko", b"module") for name in names),
    )  # fmt: skip


def plan_of(tmp_path: Path, *names: str) -> RunPlan:
    made = kernel(tmp_path)
    cells = [Cell(name, "x86_64", Profile("standard"), made) for name in names]
    plan = run_plan(tmp_path / "r", cells)
    work = replace(plan.workloads["x86_64"], sha256=sha256(b"ELF").hexdigest())
    return replace(plan, workloads={"x86_64": work})


def run_there(
    address: str, plan: RunPlan, on_progress: Callable[[ProgressEvent], None], patience: float = 5.0
) -> RunDone:
    with connected(address) as cluster:
        return execute_in(ClusterPool(cluster, plan, Wishes(), on_progress, patience), plan, on_progress)
