"""How a cell ended: decided here and nowhere else, for a run that just ended and for one that lies on disk.

Reports and everything else that reads runs ask ``CellRecord.clean`` and tell ``CellRecord.trouble``.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from harness.errors import StoreError
from harness.explore.record import EXPLORATION
from harness.guests.bounds import TOO_LONG, beginning_of
from harness.guests.console import Crash, find_crashes
from harness.guests.console_lines import dropped
from harness.kernels.store import file_sha256, telling
from harness.model.architectures import arch_called
from harness.model.run_record import CellRecord, CellState
from harness.model.stored_files import is_stored, stored_sha256
from harness.observations.collector import Journalled
from harness.observations.journal import read_plan_of
from harness.observations.stream import printable
from harness.runs.model import JOURNAL, SECOND_JOURNAL
from harness.suites.records import programs_run

CONSOLE = "console.log"


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


def crashes_told(folder: Path, record: CellRecord, journalled: Journalled | None) -> tuple[tuple[Crash, ...], str]:
    """What the consoles in a cell's folder report, and what its record has beside that: neither hides the other.

    The second is why they are no answer, "" when they are: nobody looks at more than so much of a console, and the
    kernel may have dropped some of it.
    """
    found: list[Crash] = []
    unsure = ""
    for place in (folder, *(folder / helper.folder for helper in record.helpers)):
        if is_stored(place / CONSOLE):
            beginning, whole = beginning_of(place / CONSOLE)
            text, planned = beginning.decode("utf-8", "replace"), _planned(place, folder, journalled)
            found += find_crashes(text, planned)
            marked = planned or tuple(programs_run(journalled.notes) if journalled else ())
            unsure = unsure or ("" if whole else TOO_LONG) or dropped(text, marked)
    places = {(one.title, one.line): one.places for one in record.crashes}
    found = [replace(crash, places=places.get((crash.title, crash.line), ())) for crash in found]
    recorded = [Crash(**one.model_dump()) for one in record.crashes]
    return (*found, *(one for one in recorded if not any(_covers(other, one) for other in found))), unsure


def _covers(found: Crash, recorded: Crash) -> bool:
    """Whether what was found says all that a record says. Old records do not name the line."""
    same = found.title == recorded.title and recorded.line in (0, found.line)
    return same and set(found.suspects) >= set(recorded.suspects)


def _planned(place: Path, folder: Path, journalled: Journalled | None) -> tuple[str, ...]:
    """The plan of the guest whose console lies in ``place``: its marks and the names of processes count in it."""
    plan = journalled.plan if journalled else None
    if place != folder and is_stored(place / JOURNAL):
        plan = read_plan_of(place / JOURNAL)
    return plan.probes if plan else ()


def evidence_of(folder: Path, record: CellRecord) -> dict[str, str]:
    """The sha256 of journals, consoles and exploration in a cell's folder, by their place. Raises ``StoreError``."""
    places = ["", *(f"{helper.folder}/" for helper in record.helpers)]
    names = [place + name for place in places for name in (JOURNAL, SECOND_JOURNAL, CONSOLE, EXPLORATION)]
    with telling(folder):
        return {name: _sha256(folder / name) for name in names if is_stored(folder / name)}


def _sha256(path: Path) -> str:
    return file_sha256(path) if path.is_file() else stored_sha256(path)


def altered(folder: Path, record: CellRecord) -> str:
    """Which journal or console is not what the run wrote, "" when all are, or where the run did not note that."""
    try:
        found = evidence_of(folder, record) if record.evidence else {}
    except StoreError as problem:
        return str(problem)
    for name in sorted(found.keys() | record.evidence.keys()):
        if name not in found:
            return f"its {name} is missing"
        if found[name] != record.evidence.get(name):
            return f"its {name} is not what the run wrote"
    return ""


def as_stored(
    record: CellRecord,
    journalled: Journalled | None,
    second: Journalled | None,
    planned: Collection[str],
    payload_id: str,
    no_answer: str,
) -> CellRecord:
    """A cell's record as its journals bear it out: nothing that lies on disk makes a cell better than that.

    ``no_answer`` is what is wrong with its files.
    """
    if not record.clean:
        return record
    crashes = [Crash(**crash.model_dump()) for crash in record.crashes]
    asked = {*planned, *(journalled.plan.probes if journalled and journalled.plan else ())}
    state, reason = ended(no_answer or _broken_off(record, journalled, second, payload_id), crashes, asked)
    return record.model_copy(update={"state": state, "reason": reason})


def _broken_off(record: CellRecord, journalled: Journalled | None, second: Journalled | None, payload_id: str) -> str:
    """Why the journals of a cell that is recorded as finished are not whole, "" when they are."""
    if journalled is None:
        return "its journal is missing"
    if lost := [note for note in journalled.notes if note.get("type") == "harness-lost"]:
        return str(lost[-1].get("reason") or "the journal says that the guest was lost")
    if len({n.get("guest") for n in journalled.notes if n.get("type") == "harness-guest"}) > len(record.helpers):
        return "its journal has what a further guest saw, and its record knows of none"
    if (lacks := journalled.lacks()) and not (journalled.plan is None and programs_run(journalled.notes)):
        return f"its journal is incomplete: {lacks}"
    if journalled.plan is not None and journalled.plan.id != payload_id:
        said = printable(journalled.plan.id.encode())
        return f"the payload reports id {said}, but the run used {payload_id}"
    if record.exit_signal is not None or record.exit_status:
        how = f"status {record.exit_status}" if record.exit_signal is None else f"signal {record.exit_signal}"
        return f"the payload ended with {how}"
    if record.second_sha256 and second is None:
        return "its crosscheck journal is missing"
    if record.second_sha256 and second is not None and (lacks := second.lacks()):
        return f"its crosscheck journal is incomplete: {lacks}"
    return other_machine(record, journalled)


def other_machine(record: CellRecord, journalled: Journalled | None) -> str:
    """How the machine that a payload says it ran on differs from the one that came up, "" where it does not."""
    plan, machine = journalled.plan if journalled else None, record.machine
    if plan is None or machine is None or not machine.release:
        return ""
    for what, said, was in (
        ("kernel", plan.release, machine.release),
        ("architecture", arch_called(plan.machine), record.arch),
        ("page size", str(plan.page_size), str(machine.page_size)),
    ):
        if said != was:
            return f"the payload reports the {what} {printable(said.encode())}, but the machine booted with {was}"
    return ""
