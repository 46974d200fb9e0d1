"""Cold, warm and on a cluster: whichever way a cell is run, its kernel is told the same.

In a few kernels of each architecture; with SEALMATRIX_ALL_KERNELS=1 in all those of `nightly` (ten minutes).
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from harness.matrix.load import load_matrix
from harness.model.architectures import ARCHES, Arch
from harness.payload.build import probe_list
from harness.rules.load import load_catalogue
from harness.runs.planning.payload_tasks import chosen
from harness.verdicts.judge import assign
from tests.support.dask_cluster import ROOT, Process, Start

pytestmark = pytest.mark.kernels
MATRIX = load_matrix(ROOT / "kernels.yaml")
# From every family the plainest, one probe in every region, and one that swaps.
PROBES = (*MATRIX.selections["smoke"].probes, "munmap/*/exact", "swap-out/anon-rw/exact")
FEW = ("debian-6.12", "debian-6.12-riscv")


def asked(arch: Arch) -> list[str]:
    """The kernels of this sitting."""
    names = MATRIX.selections["nightly"].kernels if os.environ.get("SEALMATRIX_ALL_KERNELS") else FEW
    return [name for name in names if arch in MATRIX.kernels[name].arches]


def cells_of(folder: Path, arch: Arch, *words: str) -> dict[str, tuple[dict[str, Any], list[Any]]]:
    """Run the probes in all kernels: each cell's record and every verdict, with its reasons."""
    command = [sys.executable, "-m", "harness", "run", "-q", "-f", str(ROOT / "kernels.yaml"), "--results", str(folder)]
    command += ["-a", arch, "--accel", "tcg", "--scale", "4", *words]
    command += [word for name in asked(arch) for word in ("-k", name)]
    command += [word for probe in PROBES for word in ("-r", probe)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=1500, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (run,) = folder.glob("*/run.json")
    told = {}
    for cell in json.loads(run.read_text())["cells"]:
        verdicts = json.loads((run.parent / "cells" / cell["id"] / "verdicts.json").read_text())
        told[cell["id"]] = (cell, verdicts["rules"])
    return told


def differing(one: Sequence[Any], other: Sequence[Any]) -> list[Any]:
    return [pair for pair in zip(one, other, strict=True) if pair[0] != pair[1]]


def test_the_probes_are_of_every_family() -> None:
    catalogue = load_catalogue()
    families = {rule.family for rule, _ in assign(catalogue, chosen(probe_list(), PROBES))}
    assert families == {rule.family for rule in catalogue.values()}


@pytest.mark.parametrize("arch", ARCHES)
def test_every_way_tells_the_same(scheduler: tuple[Process, str], start: Start, tmp_path: Path, arch: Arch) -> None:
    """Verdict for verdict, with every reason."""
    cold = cells_of(tmp_path / "cold", arch, "--fresh")
    cells_of(tmp_path / "saving", arch)
    warm = cells_of(tmp_path / "warm", arch)
    _, address = scheduler
    worker = start("-m", "harness", "worker", address, "--name", "there", SEALMATRIX_CACHE=str(tmp_path / "cache"))
    worker.until("sealmatrix worker there")
    cluster = cells_of(tmp_path / "cluster", arch, "--fresh", "--cluster", address)
    assert len(cold) == len(asked(arch))
    for name, (record, rules) in cold.items():
        assert record["machine"]["start"] == cluster[name][0]["machine"]["start"] == "cold"
        machine = warm[name][0]["machine"]
        # What cannot be saved, or was not as it should be, is booted, and says so.
        assert machine["start"] == "warm" or "NVMe" in machine["start_reason"] or "nvme" in machine["start_reason"]
        assert cluster[name][0]["host"]["name"] == os.uname().nodename
        assert len(rules) > 30
        assert differing(rules, warm[name][1]) == []
        assert differing(rules, cluster[name][1]) == []
        print(f"{name}: {len(rules)} rules alike: cold, {machine['start']} ({machine['start_reason'][:60]}), cluster")
