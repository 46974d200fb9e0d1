"""Where the cells of a run are observed: the seam between a run and the machines it runs on."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from harness.runs.execution.cell_worker import CellOutcome
from harness.runs.model import Cell


@dataclass(frozen=True)
class Begun:
    """A cell's guest is about to start."""

    cell: Cell


PoolEvent = Begun | CellOutcome


class Pool(AbstractContextManager["Pool"], Protocol):
    """Observes cells, side by side. Used from one thread; leaving the context releases everything it holds."""

    def start(self, cells: Sequence[Cell]) -> None:
        """Take on cells, once."""
        ...

    def event(self) -> PoolEvent | None:
        """Wait for the next event, and return the same again until ``ack``; None when every cell has had its outcome.

        Raises what a cell's thread raised: ``StoreError`` when results cannot be kept.
        """
        ...

    def ack(self) -> None:
        """The event has been dealt with."""
        ...

    def stop(self) -> None:
        """Begin no further cell and end the guests there are: their outcomes say that they were interrupted.

        Cells that had not begun have no outcome.
        """
        ...


class Events:
    """Events on their way to the one thread that takes them. Nothing is lost when that thread is interrupted: an event
    stays until it has been dealt with."""

    def __init__(self) -> None:
        self._held: deque[PoolEvent | BaseException] = deque()
        self._changed = threading.Condition()
        self._due = 0

    def expect(self, outcomes: int) -> None:
        """So many more outcomes will come (fewer, when negative)."""
        with self._changed:
            self._due += outcomes
            self._changed.notify_all()

    def put(self, event: PoolEvent | BaseException) -> None:
        """From any thread."""
        with self._changed:
            self._held.append(event)
            self._changed.notify_all()

    def first(self) -> PoolEvent | None:
        """See ``Pool.event``. An error that was put is raised once."""
        with self._changed:
            while not self._held:
                if self._due <= 0:
                    return None
                self._changed.wait()
            found = self._held[0]
            if isinstance(found, BaseException):
                self._held.popleft()
                self._due -= 1
                raise found
            return found

    def ack(self) -> None:
        """See ``Pool.ack``."""
        with self._changed:
            if isinstance(self._held[0], CellOutcome):
                self._due -= 1
            self._held.popleft()
