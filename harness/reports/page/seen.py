"""Journals read quickly for the page: each distinct observation once, however many cells made it.

A nightly run holds a hundred thousand observations, of which some thousand differ. A line is taken apart by its fixed
beginning; what follows the probe's name and time is looked up as bytes, and only what is new goes through the parser.
"""

from __future__ import annotations

import json
import re
from array import array
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness.errors import UsageError
from harness.model.json_text import parse_json
from harness.observations.journal import journal_lines
from harness.observations.model import Observation
from harness.observations.stream import parse_line

# As the C payload writes it. An observation in any other form takes the slow way, with the same result.
_BEGIN = re.compile(
    rb'\{"type":"observation","probe":"([!#-\[\]-~]{1,200})",("layout":"\w+","unit":\d+),'
    rb'"microseconds":(0|[1-9]\d{0,9}),'
)
_WORD = b'"observation"'
# Microseconds no probe can have taken: an hour.
_LONGEST = 3_600_000_000
NONE = -1


class Sightings:
    """The distinct observations of a run, numbered as they come, and which of them each cell made."""

    def __init__(self) -> None:
        self.distinct: list[dict[str, Any]] = []
        self._numbers: dict[tuple[bytes, bytes], int] = {}
        self._by_text: dict[str, int] = {}
        self._places: dict[str, int] = {}
        self._cells: dict[str, array[int]] = {}

    def read(self, cell: str, journal: Path) -> Mapping[str, int]:
        """Take a cell's journal in; one that is not there is empty. Returns each probe's microseconds.

        The first observation of a probe stands, as it does for the judge.
        """
        try:
            lines = [line.data for line in journal_lines(journal) if not line.wrong]
        except UsageError:
            lines = []
        found = [self._observation(line) for line in lines if _WORD in line]
        first = {probe: (spent, number) for probe, spent, number in reversed(found) if number != NONE}
        numbers = {probe: number for probe, (_, number) in first.items()}
        for probe in numbers:
            self._places.setdefault(probe, len(self._places))
        # Kept as a plain row of numbers: a thousand cells of dictionaries would not fit.
        self._cells[cell] = array("i", [numbers.get(probe, NONE) for probe in self._places])
        return {probe: spent for probe, (spent, _) in first.items() if 0 < spent < _LONGEST}

    def of(self, cells: Sequence[str], probes: Sequence[str]) -> list[list[int]]:
        """The numbers of each cell's observations of these probes; -1 where there is none."""
        last = len(self._places)
        places = [self._places.get(probe, last) for probe in probes]
        found = []
        for cell in cells:
            kept = self._cells.get(cell, array("i"))
            row = [*kept, *[NONE] * (last + 1 - len(kept))]
            found.append([row[place] for place in places])
        return found

    def _observation(self, line: bytes) -> tuple[str, int, int]:
        """The probe, microseconds and number of a line; the number is -1 where it is no observation."""
        begin = _BEGIN.match(line)
        if begin is None:
            return self._slow(line)
        probe, frame, spent = begin.groups()
        key = frame, line[begin.end() :]
        if (number := self._numbers.get(key)) is None:
            number = self._numbers[key] = self._slow(line)[2]
        return probe.decode("ascii"), int(spent), number

    def _slow(self, line: bytes) -> tuple[str, int, int]:
        record = parse_line(line)
        if not isinstance(record, Observation) or line.count(b'"probe"') > 1:
            return "", 0, NONE
        return record.probe, record.microseconds, self._add(line)

    def _add(self, line: bytes) -> int:
        facts = parse_json(line)
        kept = {name: facts[name] for name in ("layout", "unit", "control", "sealed")}
        number = self._by_text.setdefault(json.dumps(kept, sort_keys=True), len(self.distinct))
        if number == len(self.distinct):
            self.distinct.append(kept)
        return number
