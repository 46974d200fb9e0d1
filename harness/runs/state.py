"""How a cell ended: decided here and nowhere else, for a run that just ended and for one that lies on disk.

Reports and everything else that reads runs ask ``CellRecord.clean`` and tell ``CellRecord.trouble``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from harness.guests.console import Crash
from harness.observations.journal import Journalled
from harness.runs.record import CellRecord, CellState


def ended(lost: str, crashes: Iterable[Crash], planned: Collection[str]) -> tuple[CellState, str]:
    """The state of a cell that was run to its end, and why it is not clean ("" when it is).

    ``lost`` says why its stream is not whole. A crash that the console reports while no planned probe ran is told by no
    verdict: then it is the cell that crashed, however good its answers look.
    """
    if lost:
        return "lost", lost
    asked = set(planned)
    unplaced = next((crash for crash in crashes if crash.fatal and asked.isdisjoint(crash.suspects)), None)
    if unplaced is not None:
        return "crashed", f"{unplaced.title}, while no probe ran"
    return "finished", ""


def as_stored(record: CellRecord, journalled: Journalled | None, planned: Collection[str]) -> CellRecord:
    """A cell's record as its journal bears it out: nothing that lies on disk makes a cell better than that."""
    if not record.clean:
        return record
    crashes = [Crash(**crash.model_dump()) for crash in record.crashes]
    state, reason = ended(_broken_off(record, journalled), crashes, planned)
    return record.model_copy(update={"state": state, "reason": reason})


def _broken_off(record: CellRecord, journalled: Journalled | None) -> str:
    """Why the journal of a cell that is recorded as finished is not whole, "" when it is."""
    if journalled is None:
        return "its journal is not there"
    if lost := [note for note in journalled.notes if note.get("type") == "harness-lost"]:
        return str(lost[-1].get("reason") or "the journal says that the guest was lost")
    if journalled.plan is None:
        return "the journal has no plan"
    # Where other guests took over the rest, the first one was ended before it could say that it was done.
    if not journalled.ended and not record.helpers:
        return "the stream ended without saying that it was whole"
    return ""
