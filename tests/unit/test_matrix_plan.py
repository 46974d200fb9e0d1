from __future__ import annotations

from pathlib import Path

import pytest

from harness.errors import UsageError
from harness.matrix.load import load_matrix, shipped_path
from harness.matrix.model import CellSpec, Matrix
from harness.matrix.plan import asked_of, plan_cells


@pytest.fixture(scope="module")
def matrix() -> Matrix:
    return load_matrix(shipped_path())


def ids(cells: tuple[CellSpec, ...]) -> list[str]:
    return [cell.id for cell in cells]


def test_default_is_seven_cells(matrix: Matrix) -> None:
    assert ids(plan_cells(matrix)) == [
        "debian-6.1.x86_64",
        "debian-6.1.arm64",
        "debian-6.12.x86_64",
        "debian-6.12.arm64",
        "debian-newest.x86_64",
        "debian-newest.arm64",
        "debian-6.12-16k.arm64",
    ]


def test_smoke_is_one(matrix: Matrix) -> None:
    assert ids(plan_cells(matrix, selection="smoke")) == ["debian-6.12.x86_64"]


def test_globs_reach_over_the_whole_matrix(matrix: Matrix) -> None:
    cells = plan_cells(matrix, kernels=["debian-7.1*", "debian-7.1.3"], arches=["x86_64"])
    assert ids(cells) == ["debian-7.1.3.x86_64", "debian-7.1.13.x86_64"]


def test_globs_narrow_a_selection_that_was_named(matrix: Matrix) -> None:
    assert len(plan_cells(matrix, selection="default", kernels=["*16k"])) == 1
    with pytest.raises(UsageError, match=r"no kernel 'debian-7\.1\*' in the selection default"):
        plan_cells(matrix, selection="default", kernels=["debian-7.1*"])


def test_what_the_second_payload_observes_is_the_selections(matrix: Matrix) -> None:
    assert "*/anon-mixed/*" in asked_of(matrix, "nightly").crosscheck
    assert asked_of(matrix, "nightly", kernels=["debian-6.12"]).crosscheck
    assert asked_of(matrix).crosscheck == ()
    assert asked_of(matrix, kernels=["debian-6.12"]).crosscheck == ()


def test_profiles_replace(matrix: Matrix) -> None:
    cells = plan_cells(matrix, selection="smoke", profiles=["standard", "force-override-never", "standard"])
    assert ids(cells) == ["debian-6.12.x86_64", "debian-6.12.x86_64.force-override-never"]


@pytest.mark.parametrize(
    ("request_", "said"),
    [
        ({"selection": "nighty"}, "unknown selection 'nighty' (did you mean 'nightly'?)"),
        ({"kernels": ["debain-6.12"]}, "no kernel 'debain-6.12' in"),
        ({"kernels": ["debain-6.12"]}, "(did you mean 'debian-6.12'?)"),
        ({"arches": ["amd64"]}, "unknown architecture 'amd64' (here it is called 'x86_64')"),
        ({"profiles": ["fast"]}, "unknown profile 'fast'"),
        ({"kernels": ["*-16k"], "arches": ["x86_64"]}, "no selected kernel exists for x86_64"),
    ],
)
def test_what_does_not_exist(matrix: Matrix, request_: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError) as caught:
        plan_cells(matrix, **request_)  # type: ignore[arg-type]
    assert said in str(caught.value)


def test_ids_are_unique_and_safe(matrix: Matrix) -> None:
    cells = plan_cells(matrix, kernels=["*"], profiles=list(matrix.profiles))
    assert len(set(ids(cells))) == len(cells)
    assert all(Path(cell.id).name == cell.id for cell in cells)
