"""A kernel out of a source tree, built by a run and booted both ways."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.kernels.sources import debian_source
from harness.kernels.tree import OWN, check_tree, configured_tree, own_fragments
from harness.model.architectures import Arch

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


@pytest.mark.timeout(3600)
@pytest.mark.parametrize("arch", ["x86_64", "arm64"])
@pytest.mark.parametrize("series", ["6.12", "7.3"])
def test_our_configuration_survives_in_every_series(series: str, arch: Arch, tmp_path: Path) -> None:
    """Its dependencies change from series to series: memory tags of arm64 need ARM64_PAN in 6.12, which 7.3 lacks."""
    if not os.environ.get(BUILDS):
        pytest.skip(f"fetches the kernel's source, which takes minutes: set {BUILDS}=1")
    tree = debian_source(series, lambda text: None).path
    fragments = own_fragments(arch, check_tree(tree))
    for extra in ("debug", "kasan"):
        configured_tree(tree, arch, tmp_path / extra, [*fragments, OWN / f"{extra}.config"])
