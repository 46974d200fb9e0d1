"""Packing runs: what their cells left on disk takes a twentieth of the room, and every reader reads it as before."""

from __future__ import annotations

from pathlib import Path

from harness.kernels.store import telling
from harness.model.stored_files import pack
from harness.runs.model import JOURNAL, SECOND_JOURNAL
from harness.runs.run_store import run_lock

_PACKED = frozenset({JOURNAL, SECOND_JOURNAL, "console.log", "verdicts.json", "junit.xml"})


def pack_run(folder: Path) -> int:
    """Pack the cells of a run that has ended; returns how many bytes that freed.

    Raises ``StoreError``, and ``UsageError`` while the run still goes on.
    """
    with run_lock(folder), telling(folder):
        before = _size(folder)
        for part in ("cells", "sittings"):
            for path in sorted((folder / part).rglob("*")):
                if path.name in _PACKED:
                    pack(path)
        return before - _size(folder)


def _size(folder: Path) -> int:
    return sum(path.lstat().st_size for path in folder.rglob("*") if not path.is_dir())
