"""Exploring a cell: generated programs in a guest of the cell's kernel, kept beside what its payload said."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

from harness.errors import InfrastructureError, LostGuest
from harness.explore.corpus import load_corpus
from harness.explore.exploration import Exploration
from harness.explore.keep import keep_exploration
from harness.explore.session import Explorer
from harness.explore.source import ProgramSource
from harness.guests.model import Guest
from harness.kernels.model import Kernel
from harness.kernels.store import telling
from harness.model.run_record import ExploreRecord
from harness.model.verdict import INTERRUPTED
from harness.runs.model import Cell


class CellExplorer:
    """Explores one cell from one thread; ``interrupt`` may be called from others. ``another`` makes a guest of the
    cell's kernel that has its files in a folder."""

    def __init__(
        self, cell: Cell, asked: ExploreRecord, payload: bytes, folder: Path, another: Callable[[Path], Guest]
    ) -> None:
        self._cell, self._asked, self._payload, self._folder = cell, asked, payload, folder
        self._another = another
        self._interrupted = threading.Event()
        self._live: Guest | None = None

    def interrupt(self) -> None:
        """End the guest now; ``run`` then returns."""
        self._interrupted.set()
        live = self._live
        if live is not None:
            live.stop()

    def run(self, on_progress: Callable[[str], None]) -> None:
        """Explore, and keep what came of it. Raises ``StoreError`` only."""
        outcome = Exploration(self._asked.seed, arch=self._cell.arch)
        explorer = Explorer(lambda: self._boot(outcome), self._payload, on_progress)
        corpus = [kept.program for kept in load_corpus()]
        try:
            explorer.explore(ProgramSource(self._asked.seed), self._asked.seconds, outcome, corpus)
        except InfrastructureError as problem:
            outcome.lost = str(problem)
        finally:
            explorer.stop()
        if self._interrupted.is_set():
            outcome.lost = INTERRUPTED
        keep_exploration(self._folder, outcome)

    def _boot(self, outcome: Exploration) -> Guest:
        folder = self._folder / "exploration"
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
        guest = self._another(folder)
        self._live = guest
        if self._interrupted.is_set():
            guest.stop()
            raise LostGuest(INTERRUPTED)
        outcome.release = guest.boot().release
        kernel = self._cell.kernel
        outcome.upstream = kernel.version if isinstance(kernel, Kernel) else ""
        return guest
