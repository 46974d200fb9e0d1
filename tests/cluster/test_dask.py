"""A real Dask scheduler and real workers on the loopback interface; only the guests are scripted."""

from __future__ import annotations

import os
import signal
import threading
import zlib
from pathlib import Path
from types import SimpleNamespace

import pytest
from distributed.client import FutureCancelledError

from harness.cluster.connection import Cluster, connected
from harness.cluster.facts import own_facts
from harness.cluster.pool import ClusterPool, _Sent
from harness.cluster.remote import Returned
from harness.cluster.worker import NoScheduler
from harness.errors import UsageError
from harness.guests.qemu import Wishes
from harness.matrix.model import Profile
from harness.runs.execution.cell_worker import CellOutcome
from harness.runs.execution.run import execute, execute_in
from harness.runs.model import Cell, ProgressEvent
from tests.support.dask_cluster import Process, Start, kernel, plan_of, run_there, worker
from tests.support.scripted_runs import WHOLE, guest, run_plan, statuses

CLOSED = "tcp://127.0.0.1:1"


def test_results_are_those_of_a_local_run(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    _, address = scheduler
    workers = [worker(start, address, tmp_path, name) for name in ("one", "two")]
    told: list[ProgressEvent] = []
    names = ("a", "b", "c", "d", "e", "f")
    done = run_there(address, plan_of(tmp_path, *names), told.append)
    assert done.exit_code == 0
    local = run_plan(tmp_path / "local", [Cell("a", "x86_64", Profile("standard"), None)])
    here = execute(local, lambda c, folder: guest(folder, *WHOLE), lambda _: None)
    for name in names:
        assert done.results[name] == here.results["a"]
        cell = tmp_path / "r/cells" / name
        assert (cell / "observations.jsonl").read_bytes() == (
            tmp_path / "local/cells/a/observations.jsonl"
        ).read_bytes()
        assert (cell / "console.log").read_text() == "it boots\n"
    assert {cell.host["name"] for cell in done.record.cells} == {os.uname().nodename}
    ran_on = {cell.host["worker"] for cell in done.record.cells}
    assert 1 <= len(ran_on) <= 2
    assert {t.stage for t in told if t.cell == "a"} >= {"booting", "pushing", "probing", "judging", "done"}
    assert all(process.child.poll() is None for process in workers)


def test_a_lost_workers_cells_run_elsewhere(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    """Killed in mid-cell, as the out-of-memory killer would."""
    _, address = scheduler
    bad = worker(start, address, tmp_path, "bad", "hangs")
    good: list[Process] = []

    def on_progress(told: ProgressEvent) -> None:
        if told.stage == "probing" and told.probes == 1 and not good:
            good.append(worker(start, address, tmp_path, "good"))
            bad.child.send_signal(signal.SIGKILL)

    done = run_there(address, plan_of(tmp_path, "a"), on_progress)
    (cell,) = done.record.cells
    assert statuses(done, "a") == ["pass", "pass"], cell
    assert done.exit_code == 0
    assert len(cell.lost_on) == 1
    assert cell.lost_on[0] != cell.host["worker"]


def test_a_cell_that_loses_two_workers_is_missed(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    """And no third is given up for it: a kernel that takes its host down would take them all."""
    _, address = scheduler
    dead = tmp_path / "dead"
    dead.mkdir()
    workers = [worker(start, address, tmp_path, str(n), f"deadly:{dead}") for n in range(3)]
    done = run_there(address, plan_of(tmp_path, "a"), lambda _: None, patience=20)
    (cell,) = done.record.cells
    assert statuses(done, "a") == ["miss", "miss"]
    assert done.exit_code == 3
    assert "disconnected" in cell.reason
    assert len(set(cell.lost_on)) == 2
    assert len(list(dead.iterdir())) == 2
    (alive,) = [w for w in workers if w.child.poll() is None]
    alive.until("stopped")


def test_ctrl_c_ends_the_guests_and_keeps_what_was_seen(
    scheduler: tuple[Process, str], start: Start, tmp_path: Path
) -> None:
    _, address = scheduler
    there = worker(start, address, tmp_path, "w", "hangs")
    struck: list[bool] = []

    class Struck(ClusterPool):
        def event(self) -> object:  # type: ignore[override]
            if probing.is_set() and not struck:
                struck.append(True)
                raise KeyboardInterrupt
            return super().event()

        def ack(self) -> None:
            super().ack()
            assert probing.wait(60)

    probing = threading.Event()
    plan = plan_of(tmp_path, "a", "b", "c")
    with connected(address) as cluster:
        pool = Struck(cluster, plan, Wishes(), lambda told: probing.set() if told.probes == 1 else None, 20)
        done = execute_in(pool, plan, lambda _: None)
    assert done.exit_code == 130
    assert {cell.state for cell in done.record.cells} == {"interrupted"}
    assert ["pass", "miss"] in [statuses(done, name) for name in ("a", "b", "c")]
    there.until("stopped")
    assert there.child.poll() is None


def test_a_submitter_that_is_killed_leaves_no_guest(
    scheduler: tuple[Process, str], start: Start, tmp_path: Path
) -> None:
    _, address = scheduler
    there = worker(start, address, tmp_path, "w", "hangs")
    submitter = start(
        "-c",
        "import sys, pathlib\n"
        "from tests.support.dask_cluster import plan_of, run_there\n"
        "run_there(sys.argv[1], plan_of(pathlib.Path(sys.argv[2]), 'a'), lambda told: print(told.stage, flush=True))\n",
        address, str(tmp_path),
    )  # fmt: skip
    submitter.until("probing")
    submitter.child.send_signal(signal.SIGKILL)
    there.until("stopped")
    assert there.child.poll() is None


def test_a_scheduler_that_goes_away_is_one_line(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    process, address = scheduler
    there = worker(start, address, tmp_path, "w", "hangs")

    def on_progress(told: ProgressEvent) -> None:
        if told.probes == 1:
            process.child.send_signal(signal.SIGKILL)

    done = run_there(address, plan_of(tmp_path, "a", "b"), on_progress)
    assert done.exit_code == 3
    assert all("went away" in cell.reason and "\n" not in cell.reason for cell in done.record.cells)
    there.until("stopped")
    assert "went away" in there.until("ended")
    assert there.child.wait(30) == 3


def test_a_worker_that_is_stopped_hands_its_cells_on(
    scheduler: tuple[Process, str], start: Start, tmp_path: Path
) -> None:
    _, address = scheduler
    leaving = worker(start, address, tmp_path, "leaving", "hangs")
    stays: list[Process] = []

    def on_progress(told: ProgressEvent) -> None:
        if told.probes == 1 and not stays:
            stays.append(worker(start, address, tmp_path, "stays"))
            leaving.child.send_signal(signal.SIGTERM)

    done = run_there(address, plan_of(tmp_path, "a"), on_progress)
    assert statuses(done, "a") == ["pass", "pass"], done.record.cells
    assert leaving.child.wait(30) == 130


def test_what_cannot_begin_is_one_line(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    _, address = scheduler
    plan = plan_of(tmp_path, "a")
    with pytest.raises(NoScheduler, match="no Dask scheduler answers") as caught:
        run_there(CLOSED, plan, lambda _: None)
    assert "\n" not in str(caught.value)
    for address_of_none in ("carrier-pigeon://loft", "tcp://127.0.0.1", "tcp://127.0.0.1:65536", "tcp://127.0.0.1:x"):
        with pytest.raises(UsageError, match="is not the address of a scheduler"):
            run_there(address_of_none, plan, lambda _: None)
    with pytest.raises(NoScheduler, match="sealmatrix worker"):
        run_there(address, plan, lambda _: None)
    worker(start, address, tmp_path, "old", "old")
    with pytest.raises(UsageError, match=r"sealmatrix 0\.0\.9") as other:
        run_there(address, plan, lambda _: None)
    assert "\n" not in str(other.value)
    assert not (tmp_path / "r").exists()


def test_a_busy_machine_fails_no_start_and_a_failed_one_leaves_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask's own thread for its client must run within 10 s; here it never does."""
    monkeypatch.setattr("distributed.utils.asyncio_run", lambda *_, **__: None)
    monkeypatch.setattr("harness.cluster.connection._CONNECT_SECONDS", 0.1)
    before = threading.active_count()
    with pytest.raises(NoScheduler, match="no Dask scheduler answers"), connected(CLOSED):
        pass
    assert threading.active_count() == before


def test_a_cell_nobody_can_run_is_missed(scheduler: tuple[Process, str], start: Start, tmp_path: Path) -> None:
    _, address = scheduler
    worker(start, address, tmp_path, "w")
    made = kernel(tmp_path)
    cells = [Cell("a", "x86_64", Profile("standard", memory=1 << 30), made), Cell("b", "x86_64", Profile("s"), made)]
    plan = run_plan(tmp_path / "r", cells)
    done = run_there(address, plan, lambda _: None, patience=2.0)
    assert statuses(done, "a") == ["miss", "miss"]
    assert "memory" in done.record.cells[0].reason


def test_an_answer_that_comes_after_the_cell_was_given_up_changes_nothing(tmp_path: Path) -> None:
    plan = plan_of(tmp_path, "a")
    pool = ClusterPool(Cluster(SimpleNamespace(), CLOSED, own_facts(1), {}), plan, Wishes(), lambda told: None)  # type: ignore[arg-type]
    sent = _Sent(plan.cells[0], {}, 0)
    late = Returned("", None, "", False, None, (), {}, {"observations.jsonl": zlib.compress(b"late\n")})
    pool._give_up(sent, "two workers were lost")
    pool._take(sent, late)
    assert not (tmp_path / "r/cells/a/observations.jsonl").exists()


def test_a_cell_is_given_up_before_its_task_is_cancelled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Dask reports the cancelled task at once, in a thread of its own, and its reason must not be the one recorded."""
    plan = plan_of(tmp_path, "a")
    monkeypatch.setattr("harness.cluster.pool.workers_told", lambda client: {})
    sent = _Sent(plan.cells[0], {}, 0, future=CancelledFuture(), unable_since=0.001)  # type: ignore[arg-type]
    client = SimpleNamespace(cancel=lambda futures: pool._answered(sent, futures[0]))
    pool = ClusterPool(Cluster(client, CLOSED, own_facts(1), {}), plan, Wishes(), lambda told: None, patience=0.0)  # type: ignore[arg-type]
    pool._look([sent])
    pool._events.expect(1)
    ended = pool.event()
    assert isinstance(ended, CellOutcome)
    assert ended.lost == "no worker is left"


class CancelledFuture:
    """A future of Dask whose task was cancelled."""

    def result(self, timeout: float) -> object:
        raise FutureCancelledError("a", "lost", None)
