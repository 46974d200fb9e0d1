"""Crashes of a run: one mishap is one finding, wherever and however often it was reported."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from harness.guests.console import fingerprint
from harness.model.run_record import CellRecord, CrashRecord
from harness.runs.model import RunDone
from harness.runs.symbols import frames


@dataclass(frozen=True)
class SharedCrash:
    """Reports with the same stack; the first of them stands for all. ``seen`` are the cells with their reports."""

    id: str
    seen: tuple[tuple[CellRecord, CrashRecord], ...]

    @property
    def first(self) -> CrashRecord:
        """The first report."""
        return self.seen[0][1]

    @property
    def where(self) -> str:
        """``file:line`` where the symbols tell it, else function+offset; "" for a report without a stack."""
        for _, crash in self.seen:
            if crash.places:
                frame, _, place = crash.places[0].partition(" ")
                return f"{place} ({frame.partition('/')[0]})"
        return next((frame.partition("/")[0] for frame in frames(self.first.lines)), "")


def crash_id(crash: CrashRecord) -> str:
    """A name for a mishap: the same for every report with the same stack, on any build."""
    words = "\n".join((crash.kind, *fingerprint(crash.title, crash.lines)))
    return hashlib.sha256(words.encode("utf-8", "backslashreplace")).hexdigest()[:12]


def shared_crashes(cells: Iterable[CellRecord]) -> tuple[SharedCrash, ...]:
    """What kernels reported, each mishap once, in the order of the cells."""
    alike: dict[str, list[tuple[CellRecord, CrashRecord]]] = {}
    for cell in cells:
        for crash in cell.crashes:
            alike.setdefault(crash_id(crash), []).append((cell, crash))
    return tuple(SharedCrash(name, tuple(seen)) for name, seen in alike.items())


def crashes_json(done: RunDone) -> list[dict[str, Any]]:
    """The same as plain data, as ``docs/reference/verdicts.schema.json`` says."""
    return [
        {
            "id": one.id,
            "kind": one.first.kind,
            "title": one.first.title,
            "fatal": one.first.fatal,
            "where": one.where,
            "places": list(one.first.places),
            "cells": list(dict.fromkeys(cell.id for cell, _ in one.seen)),
            "probes": list(dict.fromkeys(p for _, c in one.seen for p in (c.during, *c.also) if p)),
            "reports": len(one.seen),
        }
        for one in shared_crashes(done.record.cells)
    ]
