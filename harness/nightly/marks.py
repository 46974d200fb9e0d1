"""``nightly.json``: what `sealmatrix nightly` made of a run, and how far it came. Written whole, by rename."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from harness.errors import UsageError
from harness.model.atomic_files import write_text
from harness.model.json_text import parse_json
from harness.names import Identifier
from harness.runs.run_store import NIGHTLY, nightly_folders

NightState = Literal["running", "done", "given up"]


class GrownCost(BaseModel):
    """Growth of a cost that a night told of: ``here`` and ``there`` are the sha256 of the images of the kernel that has
    it and of the one it was compared with, which ``cells`` had in the night ``run``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    rule: str
    arch: str
    here: str
    there: str
    run: Identifier
    cells: tuple[str, ...]


class NightRecord(BaseModel):
    """A night. ``before`` is the run it was compared with, "" for none; ``same`` that nothing at all was new.

    ``cells`` counts all cells, ``taken`` those whose answers are of earlier runs, ``sampled`` those of them that ran
    all the same, ``repeated`` those that ran twice because they had failed. ``alarms`` tell where a sample contradicted
    what was taken, ``news`` is what the night ended with, ``sent`` the messages that went out. ``drawn`` is when a
    sample was drawn last, ``checked`` when a later night found nothing new since this one, ``judged_by`` the code
    that judged.
    ``costs`` tells which costs had been counted when it ended (None in nights of versions that did not write it), and
    ``grown`` which growth was told by then, of kernels that are still asked.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    schema_version: Literal[1] = 1
    state: NightState
    selection: str
    reason: str = ""
    before: Identifier | Literal[""] = ""
    same: bool = False
    seconds: float = 0.0
    cells: int = 0
    taken: int = 0
    sampled: tuple[str, ...] = ()
    repeated: tuple[str, ...] = ()
    kernels: tuple[str, ...] = ()
    alarms: tuple[str, ...] = ()
    regressions: tuple[int, ...] = ()
    news: tuple[str, ...] = ()
    sent: tuple[str, ...] = ()
    drawn: str = ""
    checked: str = ""
    judged_by: str = ""
    costs: str | None = None
    grown: tuple[GrownCost, ...] = ()


def write_mark(folder: Path, mark: NightRecord) -> None:
    """Say how far a night came. Raises ``StoreError``."""
    write_text(folder / NIGHTLY, mark.model_dump_json(indent=1) + "\n")


def read_mark(folder: Path) -> NightRecord:
    """Read ``nightly.json``. Raises ``UsageError`` with one line for one that cannot be read."""
    path = folder / NIGHTLY
    try:
        return NightRecord.model_validate(parse_json(path.read_bytes()))
    except ValidationError as problem:
        first = problem.errors(include_url=False, include_input=False)[0]
        raise UsageError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from problem
    except (OSError, ValueError) as problem:
        raise UsageError(f"{path}: cannot be read: {problem}") from problem


def news_of(folder: Path) -> tuple[str, ...]:
    """The lines with which a night ended; none for a run that is no night. Raises ``UsageError`` as ``read_mark``."""
    return read_mark(folder).news if (folder / NIGHTLY).is_file() else ()


def nights(results: Path, selection: str) -> Iterator[tuple[Path, NightRecord]]:
    """The nights of a selection, newest first."""
    for folder in reversed(nightly_folders(results)):
        mark = read_mark(folder)
        if mark.selection == selection:
            yield folder, mark


def ended_nights(results: Path, selection: str, but: str) -> Iterator[Path]:
    """The nights of a selection that came to their end, newest first, of those before the one called ``but``."""
    return (folder for folder, mark in nights(results, selection) if mark.state == "done" and folder.name < but)
