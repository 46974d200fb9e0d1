"""The local pool as a state machine: guests that answer or do not boot, in any order, and a stop at any time."""

from __future__ import annotations

import tempfile
import threading
from pathlib import Path

import hypothesis.strategies as st
from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from harness.errors import BootFailed
from harness.guests.model import Booted
from harness.matrix.model import Profile
from harness.runs.execution.cell_worker import CellOutcome
from harness.runs.execution.local_pool import LocalPool
from harness.runs.execution.pool import Begun
from harness.runs.model import Cell
from harness.runs.planning.schedule import Room, need
from tests.fakes import BOOTED, FakeGuest
from tests.support.scripted_runs import WHOLE, run_plan

PATIENCE = 60  # seconds for what takes a thread a moment, on whatever machine
FREE = 1 << 20


class HeldGuest(FakeGuest):
    """It boots when it is told to, or is stopped."""

    def __init__(self) -> None:
        super().__init__(script=WHOLE)
        self.reached, self.told = threading.Event(), threading.Event()
        self.boots = False

    def boot(self) -> Booted:
        self.reached.set()
        assert self.told.wait(PATIENCE)
        if not self.boots:
            raise BootFailed("it never said hello")
        return BOOTED

    def stop(self) -> None:
        super().stop()
        self.told.set()


class Pooling(RuleBasedStateMachine):
    """``begun`` and ``ended`` are the cells of which the pool has told that, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="sealmatrix-pool-")
        self.begun: list[str] = []
        self.ended: dict[str, CellOutcome] = {}
        self.answering: set[str] = set()
        self.stopped = False

    @initialize(
        sizes=st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), min_size=1, max_size=7),
        guests=st.integers(1, 3),
        cores=st.integers(1, 3),
    )
    def start(self, sizes: list[tuple[int, int]], guests: int, cores: int) -> None:
        self.room = Room(guests, cores, FREE)
        self.cells = {
            f"cell-{number}": Cell(f"cell-{number}", "x86_64", Profile("standard", smp=smp), None)
            for number, (smp, _) in enumerate(sizes)
        }
        self.guests = {name: HeldGuest() for name in self.cells}
        expected = {name: float(seconds) for name, (_, seconds) in zip(self.cells, sizes, strict=True) if seconds}
        folder = Path(self.folder.name)
        workloads = run_plan(folder, []).workloads
        self.pool = LocalPool(
            lambda cell, _: self.guests[cell.id], workloads, folder, self.room, expected, lambda _: None, lambda: FREE
        )
        self.pool.start(tuple(self.cells.values()))

    def take(self) -> None:
        """One event."""
        event = self.pool.event()
        match event:
            case Begun(cell):
                assert cell.id not in self.begun
                self.begun.append(cell.id)
            case CellOutcome(cell=cell):
                assert cell.id in self.begun
                assert cell.id not in self.ended
                self.ended[cell.id] = event
        assert event == self.pool.event() or event is None, "it stays until it has been dealt with"
        if event is not None:
            self.pool.ack()

    def running(self) -> list[str]:
        return [name for name in self.begun if name not in self.ended]

    def settle(self, gone: str = "") -> None:
        """Take events until what ``gone`` made room for has begun, and boots."""
        while gone and gone not in self.ended:
            self.take()
        while set(self.pool._running) - set(self.begun):
            self.take()
        for name in self.running():
            assert self.guests[name].reached.wait(PATIENCE)

    @precondition(lambda self: not self.stopped and len(self.ended) < len(self.cells))
    @rule(data=st.data(), boots=st.booleans())
    def a_guest_ends(self, data: st.DataObject, boots: bool) -> None:
        self.settle()
        name = data.draw(st.sampled_from(self.running()))
        self.guests[name].boots = boots
        if boots:
            self.answering.add(name)
        self.guests[name].told.set()
        self.settle(name)

    @rule()
    def it_is_stopped(self) -> None:
        """Once, or several times."""
        self.pool.stop()
        self.stopped = True
        while self.pool.event() is not None:
            self.take()

    @invariant()
    def what_runs_fits_and_what_fits_runs(self) -> None:
        if not hasattr(self, "pool") or self.stopped:
            return
        self.settle()
        takes = {name: need(self.cells[name], self.room.cores) for name in self.running()}
        assert len(takes) <= self.room.guests
        assert len(takes) == 1 or sum(one.cores for one in takes.values()) <= self.room.cores
        for name in self.cells.keys() - set(self.begun):
            assert not self.room.fits(need(self.cells[name], self.room.cores), takes.values(), FREE)

    @invariant()
    def every_outcome_is_what_its_guest_did(self) -> None:
        for name, outcome in self.ended.items():
            if name in self.answering:
                assert (outcome.lost, outcome.journalled is not None) == ("", True)
            else:
                assert outcome.lost
            assert outcome.interrupted == (outcome.lost == "interrupted")

    def teardown(self) -> None:
        if hasattr(self, "pool"):
            while not self.stopped and len(self.ended) < len(self.cells):
                self.settle()
                name = self.running()[0]
                self.guests[name].told.set()
                self.settle(name)
            assert self.pool.event() is None
            assert self.stopped or self.ended.keys() == self.cells.keys()
            assert list(self.begun) == list(dict.fromkeys(self.begun))
            with self.pool:
                pass
        self.folder.cleanup()


TestPooling = Pooling.TestCase
TestPooling.settings = settings(max_examples=15, stateful_step_count=8, deadline=None)
