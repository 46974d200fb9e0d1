"""Output in pieces to lines of text with their times. Any bytes are valid input, and little of a flood is kept."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from harness.suites.model import Chunk

MAX_LINES = 100_000
MAX_LINE = 4096
# Kernel logs carry a time stamp before each line, and programs colour what they print.
_STAMP = re.compile(r"^\[ *\d+\.\d{6}\] ?")
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


@dataclass(frozen=True)
class Line:
    """A line, which ended so many seconds after the program began."""

    seconds: float
    text: str


def lines_of(chunks: Iterable[Chunk]) -> Iterator[Line]:
    """Yield at most ``MAX_LINES`` lines and one more, in the order in which they ended; both streams have their own."""
    rest: dict[str, bytes] = {}
    seconds, count = 0.0, 0
    for chunk in chunks:
        seconds = chunk.seconds
        *whole, last = (rest.get(chunk.stream, b"") + chunk.data).split(b"\n")
        rest[chunk.stream] = last[: MAX_LINE + 1]
        for line in whole:
            yield Line(seconds, _text(line))
            count += 1
            if count > MAX_LINES:
                return
    yield from (Line(seconds, _text(line)) for line in rest.values() if line)


def _text(line: bytes) -> str:
    text = _COLOUR.sub("", line[:MAX_LINE].decode("utf-8", "backslashreplace"))
    text = _STAMP.sub("", text.rstrip("\r\n \t"), count=1)
    return "".join(c if c.isprintable() or c == "\t" else f"\\x{ord(c):02x}" for c in text)
