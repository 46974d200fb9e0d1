"""What the floor's samples are made into: medians, ratios against their limits, a table and a picture."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from bench.contestants import Sample
from bench.floor import medians, ratios
from bench.growth import Growth, growth_text
from bench.picture import bars


def cell(ready: float, suite: float) -> Sample:
    stages = {"ready": ready, "suite": suite}
    return Sample(ready + suite, 2 * (ready + suite), 100.0, "cold", stages, {s: 2 * t for s, t in stages.items()})


BARE = [Sample(1.0, 2.0, 90.0), Sample(9.0, 18.0, 90.0), Sample(1.2, 2.4, 90.0)]


@pytest.mark.parametrize(
    ("cold", "warm", "kept"),
    [
        (cell(1.2, 1.0), cell(0.1, 1.0), [True, True]),
        (cell(1.5, 1.0), cell(0.1, 1.0), [False, True]),
        (cell(1.2, 1.0), cell(0.2, 1.0), [True, False]),
    ],
)
def test_ratios_are_of_medians(cold: Sample, warm: Sample, kept: list[bool]) -> None:
    found = ratios({"bare": BARE, "cold": [cold] * 3, "warm": [warm] * 3})
    assert [ratio.kept for ratio in found] == kept
    assert found[0].value == pytest.approx(cold.wall / 2.2)
    assert found[0].cpu == pytest.approx(cold.cpu / 4.4)


def test_virtme_ng_must_be_slower() -> None:
    """Its own command, that is; a guest of ours with a root is there for comparison."""
    slow, fast = cell(7.0, 1.0), cell(2.0, 1.0)
    assert [ratio.kept for ratio in ratios({"cold": [cell(1.2, 1.0)], "vng": [slow]})] == [True]
    assert [ratio.kept for ratio in ratios({"cold": [cell(1.2, 1.0)], "vng": [fast]})] == [False]
    assert [ratio.kept for ratio in ratios({"cold": [cell(1.2, 1.0)], "virtme": [fast]})] == [True]
    assert ratios({"bare": BARE}) == []


def test_the_picture_is_xml_with_a_bar_for_each_stage() -> None:
    root = ElementTree.fromstring(bars("a <title>", {"bare": medians(BARE), "cold": medians([cell(1.2, 1.0)])}))
    titles = [element.text for element in root.iter() if element.tag.endswith("title")]
    assert titles == ["whole 1.200 s", "ready 1.200 s", "suite 1.000 s"]


def test_growth_says_what_is_over() -> None:
    lines = growth_text([Growth("warm", 1, 1, 1.6, 1.0, 1.5), Growth("cold", 2, 1, 5.0, 4.0)])
    assert lines[2].endswith("OVER (at most 1.5)")
    assert lines[3].split() == ["cold", "2", "1", "5.00", "4.00", "1.00"]
