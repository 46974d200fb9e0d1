"""Notes that say the same of many kernels are one line."""

from __future__ import annotations

import pytest

from harness.cli.remarks import folded

OFF = "fetching is off; the newest stored build is used"


@pytest.mark.parametrize(
    ("remarks", "told"),
    [
        pytest.param((), (), id="none"),
        pytest.param(("one", "two: b"), ("one", "two: b"), id="different"),
        pytest.param(
            tuple(f"debian-6.{n} (arm64): {OFF}: 6.{n}.1" for n in range(3)),
            tuple(f"debian-6.{n} (arm64): {OFF}: 6.{n}.1" for n in range(3)),
            id="few stay",
        ),
        pytest.param(
            ("first", *(f"debian-6.{n} (arm64): {OFF}: 6.{n}.1" for n in range(55)), "a: last"),
            ("first", f"55 kernels: {OFF}", "a: last"),
            id="many are one",
        ),
        pytest.param(
            tuple(f"k{n}: no such thing" for n in range(4)), ("4 kernels: no such thing",), id="without a value"
        ),
        pytest.param(("the same",) * 5, ("the same",), id="not about a kernel"),
    ],
)
def test_notes_are_folded(remarks: tuple[str, ...], told: tuple[str, ...]) -> None:
    assert folded(remarks) == told
