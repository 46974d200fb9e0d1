"""The stream's parser: bytes in, records out; hostile bytes come out as ``Garbage``, never as an exception."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from harness.observations.model import Garbage, Record

# The longest line we produce is a plan of some thousand ids (about 200 KB).
MAX_LINE = 4 * 1024 * 1024
_EXCERPT = 120
_RECORD: TypeAdapter[Record] = TypeAdapter(Annotated[Record, Field(discriminator="type")])


def printable(data: bytes) -> str:
    """An excerpt that is safe in a terminal, in XML and in JSON."""
    text = data[:_EXCERPT].decode("utf-8", "replace")
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text) + ("…" if len(data) > _EXCERPT else "")


def parse_line(line: bytes, offset: int = 0) -> Record | Garbage:
    """Read one line without its newline. ``offset`` is only kept for the reader of a ``Garbage``."""
    try:
        return _RECORD.validate_json(line)
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for part in first["loc"])
        return Garbage(offset, printable(line), f"{place}: {first['msg']}" if place else first["msg"])


class StreamParser:
    """Cuts a byte stream into records as it arrives. Holds at most one line of ``MAX_LINE`` bytes."""

    def __init__(self) -> None:
        self.began = 0  # where the line that was yielded last begins
        self._rest = bytearray()
        self._offset = 0
        self._skipping = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, Record | Garbage]]:
        """Yield (line, record) for every line completed by ``data``. Empty lines are passed over."""
        self._rest += data
        while (end := self._rest.find(b"\n")) >= 0:
            line = bytes(self._rest[:end])
            del self._rest[: end + 1]
            yield from self._line(line, len(line) + 1)
        if len(self._rest) > MAX_LINE:
            if not self._skipping:
                head = bytes(self._rest[: _EXCERPT + 1])
                yield head, Garbage(self._offset, printable(head), f"a line of more than {MAX_LINE} bytes")
            self._skipping = True
            self._offset += len(self._rest)
            self._rest.clear()

    def close(self) -> Iterator[tuple[bytes, Record | Garbage]]:
        """The stream has ended: a line without its newline was cut off, and a cut-off line is no record."""
        line = bytes(self._rest)
        self._rest.clear()
        if line.strip() and not self._skipping:
            yield line, Garbage(self._offset, printable(line), "the stream ended inside a line")

    def _line(self, line: bytes, length: int) -> Iterator[tuple[bytes, Record | Garbage]]:
        self.began = self._offset
        self._offset += length
        if self._skipping:
            self._skipping = False
        elif line.strip():
            yield line, parse_line(line, self.began)
