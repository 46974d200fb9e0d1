"""Cells on this machine: guests side by side in threads, as many as there is room for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from math import inf
from pathlib import Path
from types import TracebackType
from typing import Self

from harness.errors import InfrastructureError
from harness.kernels.store import telling
from harness.model.architectures import Arch
from harness.runs.execution.cell_worker import CellOutcome, CellWorker
from harness.runs.execution.pool import Begun, Events, PoolEvent
from harness.runs.model import Cell, MakeGuest, OnProgress, ProgressEvent, Workload
from harness.runs.planning.schedule import GuestNeed, Room, available_memory, longest_first, need


class LocalPool:
    """See ``Pool``. Each guest has a thread for as long as it lives. A thread that is done with its guest starts what
    there is room for then, whatever the thread that takes the outcomes is doing: the next guest boots while the last
    one is judged.

    ``expected`` are seconds by cell; ``folder`` is where cells have theirs. No cell begins after ``until``, in seconds
    of the monotonic clock: those that wait then have no outcome.
    """

    def __init__(
        self,
        make_guest: MakeGuest,
        workloads: Mapping[Arch, Workload],
        folder: Path,
        room: Room,
        expected: Mapping[str, float],
        on_progress: OnProgress,
        free: Callable[[], int] = available_memory,
        *,
        until: float = inf,
    ) -> None:
        self._make_guest, self._workloads, self._folder = make_guest, workloads, folder
        self._room, self._expected, self._on_progress, self._free = room, expected, on_progress, free
        self._until = until
        self._threads = ThreadPoolExecutor(room.guests + room.shares, "cell")
        self._events = Events()
        # Guards what follows. ``_live`` has a worker once its guest is made.
        self._lock = threading.RLock()
        self._waiting: list[Cell] = []
        self._running: dict[str, GuestNeed] = {}
        self._live: dict[str, CellWorker] = {}
        self._stopping = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
        self._threads.shutdown(wait=True)

    def start(self, cells: Sequence[Cell]) -> None:
        """See ``Pool.start``."""
        self._events.expect(len(cells))
        with self._lock:
            self._waiting += longest_first(cells, self._expected)
            self._admit()

    def event(self) -> PoolEvent | None:
        """See ``Pool.event``."""
        return self._events.first()

    def ack(self) -> None:
        """See ``Pool.ack``."""
        self._events.ack()

    def stop(self) -> None:
        """See ``Pool.stop``."""
        with self._lock:
            self._stopping = True
            self._give_up_waiting()
            live = list(self._live.values())
        for worker in live:
            worker.interrupt()

    def _give_up_waiting(self) -> None:
        """The cells that have not begun will not begin. The lock is held."""
        self._events.expect(-len(self._waiting))
        self._waiting.clear()

    def _admit(self) -> None:
        """Start the longest of the waiting cells that fits, again and again. A cell that needs more than there is room
        for waits, and shorter ones that fit go first. The lock is held."""
        if time.monotonic() > self._until:
            self._give_up_waiting()
        while self._waiting and not self._stopping:
            free = self._free()
            wants = [(cell, need(cell, self._room.cores)) for cell in self._waiting]
            running, last = self._running.values(), len(wants) == 1
            fitting = next(((c, n) for c, n in wants if self._room.fits(n, running, free, last=last)), None)
            if fitting is None:
                return
            cell, takes = fitting
            self._waiting.remove(cell)
            self._running[cell.id] = takes
            self._threads.submit(self._cell, cell).add_done_callback(self._ended)

    def _leave(self, key: str) -> None:
        """A guest is gone, and with it what it took."""
        with self._lock:
            if self._running.pop(key, None) is not None:
                self._admit()

    def _ended(self, future: Future[None]) -> None:
        """A cell's thread is done with it; its exception goes to the thread that waits for outcomes."""
        if problem := future.exception():
            self._events.put(problem)

    def _cell(self, cell: Cell) -> None:
        self._events.put(Begun(cell))
        try:
            outcome = self._observe(cell)
        finally:
            self._leave(cell.id)
        self._events.put(outcome)

    def _observe(self, cell: Cell) -> CellOutcome:
        folder = self._folder / cell.id
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
        if isinstance(cell.kernel, InfrastructureError):
            return CellOutcome(cell, lost=str(cell.kernel))
        try:
            guest = self._make_guest(cell, folder)
        except InfrastructureError as problem:
            return CellOutcome(cell, lost=str(problem))
        another = partial(self._make_guest, cell)
        worker = CellWorker(cell, self._workloads[cell.arch], folder, guest, self._listen, another=another)
        with self._lock:
            self._live[cell.id] = worker
            stopping = self._stopping
        if stopping:
            worker.interrupt()
        try:
            return worker.run()
        finally:
            with self._lock:
                del self._live[cell.id]

    def _listen(self, told: ProgressEvent) -> None:
        """Pass an event on; a guest that takes its payload has touched the memory its kernel touches."""
        if told.stage == "pushing":
            with self._lock:
                self._running[told.cell] = replace(self._running[told.cell], up=True)
                self._admit()
        self._on_progress(told)
