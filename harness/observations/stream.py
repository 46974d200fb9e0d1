"""The stream's parser: bytes in, records out; hostile bytes come out as ``Garbage``, never as an exception."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Annotated, NamedTuple

from pydantic import Field, TypeAdapter, ValidationError

from harness.observations.model import Garbage, Half, Observation, Record

# The longest line we produce is a plan of some thousand ids (about 200 KB).
MAX_LINE = 4 * 1024 * 1024
_EXCERPT = 120
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])
_HALF = TypeAdapter(Half)
# How the C payload begins an observation. Its halves follow, the control's first.
_BEGIN = re.compile(
    rb'\{"type":"observation","probe":"([!#-\[\]-~]{1,200})","layout":"(\w{1,64})","unit":([1-9]\d{0,15}),'
    rb'"microseconds":(0|[1-9]\d{0,15}),"control":'
)
_LONGEST_KEPT = 8192


def printable(data: bytes) -> str:
    """An excerpt that is safe in a terminal, in XML and in JSON."""
    text = data[:_EXCERPT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text) + ("…" if len(data) > _EXCERPT else "")


def parse_line(line: bytes, offset: int = 0) -> Record | Garbage:
    """Read one line without its newline. ``offset`` is only kept for the reader of a ``Garbage``."""
    try:
        return _observation(line) or _RECORD.validate_json(line)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Garbage(offset, printable(line), f"{place}: {first['msg']}" if place else first["msg"])


def _observation(line: bytes) -> Observation | None:
    """Read an observation that is written as the C payload writes it; None for every other line.

    What is told of thousands of probes is of some hundred kinds, each of which is read once.
    """
    begin = _BEGIN.match(line)
    if begin is None or len(line) > _LONGEST_KEPT:
        return None
    probe, layout, unit, microseconds = begin.groups()
    seen = _seen(layout, unit, line[begin.end() :])
    return seen and seen.of(probe.decode(), int(microseconds))


@lru_cache(maxsize=8192)
def _seen(layout: bytes, unit: bytes, halves: bytes) -> Observation | None:
    """An observation of no probe. ``halves`` is cut where the second begins: if both parts are JSON objects, it cannot
    be read in another way."""
    first, _, second = halves.removesuffix(b"}").partition(b',"sealed":')
    control, sealed = _half(first), _half(second)
    if control is None or sealed is None or not halves.endswith(b"}}"):
        return None
    try:
        return Observation("", layout.decode(), int(unit), 0, control, sealed)
    except ValidationError:  # whoever reads the whole line can say what is wrong
        return None


@lru_cache(maxsize=8192)
def _half(text: bytes) -> Half | None:
    try:
        return _HALF.validate_json(text)
    except ValidationError:
        return None


class StreamLine(NamedTuple):
    """One line without its newline, and where it begins. ``wrong`` says why it is not whole, "" where it is."""

    data: bytes
    offset: int
    wrong: str = ""

    @property
    def record(self) -> Record | Garbage:
        """What it says. Parsing costs more than all the rest: whoever needs few records looks at ``data`` first."""
        if self.wrong:
            return Garbage(self.offset, printable(self.data), self.wrong)
        return parse_line(self.data, self.offset)


class LineCutter:
    """Cuts a byte stream into lines as it arrives. Holds at most one line of ``MAX_LINE`` bytes."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._offset = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[StreamLine]:
        """Yield every line completed by ``data``. Empty lines are passed over."""
        *ends, rest = data.split(b"\n")
        for end in ends:
            line = bytes(self._rest + end) if self._rest else end
            self._rest.clear()
            if len(line) > MAX_LINE and not self._skipping:
                yield self._endless(line)
            elif line.strip() and not self._skipping:
                yield StreamLine(line, self._offset)
            self._skipping = False
            self._offset += len(line) + 1
        self._rest += rest
        if len(self._rest) > MAX_LINE:
            if not self._skipping:
                yield self._endless(self._rest)
            self._skipping = True
            self._offset += len(self._rest)
            self._rest.clear()

    def _endless(self, line: bytes | bytearray) -> StreamLine:
        return StreamLine(bytes(line[: _EXCERPT + 1]), self._offset, f"a line of more than {MAX_LINE} bytes")

    def close(self) -> Iterator[StreamLine]:
        """The stream has ended: a line without its newline was cut off, and a cut-off line is no record."""
        line = bytes(self._rest)
        self._rest.clear()
        if line.strip() and not self._skipping:
            yield StreamLine(line, self._offset, "the stream ended inside a line")


class StreamParser:
    """Cuts a byte stream into lines with their records as it arrives."""

    def __init__(self) -> None:
        self.began = 0  # where the line that was yielded last begins
        self._cutter = LineCutter()

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Record | Garbage]]:
        """Yield (line, record) for every line completed by ``data``."""
        for line in self._cutter.feed(data):
            self.began = line.offset
            yield line.data, line.record

    def close(self) -> Iterator[tuple[bytes, Record | Garbage]]:
        """The stream has ended; what it ended within is garbage."""
        for line in self._cutter.close():
            yield line.data, line.record
