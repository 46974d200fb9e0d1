"""The stock kernel that another one is compared with where nobody names one."""

from __future__ import annotations

import pytest

from harness.kernels.baseline import baseline_for
from harness.kernels.lock import Lock, Locked
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import Matrix


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return load_matrix(shipped_path())


def lock(matrix: Matrix, **versions: str) -> Lock:
    named = {name.replace("_", "-", 1).replace("_", "."): version for name, version in versions.items()}
    entries = {
        (name, "x86_64"): Locked(kernel=name, arch="x86_64", asked="", release=v, version=v, image="0" * 64)
        for name, v in named.items()
    }
    return Lock(matrix.path, entries)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "locked", "name"),
    [
        ("6.12.30", {}, "debian-6.12"),  # the entry that follows 6.12 means its newest
        ("6.12.30", {"debian_6_12": "6.12.117"}, "debian-6.12"),
        ("6.17.9", {}, "debian-6.17.13"),
        ("6.12.200", {"debian_6_12": "6.12.117", "debian_6_12.95": "6.12.95"}, "debian-6.12"),
        ("6.10.0", {}, "debian-6.12"),
        ("7.3.4", {"debian_newest": "7.3.4"}, "debian-newest"),
        ("7.4-rc1", {"debian_newest": "7.3.4"}, "debian-newest"),
        ("", {}, "debian-newest"),
    ],
)
def test_the_newest_of_the_same_or_the_nearest_release(
    matrix: Matrix, version: str, locked: dict[str, str], name: str
) -> None:
    assert baseline_for(matrix, lock(matrix, **locked), "x86_64", version, flavours=("cloud",)) == name


def test_none_where_there_is_no_stock_kernel(matrix: Matrix) -> None:
    assert baseline_for(matrix, lock(matrix), "riscv64", "6.12", flavours=("cloud",)) == ""
    assert baseline_for(matrix, lock(matrix), "riscv64", "6.12", flavours=("full",)) == "debian-6.12-riscv"


def test_a_cloud_kernel_that_is_locked_is_no_older_than_a_full_one_that_is_not(matrix: Matrix) -> None:
    known = lock(matrix, debian_6_12="6.12.117")
    assert baseline_for(matrix, known, "x86_64", "6.12.117", flavours=("cloud", "full")) == "debian-6.12"
