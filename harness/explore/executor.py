"""Programs into a guest and facts out of it: the one part of this room that does I/O, through the ``Guest`` seam."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.errors import LostGuest
from harness.explore.wire import ProgramFacts, Reader, WireError, decode, encode_batch, shape_of
from harness.guests.model import Exited, Guest, Output
from harness.model.json_text import parse_json

CHUNK = 32
DEADLINE_MS = 20_000


@dataclass(frozen=True)
class BatchPlan:
    """What the guest says of itself before a batch."""

    lanes: int
    page_size: int
    procmap_query: bool
    keys: bool
    mseal: int


class Executor:
    """Runs batches in a guest that has booted. ``payload`` is the C payload's ELF."""

    def __init__(self, guest: Guest, payload: bytes, *, deadline_ms: int = DEADLINE_MS) -> None:
        self._guest, self._deadline_ms = guest, deadline_ms
        self._program = guest.push("payload", payload)
        self._batches = 0
        self.plan: BatchPlan | None = None
        self.pairs: Mapping[int, Sequence[tuple[int, int]]] = {}

    def run(
        self, programs: Sequence[bytes], *, chunk: int = CHUNK, seen: bytes = b""
    ) -> Iterator[tuple[int, ProgramFacts]]:
        """Run encoded programs; yields (index, facts) as they come, each program once, in no order.

        With ``seen`` (``ReachedCode.seen``) the programs' coverage is gathered, too: afterwards ``pairs`` has what was
        not known, by index. Raises ``LostGuest``: also when the payload ends without having told of all of them.
        """
        shapes = [shape_of(program) for program in programs]
        self._batches += 1
        path = self._guest.push(
            f"batch-{self._batches % 2}", encode_batch(programs, chunk=chunk, deadline_ms=self._deadline_ms), 0o600
        )
        known = ["--seen", self._guest.push("seen", seen, 0o600)] if seen else []
        reader, told, complaints = Reader(shapes), set[int](), b""
        self.pairs = reader.pairs
        for event in self._guest.run([self._program, "--explore", path, *known]):
            match event:
                case Output("out", data):
                    try:
                        found = [decode(record, shapes[index]) for index, record in reader.feed(data)]
                    except WireError as problem:
                        raise LostGuest(f"the payload's records are damaged: {problem}") from problem
                    if self.plan is None and reader.plan is not None:
                        self.plan = _plan(reader.plan)
                    for index, facts in found:
                        if index in told:
                            raise LostGuest(f"the payload told of program {index} twice")
                        told.add(index)
                        yield index, facts
                case Output(_, data):
                    complaints = (complaints + data)[-2000:]
                case Exited(status, signal):
                    if status != 0 or not reader.ended or reader.plan is None or len(told) != len(programs):
                        said = complaints.decode("utf-8", "replace").strip()
                        raise LostGuest(
                            f"the payload told of {len(told)} of {len(programs)} programs and ended with "
                            f"status {status}, signal {signal}" + (f": {said}" if said else "")
                        )


def _plan(body: bytes) -> BatchPlan:
    try:
        facts = parse_json(body)
        return BatchPlan(
            int(facts["lanes"]),
            int(facts["page_size"]),
            bool(facts["procmap_query"]),
            bool(facts["keys"]),
            int(facts["mseal"]),
        )
    except (ValueError, KeyError, TypeError, OverflowError) as problem:
        raise LostGuest(f"the payload's plan is no plan: {body[:80]!r}") from problem
