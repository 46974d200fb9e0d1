from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.kernels.versions import compare, upstream, version_key, within

# Oldest first, as `dpkg --compare-versions` has it.
ORDER = [
    "6.1.170-3",
    "6.1.176-1",
    "6.12.43-1~bpo12+1",
    "6.12.43-1",
    "6.12.90-1~bpo12+1",
    "6.12.90-2~bpo12+1",
    "6.12.107-1",
    "6.12.117-1",
    "7.2.12-1~bpo13+1",
    "7.2.12-1",
    "7.3~rc7-1~exp1",
    "7.3-1",
    "7.3.4-1~bpo13+1",
    "1:1-1",
]


@pytest.mark.parametrize(("older", "newer"), list(itertools.pairwise(ORDER)))
def test_order(older: str, newer: str) -> None:
    assert compare(older, newer) < 0 < compare(newer, older)


def test_sorting() -> None:
    assert sorted(set(ORDER), key=version_key) == ORDER


@pytest.mark.parametrize(
    ("one", "other"), [("1.0", "1.0-0"), ("0:1.0", "1.0"), ("1.00", "1.0"), ("1.0-", "1.0-"), ("", "")]
)
def test_equal(one: str, other: str) -> None:
    assert compare(one, other) == 0


_ANY = st.text(alphabet="0123456789.+~:-abz", max_size=12)


@given(_ANY, _ANY, _ANY)
def test_any_text_is_ordered(one: str, two: str, three: str) -> None:
    def sign(number: int) -> int:
        return (number > 0) - (number < 0)

    assert sign(compare(one, two)) == -sign(compare(two, one))
    low, middle, high = sorted((one, two, three), key=version_key)
    assert compare(low, middle) <= 0
    assert compare(low, high) <= 0


@pytest.mark.parametrize(
    ("version", "expected"),
    [
        ("6.12.43-1~bpo12+1", "6.12.43"),
        ("7.3~rc7-1~exp1", "7.3-rc7"),
        ("6.1.176-1", "6.1.176"),
        ("2:6.1-1", "6.1"),
        ("6.1", "6.1"),
    ],
)
def test_upstream(version: str, expected: str) -> None:
    assert upstream(version) == expected


@pytest.mark.parametrize(
    ("version", "prefix", "expected"),
    [
        ("6.12.43", "6.12", True),
        ("6.12.43", "6.1", False),
        ("6.12.43", "6.12.4", False),
        ("6.12.43", "6.12.43", True),
        ("7.3-rc7", "7.3", True),
        ("7.3-rc7", "7.3-rc7", True),
        ("7.3.4", "7.3-rc7", False),
        ("7.3", "7.3.4", False),
    ],
)
def test_within(version: str, prefix: str, expected: bool) -> None:
    assert within(version, prefix) is expected
