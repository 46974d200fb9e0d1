"""More than one guest for a cell: what each saw, put together as if one had seen it all, and no probe forgotten."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from harness.errors import BootFailed, LostGuest
from harness.guests.model import Booted, Event, Exited, Output
from harness.matrix.model import Profile
from harness.model.rule import ProbeName
from harness.runs.execution.local_pool import LocalPool
from harness.runs.execution.probe_split import Pace, Shares
from harness.runs.execution.run import execute_in
from harness.runs.model import Cell, ProgressEvent, RunDone
from harness.runs.planning.schedule import Room
from harness.runs.run_store import load_run
from harness.verdicts.judge import assign
from tests.fakes import BOOTED
from tests.unit.test_runs import CONTROL, PLAN, RULES, SEALED, WORKLOAD, encode, run_plan

PROBES = tuple(ProbeName("munmap", "anon-rw", f"s{i:02}", "SSS") for i in range(60))
NAMES = tuple(probe.id for probe in PROBES)


# --- the arithmetic ------------------------------------------------------------------------------------------------


def test_a_share_is_half_of_what_has_not_begun() -> None:
    shares = Shares(NAMES)
    for name in NAMES[:20]:
        assert shares.begins(shares.first, name)
    shares.invite()
    second = shares.split()
    assert second is not None
    assert (shares.first.end, second.begin, second.end) == (40, 40, 60)
    shares.invite()
    third = shares.split()
    assert third is not None
    assert {(s.number, s.begin, s.end) for s in shares.all()} == {(1, 0, 30), (3, 30, 40), (2, 40, 60)}
    assert shares.coming == 0
    assert shares.begins(second, NAMES[40])
    assert not shares.begins(shares.first, NAMES[30])
    assert shares.first.over


def test_a_share_that_was_not_begun_goes_back() -> None:
    shares = Shares(NAMES)
    second = shares.split()
    assert second is not None
    assert shares.end(second) is False
    assert shares.first.end == 60
    third = shares.split()
    assert third is not None
    assert shares.begins(third, NAMES[30])
    assert shares.end(third) is True
    assert shares.first.end == 30


def test_a_share_stays_where_the_guest_before_has_ended() -> None:
    shares = Shares(NAMES)
    second = shares.split()
    assert second is not None
    assert not shares.begins(shares.first, NAMES[30])
    assert shares.end(second) is True


def test_too_little_is_not_shared() -> None:
    shares = Shares(NAMES[:15])
    assert shares.split() is None


def test_nothing_is_known_of_a_pace_at_first(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr("harness.runs.execution.probe_split.time.monotonic", lambda: now)
    pace = Pace(Shares(NAMES))
    pace.starts(boot_seconds=4.0)
    assert pace.gain() == 0.0
    for name in NAMES[:20]:
        now += 1.0
        pace.begins(name)
    assert pace.gain() == (40 - 4) / 2


# --- whole cells ---------------------------------------------------------------------------------------------------


@dataclass
class Guest:
    """Answers what it is asked, from ``--skip`` on; ``at`` is called before each probe, with its name."""

    at: Callable[[str], None] = lambda _: None
    refuses: bool = False
    console: Path | None = None
    argv: list[str] = field(default_factory=list)
    stopped: threading.Event = field(default_factory=threading.Event)

    def boot(self) -> Booted:
        if self.refuses:
            raise BootFailed("QEMU exited with status 1")
        return BOOTED

    def push(self, name: str, content: bytes, mode: int = 0o755) -> str:
        return f"/work/{name}"

    def run(self, argv: Sequence[str]) -> Iterator[Event]:
        self.argv = list(argv)
        mine = NAMES[int(argv[argv.index("--skip") + 1]) if "--skip" in argv else 0 :]
        yield Output("out", encode(json.loads(PLAN) | {"probes": mine}))
        for name in mine:
            self.at(name)
            if self.stopped.is_set():
                raise LostGuest("the guest was stopped")
            yield Output("out", encode({"type": "begin", "probe": name}) + observation(name))
        yield Output("out", encode({"type": "end", "probes": len(mine)}))
        yield Exited(0, None)

    def stop(self) -> None:
        self.stopped.set()


def observation(name: str) -> bytes:
    halves = {"layout": "SSS", "unit": 4096, "microseconds": 1, "control": CONTROL, "sealed": SEALED}
    return encode({"type": "observation", "probe": name, **halves})


class Stage:
    """The first guest waits at its 20th probe until a helper has got as far as ``until`` says; the gain is large."""

    def __init__(self, until: str, helper_at: Callable[[str], None] = lambda _: None, *, refuses: bool = False) -> None:
        self.guests: list[Guest] = []
        self.reached = threading.Event()
        self._until, self._helper_at, self._refuses = until, helper_at, refuses

    def make(self, _cell: Cell, folder: Path) -> Guest:
        first = not self.guests
        guest = Guest(self._wait, console=folder / "c") if first else Guest(self._go, self._refuses, folder / "c")
        self.guests.append(guest)
        return guest

    def _wait(self, name: str) -> None:
        if name == NAMES[20]:
            assert self.reached.wait(20)

    def _go(self, name: str) -> None:
        self._helper_at(name)
        if name == self._until:
            self.reached.set()


def wants_one(pace: Pace) -> float:
    return 9.0 if pace.shares.first.at >= 16 and len(pace.shares.all()) == 1 else 0.0


def run(
    tmp_path: Path, stage: Stage, monkeypatch: pytest.MonkeyPatch, on_progress: Callable[[ProgressEvent], None]
) -> RunDone:
    monkeypatch.setattr("harness.runs.execution.probe_split.Pace.gain", wants_one)
    plan = run_plan(tmp_path / "r", [Cell("a", "x86_64", Profile("standard"), None)])
    workload = replace(WORKLOAD, planned=PROBES)
    plan = replace(plan, workloads={"x86_64": workload}, assignment=assign(RULES, PROBES))
    pool = LocalPool(
        stage.make, plan.workloads, plan.folder / "cells", Room(2, 2, 4096), {}, on_progress, lambda: 4096, sharing=True
    )
    return execute_in(pool, plan, on_progress)


def statuses(done: RunDone) -> list[str]:
    (result,) = done.results["a"]
    return [v.status for v in result.verdicts]


def test_two_guests_observe_one_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[ProgressEvent] = []
    stage = Stage(NAMES[41])
    done = run(tmp_path, stage, monkeypatch, told.append)
    assert statuses(done) == ["pass"] * 60
    (cell,) = done.record.cells
    assert cell.state == "finished"
    assert (cell.exit_status, cell.garbage, cell.reason) == (0, 0, "")
    (helper,) = cell.helpers
    assert (helper.guest, helper.first, helper.reason) == (2, NAMES[60 - helper.probes], "")
    assert 20 <= helper.probes <= 22
    assert stage.guests[1].argv[-2:] == ["--skip", str(60 - helper.probes)]
    assert all(guest.stopped.is_set() for guest in stage.guests)
    assert max(t.probes for t in told) == 60
    assert statuses(load_run(tmp_path / "r", RULES)) == ["pass"] * 60
    lines = [json.loads(line) for line in (tmp_path / "r/cells/a/observations.jsonl").read_text().splitlines()]
    seen = [line["probe"] for line in lines if line["type"] == "observation"]
    assert tuple(seen) == NAMES
    note = next(i for i, line in enumerate(lines) if line["type"] == "harness-guest")
    assert len([line for line in lines[note:] if line["type"] == "observation"]) == helper.probes
    assert (tmp_path / "r/cells/a" / helper.folder / "observations.jsonl").is_file()


def test_a_helper_that_does_not_boot_harms_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    stage = Stage("", refuses=True)
    threading.Timer(0.5, stage.reached.set).start()
    done = run(tmp_path, stage, monkeypatch, lambda _: None)
    assert statuses(done) == ["pass"] * 60
    assert done.record.cells[0].state == "finished"
    assert {helper.reason for helper in done.record.cells[0].helpers} == {"QEMU exited with status 1"}
    assert {helper.probes for helper in done.record.cells[0].helpers} == {0}


def test_a_helper_that_is_lost_before_its_first_probe_gives_its_share_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def lost(_name: str) -> None:
        stage.reached.set()
        raise LostGuest("QEMU was killed")

    stage = Stage("", lost)
    done = run(tmp_path, stage, monkeypatch, lambda _: None)
    assert done.record.cells[0].state in ("finished", "lost")
    # It may be that the first guest had come to the share before: then those probes are missed, and the cell is lost.
    expected = {"finished": {"pass"}, "lost": {"pass", "miss"}}[done.record.cells[0].state]
    assert set(statuses(done)) == expected


def test_a_helper_that_is_lost_on_its_way_loses_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As in one guest: what it saw stands, the probe it was lost in is an error, what comes after is a miss."""

    def lost(name: str) -> None:
        if name == NAMES[50]:
            raise LostGuest("QEMU was killed")

    done = run(tmp_path, Stage(NAMES[49], lost), monkeypatch, lambda _: None)
    assert statuses(done) == ["pass"] * 50 + ["miss"] * 10
    (cell,) = done.record.cells
    assert (cell.state, cell.reason) == ("lost", "in guest 2: QEMU was killed")
    assert done.exit_code == 3
    assert statuses(load_run(tmp_path / "r", RULES)) == statuses(done)


def test_what_a_helper_saw_stands_when_the_first_guest_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(Stage):
        def _wait(self, name: str) -> None:
            super()._wait(name)
            if name == NAMES[25]:
                raise LostGuest("the channel closed")

    done = run(tmp_path, Broken(NAMES[41]), monkeypatch, lambda _: None)
    found = statuses(done)
    (cell,) = done.record.cells
    begin = 60 - cell.helpers[0].probes
    assert found == ["pass"] * 25 + ["miss"] * (begin - 25) + ["pass"] * (60 - begin)
    assert (cell.state, cell.reason, cell.garbage) == ("lost", "the channel closed", 0)
    assert statuses(load_run(tmp_path / "r", RULES)) == found


def test_ctrl_c_ends_all_guests_of_a_cell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both, waits = threading.Event(), threading.Event()
    real = LocalPool.event
    struck: list[bool] = []

    def event(pool: LocalPool) -> object:
        found = real(pool) if not struck else None
        if not struck and both.wait(20):
            struck.append(True)
            raise KeyboardInterrupt
        return real(pool) if struck else found

    def helper_at(name: str) -> None:
        if name == NAMES[45]:
            assert waits.wait(20)
            both.set()
            stage.guests[1].stopped.wait(20)

    monkeypatch.setattr(LocalPool, "event", event)
    stage = Stage(NAMES[59], helper_at)
    real_wait = stage._wait

    def waiting(name: str) -> None:
        if name == NAMES[20]:
            waits.set()
            stage.guests[0].stopped.wait(20)
        else:
            real_wait(name)

    stage._wait = waiting  # type: ignore[method-assign]
    done = run(tmp_path, stage, monkeypatch, lambda _: None)
    assert done.exit_code == 130
    assert [guest.stopped.is_set() for guest in stage.guests] == [True, True]
    assert done.record.cells[0].state == "interrupted"
    found = statuses(done)
    assert found[:20] == ["pass"] * 20
    assert found[40:45] == ["pass"] * 5
    assert set(found[46:]) == {"miss"}
