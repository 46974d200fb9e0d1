"""Which cell runs when, and what a run holds on to."""

from __future__ import annotations

import gc
import json
import os
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from harness.errors import LostGuest
from harness.matrix.model import OverSsh, Profile
from harness.model.verdict import Verdict
from harness.runs.execution.local_pool import LocalPool
from harness.runs.execution.pool import Begun, Events
from harness.runs.execution.run import execute, execute_in
from harness.runs.model import Cell, ProgressEvent
from harness.runs.planning.estimates import expected_seconds
from harness.runs.planning.schedule import GuestNeed, Room, default_jobs, longest_first, need, room
from harness.runs.run_store import load_run
from tests.fakes import FakeGuest
from tests.support.scripted_runs import CRASH, END, PLAN, RULES, WHOLE, begin, cell, guest, run_plan, seen, statuses

GIB = 1024


def sized(name: str, smp: int = 1, memory: int = 256) -> Cell:
    return Cell(name, "x86_64", Profile("standard", smp=smp, memory=memory), None)


def test_the_longest_goes_first_and_the_unknown_counts_as_the_longest() -> None:
    cells = [cell(name) for name in ("short", "new", "long", "newer")]
    order = longest_first(cells, {"short": 1.0, "long": 9.0})
    assert [c.id for c in order] == ["new", "long", "newer", "short"]
    assert longest_first(cells, {}) == tuple(cells)


def test_a_kernel_that_has_no_mseal_goes_last_from_the_first_run_on() -> None:
    """The matrix begins with them: in a first run the last of the others then ran alone, for longer than they take."""
    old, new = replace(cell("old"), before_mseal=True), cell("new")
    assert longest_first([old, new], {}) == (new, old)
    assert longest_first([old, new], {"old": 9.0, "new": 1.0}) == (old, new)


@pytest.mark.parametrize(
    ("running", "free", "fits"),
    [
        ([], 0, True),  # a run that could not begin would never end
        ([GuestNeed(1, 406, up=True)], 8 * GIB, True),
        ([GuestNeed(1, 406, up=True), GuestNeed(1, 406, up=True)], 8 * GIB, False),  # guests
        ([GuestNeed(2, 406, up=True)], 8 * GIB, False),  # processors
        ([GuestNeed(1, 900, up=True)], 8 * GIB, False),  # more than was free when the run began
        ([GuestNeed(1, 406, up=True)], 405, False),  # somebody else took it
        ([GuestNeed(1, 406)], 811, False),  # the other guest has yet to touch its own
        ([GuestNeed(1, 406)], 812, True),
    ],
)
def test_room(running: list[GuestNeed], free: int, *, fits: bool) -> None:
    assert Room(guests=2, cores=2, memory=1200).fits(need(sized("a"), 2), running, free) is fits


TWO = [GuestNeed(1, 406, up=True), GuestNeed(1, 406, up=True)]


@pytest.mark.parametrize(
    ("wanted", "running", "last", "fits"),
    [
        (sized("a"), TWO, True, True),
        (sized("a"), TWO, False, False),  # who comes next will have a core of its own
        (sized("a"), [*TWO, GuestNeed(1, 406, up=True)], True, False),  # one shares, no more
        (sized("a", smp=2), TWO, True, False),  # its processors wait for each other
        (sized("a"), [GuestNeed(2, 406, up=True)], True, False),
        (sized("a", memory=4096), TWO, True, False),  # memory is not shared
    ],
)
def test_the_last_cell_shares_the_cores_of_the_others(
    wanted: Cell, running: list[GuestNeed], *, last: bool, fits: bool
) -> None:
    space = Room(guests=2, cores=2, memory=4096, shares=True)
    assert space.fits(need(wanted, 2), running, 8 * GIB, last=last) is fits
    assert not replace(space, shares=False).fits(need(wanted, 2), running, 8 * GIB, last=last)


def test_nobody_gets_more_guests_than_were_asked_for() -> None:
    cores = os.cpu_count() or 1
    assert room(cores, asked=False).shares
    assert not room(cores, asked=True).shares
    assert not room(cores + 1, asked=False).shares  # as memory allows, which others need


def test_of_an_odd_number_of_cells_the_last_runs_beside_the_others(tmp_path: Path) -> None:
    going_on = {name: threading.Event() for name in ("one", "two", "three")}
    guests = {name: guest(tmp_path, PLAN, wait, seen(0), seen(1), END) for name, wait in going_on.items()}
    shared = Room(guests=2, cores=2, memory=8 * GIB, shares=True)
    with pool_of(guests, tmp_path / "r", shared, {}) as pool:
        pool.start([sized(name) for name in going_on])
        assert set(begun(pool, 3)) == set(going_on)  # none has ended
        for wait in going_on.values():
            wait.set()


def test_a_guest_with_more_processors_than_the_machine_runs_alone() -> None:
    assert need(sized("a", smp=8), 2).cores == 2


def test_one_machine_has_one_cell_at_a_time() -> None:
    board, other = (Cell("a", "arm64", Profile("ssh", 0, 0, guest=OverSsh(host)), None) for host in ("board", "other"))
    space = Room(guests=4, cores=2, memory=100)
    running = [replace(need(board, 2), up=True)]
    assert not space.fits(need(board, 2), running, 1000)
    assert space.fits(need(other, 2), running, 1000)


def test_jobs_are_for_the_smallest_cells() -> None:
    """Those that need more are held back when their turn comes, not the others for their sake."""
    cells = [sized("a"), sized("b"), sized("c", memory=1 << 30)]
    assert default_jobs(cells) == default_jobs(cells[:2] * 2)


def pool_of(guests: dict[str, FakeGuest], folder: Path, room: Room, expected: dict[str, float]) -> LocalPool:
    plan = run_plan(folder, [])
    return LocalPool(
        lambda c, _: guests[c.id], plan.workloads, folder, room, expected, lambda told: None, lambda: 8 * GIB
    )


def begun(pool: LocalPool, number: int) -> list[str]:
    """The ids of the next cells that begin; outcomes are passed over."""
    found: list[str] = []
    while len(found) < number:
        event = pool.event()
        assert event is not None
        pool.ack()
        if isinstance(event, Begun):
            found.append(event.cell.id)
    return found


def test_a_pool_starts_the_longest_that_fits(tmp_path: Path) -> None:
    going_on = {name: threading.Event() for name in ("long", "wide", "short")}
    guests = {name: guest(tmp_path, PLAN, wait, seen(0), seen(1), END) for name, wait in going_on.items()}
    cells = [sized("short"), sized("wide", smp=2), sized("long")]
    space = Room(guests=2, cores=2, memory=8 * GIB)
    with pool_of(guests, tmp_path / "r", space, {"long": 9.0, "wide": 5.0, "short": 1.0}) as pool:
        pool.start(cells)
        assert set(begun(pool, 2)) == {"long", "short"}
        assert guests["wide"].calls == []
        going_on["long"].set()
        going_on["short"].set()
        assert begun(pool, 1) == ["wide"]
        going_on["wide"].set()
        while pool.event() is not None:
            pool.ack()


def test_the_next_guest_boots_while_the_last_cell_is_judged(tmp_path: Path) -> None:
    """Judging waits for the second guest's boot: were it in the way, this would never end."""
    booted = threading.Event()

    def on_progress(told: ProgressEvent) -> None:
        if (told.cell, told.stage) == ("b", "booting"):
            booted.set()
        if (told.cell, told.stage) == ("a", "judging"):
            assert booted.wait(10)

    guests = {name: guest(tmp_path, *WHOLE) for name in ("a", "b")}
    done = execute(run_plan(tmp_path / "r", [cell("a"), cell("b")], jobs=1), lambda c, _: guests[c.id], on_progress)
    assert done.exit_code == 0


def test_finished_cells_hold_no_verdicts(tmp_path: Path) -> None:
    """Their results are on disk, and read again when somebody asks."""
    held: list[int] = []

    def on_progress(told: ProgressEvent) -> None:
        if told.stage == "done":
            gc.collect()
            held.append(sum(isinstance(thing, Verdict) for thing in gc.get_objects()))

    before = sum(isinstance(thing, Verdict) for thing in gc.get_objects())
    names = [f"c{i}" for i in range(6)]
    guests = {name: guest(tmp_path, *WHOLE) for name in names}
    done = execute(
        run_plan(tmp_path / "r", [cell(n) for n in names], jobs=1), lambda c, _: guests.pop(c.id), on_progress
    )
    assert max(held) - before <= 2 * 2  # those of the cell that is told of, and of the one before
    assert sorted(done.results) == names
    assert all(statuses(done, name) == ["pass", "pass"] for name in names)
    assert done.results["c0"][0].verdicts[0].observed


def test_results_are_the_same_read_back(tmp_path: Path) -> None:
    """Also where something failed: kinds, reasons and readings survive."""
    guests = {"a": guest(tmp_path, PLAN, begin(0), LostGuest("the channel closed"), console_text=CRASH)}
    plan = run_plan(tmp_path / "r", [cell("a")])
    done = execute(plan, lambda c, _: guests[c.id], lambda _: None)
    (result,) = done.results["a"]
    assert [(v.status, v.kind) for v in result.verdicts] == [("fail", "crash"), ("miss", None)]
    assert done.results["a"] == load_run(tmp_path / "r", RULES).results["a"]
    assert done.exit_code == 1


class Interrupting(LocalPool):
    """Ctrl-C strikes after an outcome has been dealt with, and before that is acknowledged."""

    struck = False

    def ack(self) -> None:
        if not self.struck and not isinstance(self.event(), Begun):
            self.struck = True
            raise KeyboardInterrupt
        super().ack()


def test_an_outcome_is_judged_though_ctrl_c_strikes(tmp_path: Path) -> None:
    guests = {"a": guest(tmp_path, *WHOLE), "b": guest(tmp_path, PLAN, begin(0), threading.Event())}  # b never ends
    plan = run_plan(tmp_path / "r", [cell("a"), cell("b")], jobs=1)
    pool = Interrupting(
        lambda c, _: guests[c.id],
        plan.workloads,
        plan.folder / "cells",
        Room(1, 1, GIB),
        {},
        lambda told: None,
        lambda: 8 * GIB,
    )
    done = execute_in(pool, plan, lambda told: None)
    assert done.exit_code == 130
    assert done.record.cells[0].state == "finished"
    assert statuses(done, "a") == ["pass", "pass"]


def test_events_raise_what_a_thread_raised() -> None:
    events = Events()
    events.expect(1)
    events.put(OSError("no"))
    with pytest.raises(OSError, match="no"):
        events.first()
    assert events.first() is None


def test_expectations_come_from_the_newest_runs_of_the_same_probes(tmp_path: Path) -> None:
    def ran(name: str, probes: list[str], cells: dict[str, float], state: str = "finished") -> None:
        (tmp_path / name).mkdir()
        record = {
            "options": {"probes": probes},
            "cells": [{"id": i, "state": state, "seconds": {"boot": 1.0, "payload": s}} for i, s in cells.items()],
        }
        (tmp_path / name / "run.json").write_text(json.dumps(record))

    ran("20260101-000000-aaaa", [], {"a": 9.0, "b": 3.0})
    ran("20260102-000000-aaaa", ["munmap/*"], {"a": 1.0, "c": 1.0})
    ran("20260103-000000-aaaa", [], {"a": 11.0, "a~2": 19.0})
    ran("20260104-000000-aaaa", [], {"a": 500.0}, "lost")
    for name, damage in (("20260105-000000-aaaa", "{"), ("20260106-000000-aaaa", '{"cells": 3, "options": []}')):
        (tmp_path / name).mkdir()
        (tmp_path / name / "run.json").write_text(damage)
    found = expected_seconds(tmp_path, ["a", "a~3", "c", "new"], [])
    assert found == {"a": 12.0, "a~3": 12.0, "c": 2.0}
    assert expected_seconds(tmp_path / "none", ["a"], []) == {}
