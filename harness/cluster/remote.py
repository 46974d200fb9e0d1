"""A cell on a worker: unpacked, observed into a scratch folder, and sent back whole. No dask here."""

from __future__ import annotations

import threading
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from harness.cluster.bundle import Parcel, missing, unpack
from harness.errors import InfrastructureError
from harness.guests.console import Crash
from harness.guests.model import FLOOD, Booted, Exited, Guest
from harness.guests.qemu import QemuGuest, Wishes
from harness.kernels.model import Kernel
from harness.kernels.store import Store
from harness.names import NotAName, TooLarge, inflate, relative
from harness.observations.journal import read_journal
from harness.runs.execution.cell_worker import CellOutcome, CellWorker
from harness.runs.model import JOURNAL, SECOND_JOURNAL, Cell, OnProgress

MakeRemote = Callable[[Cell, Path, Wishes, Path], Guest]
"""From a cell, its folder, what is wished for and PID 1's ELF."""


# What a cell can leave, many times over: the streams of two payloads, consoles, QEMU's words.
_LARGEST = 16 * FLOOD
_FILES = 1000


class BadAnswer(InfrastructureError):
    """A worker sent what no cell leaves."""


@dataclass(frozen=True)
class Missing:
    """A worker has to be given these first."""

    digests: tuple[str, ...]
    worker: str = ""


@dataclass(frozen=True)
class Returned:
    """A cell as it comes back. ``files`` are all of its folder's, compressed, by their path there; ``worker`` is the
    address it comes from."""

    started: str
    booted: Booted | None
    lost: str
    interrupted: bool
    exited: Exited | None
    crashes: tuple[Crash, ...]
    seconds: Mapping[str, float]
    files: Mapping[str, bytes] = field(repr=False)
    worker: str = ""

    def outcome(self, cell: Cell, folder: Path) -> CellOutcome:
        """Lay the files down where a local run has them, and give the outcome. Raises ``BadAnswer``, ``OSError``."""
        for path, content in self._unpacked():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_bytes(content)
        journal, second = folder / JOURNAL, folder / SECOND_JOURNAL
        return CellOutcome(
            cell,
            started=self.started,
            journalled=read_journal(journal) if journal.exists() else None,
            second=read_journal(second) if second.exists() else None,
            booted=self.booted,
            lost=self.lost,
            interrupted=self.interrupted,
            exited=self.exited,
            crashes=self.crashes,
            seconds=dict(self.seconds),
        )

    def _unpacked(self) -> list[tuple[Path, bytes]]:
        """What the worker says are files of the cell's folder, each with a path that cannot lead out of it."""
        try:
            paths = {name: Path(*relative(name)) for name in self.files}
            if len(paths) > _FILES or set(paths.values()) & {up for path in paths.values() for up in path.parents}:
                raise BadAnswer(f"{self.worker} sent {len(paths)} files that do not belong to a cell")
            return [(paths[name], content) for name, content in inflate(self.files.items(), _LARGEST)]
        except (NotAName, TooLarge) as problem:
            raise BadAnswer(f"{self.worker} sent a file that was rejected: {problem}") from None


def make_qemu(cell: Cell, folder: Path, wishes: Wishes, init: Path) -> Guest:
    """The guest of a cell: that of a local run, with the PID 1 that was sent."""
    assert isinstance(cell.kernel, Kernel)
    return QemuGuest(cell.kernel, cell.profile, folder, wishes, init=init)


class Bench:
    """The cells a worker observes now, by Dask's key, so that they can be ended from outside."""

    def __init__(self, store: Store, load: float, make_guest: MakeRemote = make_qemu) -> None:
        self._store, self._load, self._make_guest = store, load, make_guest
        self._lock = threading.Lock()
        self._live: dict[str, tuple[str, CellWorker]] = {}
        # Runs and keys that were ended: one may be, between being sent here and having a guest.
        self._ended: set[str] = set()

    def observe(self, key: str, parcel: Parcel, on_progress: OnProgress) -> Returned | Missing:
        """Observe a cell; what it takes is asked for first. Never raises for what goes wrong with one cell."""
        try:
            if lacking := missing(parcel, self._store):
                return Missing(lacking)
            with self._store.scratch() as folder:
                return self._observe(key, parcel, on_progress, folder)
        except InfrastructureError as problem:
            return _returned(CellOutcome(parcel.cell, lost=str(problem)), None)

    def _observe(self, key: str, parcel: Parcel, on_progress: OnProgress, folder: Path) -> Returned:
        cell, workload, init = unpack(parcel, self._store)
        wishes = replace(parcel.wishes, load=max(parcel.wishes.load, self._load))

        def make(where: Path) -> Guest:
            return self._make_guest(cell, where, wishes, init)

        worker = CellWorker(cell, workload, folder, make(folder), on_progress, another=make)
        with self._lock:
            self._live[key] = (parcel.run, worker)
            ended = bool(self._ended & {key, parcel.run, ""})
        if ended:
            worker.interrupt()
        try:
            return _returned(worker.run(), folder)
        finally:
            with self._lock:
                del self._live[key]

    def interrupt(self, what: str = "") -> None:
        """End the cells of a run (by its id), one (by its key), or all there are and will be."""
        with self._lock:
            self._ended.add(what)
            ending = [worker for key, (run, worker) in self._live.items() if what in ("", run, key)]
        for worker in ending:
            worker.interrupt()


def _returned(outcome: CellOutcome, folder: Path | None) -> Returned:
    paths = sorted(path for path in folder.rglob("*") if path.is_file()) if folder else []
    files = {str(path.relative_to(folder or path)): zlib.compress(path.read_bytes(), 1) for path in paths}
    return Returned(
        outcome.started,
        outcome.booted,
        outcome.lost,
        outcome.interrupted,
        outcome.exited,
        outcome.crashes,
        outcome.seconds,
        files,
    )
