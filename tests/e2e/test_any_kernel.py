"""A kernel as anybody has one: an image, or a package of any distribution on a server, all in one command."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.kernels.fetch import read_packages
from harness.kernels.store import Store
from tests.support.file_server import serving
from tests.support.packages import make_arch, make_deb, make_rpm
from tests.support.real_kernels import ROOT, GetKernel

pytestmark = [pytest.mark.kernels, pytest.mark.timeout(900)]


def test_one_kernel_as_image_and_as_every_package(kernel: GetKernel, tmp_path: Path) -> None:
    stock = kernel("debian-6.12", "x86_64")
    stored = [Store().find(digest) for _, _, digest in stock.origin.packages]
    found = read_packages([path for path in stored if path is not None])
    image, config = found.image, found.config
    boot = {f"boot/vmlinuz-{stock.release}": image, f"boot/config-{stock.release}": config}
    module_folder = f"lib/modules/{stock.release}"
    core = {f"{module_folder}/vmlinuz": image, f"{module_folder}/config": config}
    packages = [
        make_deb(tmp_path, "linux-image", boot),
        make_rpm(tmp_path, "kernel-core", core),
        make_arch(tmp_path, "linux", core),
    ]
    bare = tmp_path / "bzImage"
    bare.write_bytes(image)
    with serving() as server:
        server.files.update({f"/{path.name}": path.read_bytes() for path in packages})
        words = [str(bare), *(server.url(f"/{path.name}") for path in packages)]
        done = subprocess.run(
            [sys.executable, "-m", "harness", "run", *words, "-r", "munmap/anon-rw/*", "--against", "none", "-q",
             "-f", str(ROOT / "kernels.yaml"), "--results", str(tmp_path / "results"), "--scale", "5"],
            capture_output=True, text=True, cwd=tmp_path, env=os.environ, timeout=800, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert [path for path, _ in server.asked] == [f"/{path.name}" for path in packages]
    (run,) = (tmp_path / "results").glob("*/verdicts.json")
    cells = {cell["cell"]: cell["counts"] for cell in json.loads(run.read_text())["cells"]}
    assert set(cells) == {
        f"{name}.x86_64" for name in ("bzImage", stock.release, f"{stock.release}-2", f"{stock.release}-3")
    }
    for cell, counts in cells.items():
        assert counts["pass"] > 0, cell
        assert {status for status, count in counts.items() if count} <= {"pass", "skip", "observed"}, (cell, counts)
    facts = json.loads(run.with_name("run.json").read_text())["cells"]
    # One build came four ways: the same published bytes booted each time.
    assert {cell["kernel"]["sha256"] for cell in facts} == {stock.sha256}
    assert {cell["kernel"]["release"] for cell in facts} == {stock.release}
    assert len({cell["kernel"]["origin"] for cell in facts}) == 4
