"""A matrix of the user's adds to the shipped one, unless it says otherwise."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import ConfigError, UsageError
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import Matrix
from harness.matrix.plan import asked_of, plan_cells

MINE = "  mine: {source: file, image: Image, architectures: [arm64]}\n"


def load(folder: Path, text: str) -> Matrix:
    path = folder / "kernels.yaml"
    path.write_text(f"version: 1\n{text}")
    return load_matrix(path)


def test_own_kernels_stand_beside_the_shipped_ones(tmp_path: Path) -> None:
    shipped = load_matrix(shipped_path())
    matrix = load(tmp_path, f"kernels:\n{MINE}")
    assert set(matrix.kernels) == {"mine", *shipped.kernels}
    assert matrix.selections.keys() == shipped.selections.keys()
    assert {cell.id for cell in plan_cells(matrix, kernels=["mine", "debian-6.12"])} == {
        "mine.arm64",
        "debian-6.12.x86_64",
        "debian-6.12.arm64",
    }
    assert matrix.sha256 != shipped.sha256


def test_without_selections_the_default_is_the_own_kernels_beside_the_shipped_default(tmp_path: Path) -> None:
    shipped = load_matrix(shipped_path())
    matrix = load(tmp_path, f"kernels:\n{MINE}")
    assert {cell.id for cell in plan_cells(matrix)} == {"mine.arm64"} | {cell.id for cell in plan_cells(shipped)}
    assert asked_of(matrix).probes == (), "own kernels are asked everything, as those that are named are"


def test_an_own_selection_wins_and_may_name_shipped_kernels(tmp_path: Path) -> None:
    text = f"kernels:\n{MINE}selections:\n  default: {{kernels: [mine, debian-6.12], architectures: [arm64]}}\n"
    cells = plan_cells(load(tmp_path, text))
    assert [cell.id for cell in cells] == ["mine.arm64", "debian-6.12.arm64"]


def test_an_own_entry_wins_over_the_shipped_one_of_its_name(tmp_path: Path) -> None:
    matrix = load(tmp_path, f"kernels:\n{MINE.replace('mine', 'debian-6.12')}")
    assert matrix.kernels["debian-6.12"].arches == ("arm64",)


def test_extends_none(tmp_path: Path) -> None:
    matrix = load(tmp_path, f"extends: none\nkernels:\n{MINE}")
    assert set(matrix.kernels) == {"mine"}
    with pytest.raises(UsageError, match="unknown selection 'default'"):
        plan_cells(matrix)
    with pytest.raises(ConfigError, match="unknown value 'shiped'"):
        load(tmp_path, f"extends: shiped\nkernels:\n{MINE}")
