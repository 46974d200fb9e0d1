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

from harness.observations.model import Observation
from harness.observations.stream import parse_line

# As the C payload writes it. A line in any other form takes the slow way, with the same result.
_BEGIN = re.compile(
    rb'\{"type":"observation","probe":"([!#-\[\]-~]{1,200})",("layout":"\w+","unit":\d+),"microseconds":(\d{1,10}),'
)
_IS_OBSERVATION = re.compile(rb'"type"\s*:\s*"observation"')
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
            data = journal.read_bytes()
        except OSError:
            data = b""
        times: dict[str, int] = {}
        numbers: dict[str, int] = {}
        for line in data.split(b"\n"):
            if match := _BEGIN.match(line):
                name, shape, spent = match.groups()
                number = self._numbers.get((shape, line[match.end() :]))
                if number is None:
                    number = self._new(line, match)
                probe, microseconds = name.decode("ascii"), int(spent)
            else:
                probe, microseconds, number = self._slow(line)
            if number != NONE and numbers.setdefault(probe, number) == number and 0 < microseconds < _LONGEST:
                times.setdefault(probe, microseconds)
        # Kept as a plain row of numbers: a thousand cells of dictionaries would not fit.
        for probe in numbers:
            self._places.setdefault(probe, len(self._places))
        self._cells[cell] = array("i", [numbers.get(probe, NONE) for probe in self._places])
        return times

    def of(self, cell: str, probes: Sequence[str]) -> list[int]:
        """The numbers of a cell's observations of these probes; -1 where there is none."""
        kept = self._cells.get(cell, array("i"))
        places = [self._places.get(probe, len(kept)) for probe in probes]
        return [kept[place] if place < len(kept) else NONE for place in places]

    def _new(self, line: bytes, match: re.Match[bytes]) -> int:
        """Number what follows a probe's name and time for the first time."""
        rest = line[match.end() :]
        record = parse_line(line)
        # A second "probe" further on would be another probe's to the parser.
        if not isinstance(record, Observation) or record.probe.encode() != match[1] or b'"probe"' in rest:
            return NONE
        number = self._numbers[match[2], rest] = self._add(line)
        return number

    def _slow(self, line: bytes) -> tuple[str, int, int]:
        record = parse_line(line) if _IS_OBSERVATION.search(line) else None
        if not isinstance(record, Observation):
            return "", 0, NONE
        return record.probe, record.microseconds, self._add(line)

    def _add(self, line: bytes) -> int:
        facts = json.loads(line)
        kept = {name: facts[name] for name in ("layout", "unit", "control", "sealed")}
        number = self._by_text.setdefault(json.dumps(kept, sort_keys=True), len(self.distinct))
        if number == len(self.distinct):
            self.distinct.append(kept)
        return number
