"""Runs that lie in a results folder: finding them, and judging them again."""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from harness.errors import StoreError, UsageError, nearest
from harness.model.json_text import parse_json
from harness.model.rule import Rule
from harness.model.run_record import RunRecord, read_run
from harness.model.stored_files import read_stored
from harness.runs.commands import runs_command
from harness.runs.judging import Question, WithSuites, judge_stored, planned_by, read_scenario, read_suites
from harness.runs.model import RunDone
from harness.verdicts.judge import assign


def new_run_id() -> str:
    """A name that sorts by time and does not collide: ``20261123-214500-3fa2``."""
    return f"{datetime.now(UTC):%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"


@contextmanager
def run_lock(folder: Path) -> Iterator[None]:
    """Hold a run's folder for one process. Raises ``UsageError`` when another one has it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as problem:
        told = f"{folder}: cannot be written: {problem.strerror}; name another folder with --results"
        raise StoreError(told) from problem
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as problem:
        os.close(fd)
        raise UsageError(f"the run in {folder} is still active (locked)") from problem
    try:
        yield
    finally:
        os.close(fd)


def run_folders(results: Path) -> list[Path]:
    """All runs in a results folder, oldest first (run ids sort by time)."""
    if not results.is_dir():
        return []
    return sorted(folder for folder in results.iterdir() if (folder / "run.json").is_file())


NIGHTLY = "nightly.json"
"""The file in a run's folder that says what `sealmatrix nightly` made of it."""
_BACK = re.compile(r"(last|nightly)(?:~(\d{1,6}))?")


def is_last(name: str) -> bool:
    """Say whether a word names a run by how far back it is: ``last``, ``last~3``, ``nightly~1``."""
    return _BACK.fullmatch(name) is not None


def nightly_folders(results: Path) -> list[Path]:
    """The runs of `sealmatrix nightly`, oldest first."""
    return [folder for folder in run_folders(results) if (folder / NIGHTLY).is_file()]


def find_run(results: Path, name: str | None) -> Path:
    """The folder of a run by id or path, the newest one for None or ``last``, for ``last~N`` the one N runs before;
    ``nightly~N`` counts only those of `sealmatrix nightly`.

    Raises ``UsageError`` when there is none.
    """
    if name is not None and (Path(name) / "run.json").is_file():
        return Path(name)
    folders = run_folders(results)
    if not folders:
        raise UsageError(f"{results} has no runs; give another folder with --results, or make one: sealmatrix run")
    if name is None:
        return folders[-1]
    if back := _BACK.fullmatch(name):
        number, what = int(back[2] or 0), "runs"
        if back[1] == "nightly":
            folders, what = nightly_folders(results), "nightly runs"
        if not folders:
            raise UsageError(
                f"{results} has no nightly run; give another folder with --results, or make one: sealmatrix nightly"
            )
        if number >= len(folders):
            raise UsageError(f"{results} holds {len(folders)} {what}; {name} is further back")
        return folders[-1 - number]
    by_id = {folder.name: folder for folder in folders}
    if name not in by_id:
        near = nearest(name, by_id, listed_by=runs_command(results))
        raise UsageError(f"there is no run {name!r} in {results}{near}")
    return by_id[name]


_SHOWN = 5


def seen_by_runs(results: Path, rule: str) -> Iterator[tuple[str, tuple[tuple[str, str, str], ...]]]:
    """What the newest runs that asked a rule saw: (run id, ((cell, status, reason), ...)), newest first.

    It is what was judged then, from ``verdicts.json``; a file that is gone or no longer whole is passed over.
    """
    shown = 0
    for folder in reversed(run_folders(results)):
        cells = tuple(_rule_in(cell / "verdicts.json", rule) for cell in sorted(folder.glob("cells/*")))
        if told := tuple(cell for cell in cells if cell):
            yield folder.name, told
            shown += 1
        if shown == _SHOWN:
            return


def _rule_in(path: Path, rule: str) -> tuple[str, str, str] | None:
    try:
        verdicts = parse_json(read_stored(path).decode())
        found = next((entry for entry in verdicts["rules"] if entry["rule"] == rule), None)
        if found is None:
            return None
        unclean = "" if verdicts["state"] == "finished" else f"the cell is {verdicts['state']}"
        return verdicts["cell"], found["status"], "; ".join(filter(None, (unclean, found["reason"])))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _all_told(folder: Path, record: RunRecord) -> None:
    """Raise ``UsageError`` where cells lie in the folder of which its record says nothing, or says two things."""
    names = [cell.id for cell in record.cells]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UsageError(f"{folder}/run.json: has two cells with the id {twice}")
    cells = folder / "cells"
    lying = {path.name for path in cells.iterdir() if path.is_dir()} if cells.is_dir() else set()
    if untold := sorted(lying - set(names)):
        raise UsageError(f"{folder}: cells/{untold[0]} exists, but run.json does not list it")


def load_run(folder: Path, catalogue: Mapping[str, Rule], only: Collection[str] | None = None) -> RunDone:
    """Read a run, or ``only`` some of its cells, and judge its observations under the catalogue at hand.

    Raises ``UsageError`` with one line for what is not a whole run, or is planned otherwise than the catalogue knows.
    """
    record = read_run(folder)
    _all_told(folder, record)
    if only is not None:
        record = record.model_copy(update={"cells": tuple(cell for cell in record.cells if cell.id in only)})
    question: Question = read_scenario(folder) or assign(catalogue, planned_by(folder, record.cells))
    if suites := read_suites(folder):
        question = WithSuites(assign(catalogue, planned_by(folder, record.cells)), suites)
    judged = [judge_stored(question, folder / "cells" / cell.id, cell, record.payload_id) for cell in record.cells]
    checked = record.model_copy(update={"cells": tuple(cell for cell, _ in judged)})
    return RunDone(folder, checked, {cell.id: results for cell, results in judged})
