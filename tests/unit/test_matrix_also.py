"""Selections that take others with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigError
from harness.matrix.load import load_matrix, parse_matrix, shipped_path
from harness.matrix.plan import plan_cells

TEXT = """
version: 1
kernels:
  a: {source: debian, suites: [sid], release: 6.12, architectures: [x86_64]}
  b: {source: debian, suites: [sid], release: 6.18, architectures: [x86_64]}
profiles:
  never: {boot: [x.y=never]}
selections:
  some: {kernels: [a], profiles: [standard, never]}
  default: {kernels: [a, b], also: [some]}
"""


def parse(text: str):
    return parse_matrix(text.encode(), Path("kernels.yaml"))


def test_the_others_cells_come_too_and_each_once():
    assert [cell.id for cell in plan_cells(parse(TEXT))] == ["a.x86_64", "b.x86_64", "a.x86_64.never"]


@pytest.mark.parametrize("also", ["sum", "default"])
def test_only_a_plain_selection_can_be_taken_along(also):
    with pytest.raises(ConfigError, match=rf"kernels.yaml:10: selections.default.also\[0\]: no selection '{also}'"):
        parse(TEXT.replace("also: [some]", f"also: [{also}]"))


def test_too_little_memory_for_its_nodes():
    with pytest.raises(ConfigError, match="memory 128 is too little for 4 nodes"):
        parse(TEXT.replace("{boot: [x.y=never]}", "{memory: 128, numa: 4}"))


def test_nightly_has_every_override_on_both_architectures():
    cells = {cell.id for cell in plan_cells(load_matrix(shipped_path()), selection="nightly")}
    for kernel in ("debian-6.12", "debian-newest"):
        for arch in ("x86_64", "arm64"):
            for profile in ("never", "ptrace"):
                assert f"{kernel}.{arch}.force-override-{profile}" in cells
