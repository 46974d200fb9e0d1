"""``run --trace`` on real kernels: what the sealed call went through."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.real_kernels import ROOT

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
