"""A night beside the last one: only what may differ is compared."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from harness.compare.comparison import Comparison, compare_picks
from harness.compare.diff import Side, by_probe, standing
from harness.compare.sides import Picked, sides_of
from harness.explore.verdicts import is_generated
from harness.model.rule import Rule
from harness.model.run_record import CellRecord, RunRecord, read_run
from harness.model.stored_files import is_stored, read_stored
from harness.runs.cells import kernel_name, release
from harness.runs.model import JOURNAL, RunDone
from harness.runs.plan import RunPlan
from harness.runs.repeats import first_id, repeat_of
from harness.runs.run_store import load_run


@dataclass(frozen=True)
class SinceLast:
    """What a night has beside the last one: the cells that may differ compared, those that are new, and those that are
    no longer asked. ``comparison`` is None where there is nothing to compare."""

    before: RunRecord | None
    comparison: Comparison | None
    added: tuple[str, ...] = ()
    gone: tuple[str, ...] = ()


def since_last(done: RunDone, last: Path | None, catalogue: Mapping[str, Rule]) -> SinceLast:
    """Compare a night with the last one. Cells whose answers are the same, taken from one place, are not read again."""
    if last is None:
        return SinceLast(None, None)
    before = read_run(last)
    olds, news = _firsts(before), _firsts(done.record)
    common = [name for name in news if name in olds]
    same = before.catalogue_sha256 == done.record.catalogue_sha256
    again = {first_id(c.id) for r in (before, done.record) for c in r.cells if repeat_of(c.id) > 1}
    differ = [name for name in common if name in again or not (same and _identical(olds[name], news[name]))]
    comparison = None
    if differ:
        old, new = load_run(last, catalogue, _all_of(before, differ)), _only(done, differ)
        comparison = compare_picks(*(Picked(run.record.id, run, sides_of(run)) for run in (old, new)))
    return SinceLast(
        before,
        comparison,
        tuple(name for name in news if name not in olds),
        tuple(name for name in olds if name not in news),
    )


def _firsts(record: RunRecord) -> dict[str, CellRecord]:
    return {cell.id: cell for cell in record.cells if repeat_of(cell.id) == 1}


def _identical(old: CellRecord, new: CellRecord) -> bool:
    """Whether a cell's answers are, byte for byte, those that the last night had."""
    return bool(new.taken_from and new.key) and old.key == new.key and old.clean and new.clean


def only_repeats(plan: RunPlan, last: Path) -> bool:
    """Whether a run would only repeat the last night: nothing of it boots, all its answers are those of that night, and
    what that night wrote of them is still there as it was written."""
    now, before = plan.record, read_run(last)
    if plan.cells or (now.catalogue_sha256, now.payload_id, now.sealmatrix) != (
        before.catalogue_sha256,
        before.payload_id,
        before.sealmatrix,
    ):
        return False
    olds, news = _firsts(before), {one.record.id: one.record for one in plan.taken}
    same = olds.keys() == news.keys() and all(_as_before(olds[name], news[name]) for name in news)
    return same and _undamaged(last, before)


def _as_before(old: CellRecord, new: CellRecord) -> bool:
    return bool(new.key) and old.key == new.key and old.kernel == new.kernel and old.clean and new.clean


def _undamaged(folder: Path, record: RunRecord) -> bool:
    """Whether a night's reports and journals are there, and the reports as the night wrote them."""
    try:
        kept = all(sha256(read_stored(folder / name)).hexdigest() == told for name, told in record.reports.items())
    except OSError:
        return False
    journals = (folder / "cells" / cell.id / JOURNAL for cell in record.cells if cell.clean)
    return kept and bool(record.reports) and all(map(is_stored, journals))


def _all_of(record: RunRecord, names: Collection[str]) -> set[str]:
    """These cells and their repeats."""
    return {cell.id for cell in record.cells if first_id(cell.id) in names}


def _only(done: RunDone, names: Collection[str]) -> RunDone:
    kept = _all_of(done.record, names)
    record = done.record.model_copy(update={"cells": tuple(cell for cell in done.record.cells if cell.id in kept)})
    return RunDone(done.folder, record, {name: done.results[name] for name in kept if name in done.results})


def new_kernels(before: RunRecord | None, now: RunRecord) -> tuple[str, ...]:
    """Kernels that are other bytes than last night: ``debian-6.12: 6.12.107 → 6.12.117 (x86_64, arm64)``."""
    olds = _firsts(before) if before else {}
    found: dict[str, dict[str, None]] = {}
    for name, cell in _firsts(now).items():
        old = olds.get(name)
        if cell.kernel is None or (before is not None and old is not None and _bytes(old) == _bytes(cell)):
            continue
        was = _short(old) if old else ""
        moved = f"{was} → {_short(cell)}" if was and was != _short(cell) else _short(cell)
        found.setdefault(f"{kernel_name(cell)}: {moved}", {})[cell.arch] = None
    return tuple(f"{what} ({', '.join(arches)})" for what, arches in found.items())


def _bytes(cell: CellRecord) -> tuple[str, str]:
    return (cell.kernel.sha256, cell.kernel.config_sha256) if cell.kernel else ("", "")


def _short(cell: CellRecord) -> str:
    """The release without what says the architecture, which stands beside it; of a tree its commit, too."""
    commit = cell.kernel.origin.rpartition("commit ")[2] if cell.kernel and cell.kernel.origin_kind == "tree" else ""
    told = release(cell).removesuffix("-amd64").removesuffix(f"-{cell.arch}").removesuffix("-arm64")
    return f"{told} at {commit}" if commit and " " not in commit.removesuffix(" with changes") else told


def contradictions(done: RunDone, sampled: Collection[str]) -> Mapping[str, tuple[str, ...]]:
    """Where a cell of the sample answered otherwise than what was taken for it: by cell, what differs."""
    found = {}
    for side in sides_of(done):
        if side.cell in sampled and side.repeats and (told := _contradicts(side, done)):
            found[side.cell] = told
    return found


def _contradicts(side: Side, done: RunDone) -> tuple[str, ...]:
    again = next(cell for cell in done.record.cells if first_id(cell.id) == side.cell and repeat_of(cell.id) > 1)
    if not again.clean:
        return (again.trouble,)
    told = []
    for name, result in side.results.items():
        seconds = by_probe(side.repeats[0].get(name))
        for probe, verdict in by_probe(result).items():
            if is_generated(probe):
                continue  # another seed asks otherwise
            second = seconds.get(probe)
            if (standing(verdict), verdict.kind) != (standing(second), second.kind if second else None):
                told.append(f"{name} {probe}: {verdict.status}, and now {second.status if second else 'no answer'}")
    return tuple(told)
