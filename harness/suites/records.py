"""What a cell's journal keeps of suites: the output of each program, byte for byte, and how it ended.

It is read by the parser whenever the cell is judged, so that a better parser reads old runs better.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from harness.suites.model import Chunk

BEGIN, OUTPUT, EXIT = "suite-begin", "suite-output", "suite-exit"
# Surrogates that no byte comes to.
_ODD = re.compile("[\ud800-\udc7f\udd00-\udfff]")
KEPT = 4 << 20
"""Bytes of one program's output that are kept."""


@dataclass
class ProgramRun:
    """One program that began. ``ended`` once its exit is known; ``cut`` says that more was written than is kept."""

    ident: str
    chunks: list[Chunk] = field(default_factory=list)
    ended: bool = False
    status: int | None = None
    signal: int | None = None
    seconds: float = 0.0
    limit: float = 0.0
    cut: bool = False

    @property
    def late(self) -> bool:
        """Whether it was ended at its deadline: what ran it ends by SIGALRM then."""
        return self.ended and self.signal == 14 and self.limit > 0 and self.seconds >= self.limit


def output_note(ident: str, stream: str, seconds: float, data: bytes) -> dict[str, Any]:
    """A piece of output as plain data. Bytes that are no UTF-8 come back as they were."""
    text = data.decode("utf-8", "surrogateescape")
    return {"program": ident, "stream": stream, "seconds": round(seconds, 4), "text": text}


def _bytes(text: str) -> bytes:
    return _ODD.sub("?", text).encode("utf-8", "surrogateescape")


def programs_run(notes: Iterable[Mapping[str, object]]) -> Mapping[str, ProgramRun]:
    """The programs of a journal's notes, by their ids. What is no note of ours is passed over."""
    runs: dict[str, ProgramRun] = {}
    for note in notes:
        match note:
            case {"type": "harness-suite-begin", "program": str(ident), "limit": int() | float() as limit}:
                runs[ident] = ProgramRun(ident, limit=limit)
            case {
                "type": "harness-suite-output",
                "program": str(ident),
                "stream": str(stream),
                "seconds": int() | float() as seconds,
                "text": str(text),
            } if ident in runs:
                runs[ident].chunks.append(Chunk(seconds, stream, _bytes(text)))
            case {
                "type": "harness-suite-exit",
                "program": str(ident),
                "status": int() | None as status,
                "signal": int() | None as signal,
                "seconds": int() | float() as seconds,
                "cut": bool(cut),
            } if ident in runs:
                run = runs[ident]
                run.ended, run.status, run.signal, run.seconds, run.cut = True, status, signal, seconds, cut
    return runs
