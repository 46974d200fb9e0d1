"""A real kernel on a worker: what the submitter's terminal and folder hold is what a local run leaves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.dask_cluster import ROOT, Process, Start

pytestmark = pytest.mark.kernels
ASKED = ["-k", "debian-6.12", "-a", "arm64", "-r", "munmap/*", "-r", "mseal/anon-rw/*", "--accel", "tcg"]


def run(folder: Path, *words: str) -> tuple[subprocess.CompletedProcess[str], Path]:
    command = [sys.executable, "-m", "harness", "run", "-f", str(ROOT / "kernels.yaml"), "--results", str(folder)]
    done = subprocess.run(
        [*command, *ASKED, *words], capture_output=True, text=True, cwd=ROOT, timeout=400, check=False
    )
    (found,) = (path.parent for path in folder.glob("*/run.json"))
    return done, found


def verdicts(folder: Path) -> dict[str, Any]:
    (path,) = folder.glob("cells/*/verdicts.json")
    told: dict[str, Any] = json.loads(path.read_text())
    del told["run"]
    return told


def test_a_real_kernel_there_is_as_here(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    """The worker has an empty store: kernel, PID 1 and payload come to it by hash."""
    _, address = scheduler
    worker = start("-m", "harness", "worker", address, "--name", "there", SEALMATRIX_CACHE=str(tmp_path / "cache"))
    worker.until("sealmatrix worker there")
    there, far = run(tmp_path / "far", "--cluster", address)
    assert there.returncode == 0, there.stdout + there.stderr
    assert "probing" in there.stderr
    assert f"{os.uname().nodename} (tcp://127.0.0.1:" in there.stdout
    here, near = run(tmp_path / "near", "-j", "1")
    assert here.returncode == 0, here.stdout + here.stderr
    assert verdicts(far) == verdicts(near)
    (a,), (b,) = (json.loads((folder / "run.json").read_text())["cells"] for folder in (far, near))
    assert a["machine"]["digests"] == b["machine"]["digests"]
    assert a["kernel"] == b["kernel"]
    assert a["host"]["name"] == os.uname().nodename
    assert b["host"] == {}
    files = [sorted(str(p.relative_to(folder)) for p in folder.rglob("*")) for folder in (far, near)]
    assert files[0] == files[1]
    assert "Linux version" in next(far.glob("cells/*/console.log")).read_text()
