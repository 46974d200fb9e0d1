"""The lines of a console: cleaned, with the marks that say which probes run, and what the kernel dropped. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

_MAX_LINE = 1000
_MARK = re.compile(
    r"sealmatrix: (?:begin (?P<probe>\S+)(?: and (?P<more>\d+) more)?(?: in lane (?P<lane>\d+))?|end)\s*$"
)
_STAMP = re.compile(r"(?:<\d+>)?\[ *\d+\.\d{6}\](?:\[ *[TC]\d+[^\]]{0,32}\])? ?")
_GLUED = re.compile(r"(?<=.)(?=\[ *\d+\.\d{6}\])")
_CONTROL = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|c)?|[^\t\x20-\x7e\u00a1-\uffff]")
DROPPED = re.compile(r"\*\* \d+ printk messages? dropped \*\*")  # kernel/printk/: the console was too slow
DROPPED_WORDS = "the kernel dropped messages while something ran, and a report may have been among them"


def clean(line: str) -> str:
    """Return one console line as text: no time stamp, no escape sequences, no control characters."""
    return _STAMP.sub("", _CONTROL.sub("", line[:_MAX_LINE]), count=1).rstrip()


def messages(text: str) -> Iterator[tuple[int, str]]:
    """Yield (1-based line number, message) for every message of a console, glued lines taken apart."""
    for number, line in enumerate(text.split("\n"), start=1):
        for piece in _GLUED.split(line[: 16 * _MAX_LINE]):
            message = clean(piece)
            if message:
                yield number, message


def last_lines(text: str, count: int = 10) -> tuple[str, ...]:
    """Return the last messages of a console, cleaned, oldest first: what a person sees of a guest that hangs."""
    return tuple(message for _, message in messages(text))[-count:]


class Running:
    """The probes that run at some place of a console, as far as its marks tell."""

    def __init__(self, planned: Sequence[str] = ()) -> None:
        self.planned = planned
        self.by_lane: dict[int | None, tuple[str, ...]] = {}
        self._places = {probe: place for place, probe in enumerate(planned)}

    def take(self, message: str) -> bool:
        """Whether a message is a mark. A probe without a lane runs alone."""
        mark = _MARK.match(message)
        if mark is None:
            return False
        lane = int(mark["lane"]) if mark["lane"] else None
        if lane is None or None in self.by_lane:
            self.by_lane.clear()
        if probe := mark["probe"]:
            place, more = self._places.get(probe), int(mark["more"] or 0)
            self.by_lane[lane] = (probe,) if place is None else tuple(self.planned[place : place + more + 1])
        return True

    @property
    def probes(self) -> tuple[str, ...]:
        """All of them, lane by lane."""
        return tuple(probe for running in self.by_lane.values() for probe in running)


def dropped(text: str, planned: Sequence[str] = ()) -> str:
    """Say that the kernel dropped messages after the first mark, or where that of what ``planned`` begins with may have
    been among them; "" when it did not. What was dropped while it booted is the boot's own."""
    if not DROPPED.search(text):
        return ""
    running = Running(planned)
    begun, before, wanted = False, False, planned[:1]
    for _, message in messages(text):
        if running.take(message):
            begun = True
            wanted = () if wanted and wanted[0] in running.probes else wanted
        elif DROPPED.search(message):
            if begun:
                return DROPPED_WORDS
            before = True
    return DROPPED_WORDS if before and wanted else ""
