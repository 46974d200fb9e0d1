"""Which results are kept: the last nights, one a week, and every night that opened a regression. Only nights are
removed; what people ran by hand is theirs."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from harness.errors import UsageError
from harness.kernels.store import telling
from harness.model.run_record import read_run
from harness.nightly.marks import read_mark
from harness.runs.packing import pack_run
from harness.runs.run_store import nightly_folders, run_lock


@dataclass(frozen=True, kw_only=True)
class Keep:
    """The rules. ``last`` nights, then one of each week for so many ``weeks``; ``most`` bytes in all, 0 for any: the
    weekly ones go first then, oldest first, never the last ones nor those that opened a regression."""

    last: int = 14
    weeks: int = 52
    most: int = 0


@dataclass(frozen=True)
class NightOnDisk:
    """A night that came to its end. ``started`` is UTC, ISO 8601; ``size`` is in bytes."""

    folder: Path
    started: str
    size: int


def nights_on_disk(results: Path) -> tuple[NightOnDisk, ...]:
    """All that have ended, oldest first. One whose files cannot be read is left out, and so never removed."""
    found = []
    for folder in nightly_folders(results):
        try:
            if read_mark(folder).state != "running":
                size = sum(p.lstat().st_size / max(p.lstat().st_nlink, 1) for p in folder.rglob("*") if p.is_file())
                found.append(NightOnDisk(folder, read_run(folder).started, int(size)))
        except UsageError:
            continue
    return tuple(sorted(found, key=lambda night: night.started))


def to_remove(nights: Sequence[NightOnDisk], keep: Keep, opened: Collection[str]) -> tuple[NightOnDisk, ...]:
    """Which nights the rules do not keep, oldest first. Pure. ``opened`` are the runs that opened a regression."""
    last = {night.folder for night in nights[-max(keep.last, 1) :]}
    pinned = last | {night.folder for night in nights if night.folder.name in opened}
    weekly: dict[tuple[int, int], Path] = {}
    for night in nights:
        weekly.setdefault(_week(night.started), night.folder)
    weeks = list(weekly.values())[-keep.weeks :] if keep.weeks else []
    kept = [night for night in nights if night.folder in pinned or night.folder in weeks]
    if keep.most:
        room = sum(night.size for night in kept)
        for night in list(kept):
            if room > keep.most and night.folder not in pinned:
                kept.remove(night)
                room -= night.size
    return tuple(night for night in nights if night not in kept)


def _week(started: str) -> tuple[int, int]:
    year, week, _ = datetime.fromisoformat(started).isocalendar()
    return year, week


def remove(nights: Sequence[NightOnDisk]) -> int:
    """Remove nights that nobody uses; returns how many bytes that freed.

    The folder is renamed first: one that is removed in part is no run any more.
    """
    freed = 0
    for night in nights:
        gone = night.folder.with_name(f".removed-{night.folder.name}")
        with run_lock(night.folder), telling(night.folder):
            night.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)
        freed += night.size
    return freed


def sweep(results: Path) -> None:
    """Remove what an earlier removal left when it was killed."""
    for folder in results.glob(".removed-*"):
        shutil.rmtree(folder, ignore_errors=True)


def pack_kept(nights: Sequence[NightOnDisk]) -> int:
    """Pack those that stay; returns how many bytes that freed."""
    return sum(pack_run(night.folder) for night in nights)
