"""The measuring of reports and history, on little data: it measures what it says."""

from __future__ import annotations

from bench.reports import HISTORY, MEMORY, REPORT, Size, measure, observation, probe_name
from harness.observations.model import Observation
from harness.observations.stream import parse_line


def test_the_generated_observations_are_true_to_the_protocol() -> None:
    size = Size(2, 40, 10, 2)
    found = [parse_line(observation(probe_name(i, size), i, 1).encode()) for i in range(size.probes)]
    assert all(isinstance(record, Observation) for record in found)
    assert len({probe_name(i, size) for i in range(size.probes)}) == size.probes


def test_everything_is_measured() -> None:
    measured = dict(measure(Size(cells=4, probes=60, rules=10, runs=3)))
    assert set(measured) == {REPORT, MEMORY, HISTORY}
    assert all(value > 0 for value in measured.values())
