"""A kernel out of a source tree, built by a run and booted both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.kernels.sources import debian_source

BUILDS = "SEALMATRIX_BUILD_KERNELS"
SEALMATRIX = [sys.executable, "-m", "harness"]

pytestmark = pytest.mark.kernels


@pytest.mark.timeout(3600)  # the first build of a kernel takes minutes
def test_a_tree_is_built_and_booted_with_and_without_a_root(tmp_path: Path) -> None:
    if not os.environ.get(BUILDS):
        pytest.skip(f"builds a kernel, which takes minutes: set {BUILDS}=1")
    source = debian_source("6.12", lambda text: None)
    (tmp_path / "kernels.yaml").write_text(
        "version: 1\nextends: none\nkernels:\n"
        f"  mine: {{source: tree, tree: {source.path}, fragments: [virtme], architectures: [x86_64]}}\n"
        "profiles:\n  lived-in: {guest: virtme, memory: 384}\n"
        "selections:\n  default: {kernels: [mine], profiles: [standard, lived-in]}\n"
    )
    done = subprocess.run(
        [*SEALMATRIX, "run", "-r", "munmap/anon-*", "-r", "mseal*/anon-rw/*"],
        cwd=tmp_path, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lock = (tmp_path / "kernels.lock").read_text()
    assert '"asked": "tree linux-source-6.12' in lock
    assert "-sealmatrix" in lock
