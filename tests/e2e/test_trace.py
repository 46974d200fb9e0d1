"""``run --trace`` on real kernels: what the sealed call went through, by ftrace and by QEMU's log, which must agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from harness.guests.qemu import Wishes
from harness.matrix.load import load_matrix
from harness.runs.interactive import pick
from harness.runs.kernel_tracing import Tracer
from tests.e2e.conftest import ROOT

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(900)]
PROBE = "munmap/anon-rw/exact"


def test_two_stock_kernels_side_by_side(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "harness", "run", "debian-6.12", "debian-newest", "-a", "x86_64", "-r", PROBE, "--trace",
         "--json", "-f", str(ROOT / "kernels.yaml"), "--results", str(tmp_path)],
        capture_output=True, text=True, timeout=800, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    (traced,) = json.loads(done.stdout)["traces"]
    assert traced["probe"] == PROBE
    for side in (traced["here"], traced["baseline"]):
        assert (side["means"], side["why"]) == ("ftrace", "")
        names = [call["function"] for call in side["functions"]]
        assert names[:2] == ["__x64_sys_munmap", "__vm_munmap"]
        assert "vms_gather_munmap_vmas" in names  # where both kernels look for seals
        assert not any(name.startswith("vms_complete") for name in names)  # and go no further
    (kept,) = tmp_path.glob("*/traces.json")
    assert json.loads(kept.read_text()) == [traced]


def test_both_means_see_the_same_functions() -> None:
    cell = pick(load_matrix(ROOT / "kernels.yaml"), "debian-6.12", "x86_64", None, offline=False, say=lambda *_: None)
    tracer = Tracer(wishes=Wishes())
    graph, executed = (tracer.trace(PROBE, cell, only=means) for means in ("ftrace", "qemu"))  # type: ignore[arg-type]
    assert (graph.why, executed.why) == ("", "")
    assert set(graph.names) <= set(executed.names)  # ftrace leaves out what must not be traced
    assert executed.names[:2] == ("__x64_sys_munmap", "__vm_munmap")
