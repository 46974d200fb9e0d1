"""Putting runs into the history. Recording a run again replaces it, so that importing twice changes nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, delete, insert, select, update
from sqlalchemy.engine import URL

from harness.errors import SealmatrixError, UsageError
from harness.history.database import database_url, writing
from harness.history.read import Recorded, read_folder
from harness.history.tables import CellRow, ResultRow, RuleRow, RunRow
from harness.rules.load import load_catalogue


@dataclass(frozen=True)
class Imported:
    """What became of folders: ids of the runs that were kept, and one line for each folder that was not."""

    runs: tuple[str, ...]
    remarks: tuple[str, ...]


def remember(folder: Path) -> str:
    """Record a run that just ended, in the history its results folder belongs to.

    Returns "" or a remark: the run is whole without its history, which can be rebuilt, so nothing is raised.
    """
    try:
        found = import_folders(database_url(folder.parent), [folder])
    except SealmatrixError as problem:
        return f"this run is not in the history: {problem}"
    return "; ".join(found.remarks)


def import_folders(url: URL, folders: Iterable[Path], *, afresh: bool = False) -> Imported:
    """Record runs from their folders. ``afresh`` forgets everything else first. Raises as ``writing`` does."""
    kept, remarks = [], []
    catalogue = load_catalogue()
    with writing(url) as connection:
        if afresh:
            for table in (ResultRow, CellRow, RuleRow, RunRow):
                connection.execute(delete(table))
        for folder in folders:
            try:
                found = read_folder(folder, catalogue)
            except UsageError as problem:
                remarks.append(f"left out: {problem}")
                continue
            if other := _another(connection, found, folder):
                remarks.append(f"left out: {folder}: the history has another run {found.run['id']}, in {other}")
                continue
            record(connection, found)
            kept.append(found.run["id"])
    return Imported(tuple(kept), tuple(remarks))


def _another(connection: Connection, found: Recorded, folder: Path) -> str:
    """Another folder with a run of the same id that is known already and still there, "" for none.

    A run from elsewhere does not take the place of ours.
    """
    known = connection.scalar(select(RunRow.folder).where(RunRow.id == found.run["id"]))
    if not known or known == found.run["folder"] or not (Path(known) / "run.json").is_file():
        return ""
    return "" if (Path(known) / "run.json").samefile(folder / "run.json") else str(known)


def record(connection: Connection, found: Recorded) -> None:
    """Keep one run, replacing what was known of it."""
    run = found.run["id"]
    numbers = select(CellRow.number).where(CellRow.run_id == run).scalar_subquery()
    connection.execute(delete(ResultRow).where(ResultRow.cell_number.in_(numbers)))
    connection.execute(delete(CellRow).where(CellRow.run_id == run))
    connection.execute(delete(RunRow).where(RunRow.id == run))
    connection.execute(insert(RunRow), [dict(found.run)])
    if not found.cells:
        return
    connection.execute(insert(CellRow), [dict(cell) for cell in found.cells])
    numbered = select(CellRow.cell, CellRow.number).where(CellRow.run_id == run)
    cells = dict(connection.execute(numbered).all())
    rules = _rule_numbers(connection, found.rules)
    rows: list[dict[str, Any]] = [
        {"rule_number": rules[rule], "cell_number": cells[cell], **result}
        for cell, results in found.results.items()
        for rule, result in results.items()
        if rule in rules
    ]
    if rows:
        connection.execute(insert(ResultRow), rows)


def _rule_numbers(connection: Connection, rules: Mapping[str, Mapping[str, str]]) -> Mapping[str, int]:
    """The numbers of these rules; new rules get one, and a rule whose words have changed is told anew."""
    known = {row.id: row for row in connection.execute(select(RuleRow.__table__))}
    new = [{"id": name, **facts} for name, facts in rules.items() if name not in known]
    if new:
        connection.execute(insert(RuleRow), new)
    for name, facts in rules.items():
        row = known.get(name)
        if row is not None and any(getattr(row, key) != value for key, value in facts.items()):
            connection.execute(update(RuleRow).where(RuleRow.id == name).values(**facts))
    return dict(connection.execute(select(RuleRow.id, RuleRow.number)).all())
