"""Journals read quickly for the page: each distinct observation once, however many cells made it.

A nightly run holds a hundred thousand observations, of which some thousand differ. A line is taken apart by its fixed
beginning; what follows the probe's name and time is looked up as bytes, and only what is new goes through the parser.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from harness.observations.model import Observation
from harness.observations.stream import parse_line

# As the C payload writes it. A line in any other form takes the slow way, with the same result.
_LINE = re.compile(
    rb'\{"type":"observation","probe":"([!#-\[\]-~]{1,200})",("layout":"\w+","unit":\d+),"microseconds":(\d{1,10}),(.+)'
)
_IS_OBSERVATION = re.compile(rb'"type"\s*:\s*"observation"')
# Microseconds no probe can have taken: an hour.
_LONGEST = 3_600_000_000
_NONE = -1


@dataclass(frozen=True)
class Seen:
    """One cell's journal: microseconds and the number of the observation (in ``Sightings``), by probe."""

    times: Mapping[str, int] = field(default_factory=dict)
    numbers: Mapping[str, int] = field(default_factory=dict)


class Sightings:
    """The distinct observations of a run, numbered as they come. Fill it cell by cell with ``read``."""

    def __init__(self) -> None:
        self.distinct: list[dict[str, Any]] = []
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._by_text: dict[str, int] = {}

    def read(self, journal: Path) -> Seen:
        """Read a journal; one that is not there is empty. The first observation of a probe stands, as in the judge."""
        try:
            data = journal.read_bytes()
        except OSError:
            return Seen()
        times: dict[str, int] = {}
        numbers: dict[str, int] = {}
        for line in data.split(b"\n"):
            found = self._quick(line) or self._slow(line)
            if found is not None:
                probe, spent, number = found
                if number != _NONE and probe not in numbers:
                    numbers[probe] = number
                    if 0 < spent < _LONGEST:
                        times[probe] = spent
        return Seen(times, numbers)

    def _quick(self, line: bytes) -> tuple[str, int, int] | None:
        match = _LINE.fullmatch(line)
        if match is None:
            return None
        probe, shape, spent, rest = match.groups()
        number = self._numbers.get((shape, rest))
        if number is None:
            # A second "probe" further on would be another probe's to a parser: such a line takes the slow way.
            if b'"probe"' in rest:
                return None
            number = self._add(parse_line(line), line)
            self._numbers[shape, rest] = number
        return probe.decode("ascii"), int(spent), number

    def _slow(self, line: bytes) -> tuple[str, int, int] | None:
        if not _IS_OBSERVATION.search(line):
            return None
        record = parse_line(line)
        if not isinstance(record, Observation):
            return None
        return record.probe, record.microseconds, self._add(record, line)

    def _add(self, record: object, line: bytes) -> int:
        if not isinstance(record, Observation):
            return _NONE
        facts = json.loads(line)
        kept = {name: facts[name] for name in ("layout", "unit", "control", "sealed")}
        number = self._by_text.setdefault(json.dumps(kept, sort_keys=True), len(self.distinct))
        if number == len(self.distinct):
            self.distinct.append(kept)
        return number
