"""The measuring itself: what is divided by what, and what growth is."""

from __future__ import annotations

import os

import pytest

from bench.parallel import Ran, as_text, growth, limits, resident


def ran(single: dict[str, float], cells_wall: float, after: float = 0.0, rss: dict[int, float] | None = None) -> Ran:
    return Ran(0, cells_wall + after, cells_wall, after, single, rss or {})


def test_ratios() -> None:
    alone = ran({"a": 10.0, "b": 6.0}, 16.0)
    together = ran({"a": 12.0, "b": 7.0, "a~2": 12.0, "b~2": 7.0}, 18.0, 0.36)
    found = limits(alone, together, cores=2)
    assert [round(limit.value, 3) for limit in found] == [1.125, 2.0, 0.0]
    assert all(limit.ok for limit in found)
    slow = limits(alone, ran(dict(together.single), 20.0, 1.0), cores=2)
    assert [limit.ok for limit in slow] == [False, False, True]
    assert "NOT OK (at most 1.15)" in as_text(slow, alone, together)


@pytest.mark.parametrize(
    ("rss", "each"),
    [
        ({}, 0.0),
        ({1: 90.0}, 0.0),
        (dict.fromkeys(range(1, 21), 100.0), 0.0),
        ({n: 100.0 + 3 * n for n in range(1, 21)}, 3.0),
    ],
)
def test_growth_is_for_each_cell(rss: dict[int, float], each: float) -> None:
    assert growth(rss) == each


def test_memory_of_a_process() -> None:
    assert resident(os.getpid()) > 1
    assert resident(1 << 30) == 0
