"""The cells of a run on the workers of a Dask scheduler: see ``Pool`` in ``harness.runs.execution.pool``.

Dask places the cells, by the workers' resources and in our order, and places those of a lost worker anew. Ours is what
it does not do: giving workers the bytes they lack, ending guests, and never waiting for what cannot come any more.
"""

from __future__ import annotations

import concurrent.futures
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from distributed import Future
from distributed.client import FutureCancelledError
from distributed.scheduler import KilledWorker

from harness.cluster import worker as remote
from harness.cluster.bundle import Shelf, pack
from harness.cluster.connection import Cluster, workers_told
from harness.cluster.facts import WorkerFacts, demanded, read_facts, resources, unmet
from harness.cluster.remote import BadAnswer, Missing, Returned
from harness.cluster.worker import first_line
from harness.errors import InfrastructureError, StoreError
from harness.guests.qemu import Wishes
from harness.kernels.store import telling
from harness.model.verdict import INTERRUPTED
from harness.runs.execution.cell_worker import CellOutcome
from harness.runs.execution.pool import Begun, Events, PoolEvent
from harness.runs.model import Cell, OnProgress, ProgressEvent
from harness.runs.plan import RunPlan
from harness.runs.planning.schedule import longest_first

_LOOK_SECONDS = 1.0
# How long a cell may be without any worker that could run it (one may be on its way back) before it is given up, and
# how long workers may take to end their guests and send back what was seen.
PATIENCE = 20.0
_ATTEMPTS = 2


@dataclass
class _Sent:
    """A cell on its way. ``attempts`` are the workers that began it; ``stocked`` those that were given bytes for it,
    ``times`` how often it was sent."""

    cell: Cell
    demands: Mapping[str, float]
    rank: int
    future: Future[Any] | None = None
    attempts: list[str] = field(default_factory=list)
    stocked: list[str] = field(default_factory=list)
    times: int = 0
    unable_since: float = 0.0
    done: bool = False

    def over(self) -> bool:
        """Whether its outcome is out, or none will come."""
        return self.done


class ClusterPool:
    """See ``Pool``. Dask's callbacks and its events come in threads of their own; the lock guards what they share."""

    def __init__(
        self, cluster: Cluster, plan: RunPlan, wishes: Wishes, on_progress: OnProgress, patience: float = PATIENCE
    ) -> None:
        self._cluster, self._client, self._plan, self._on_progress = cluster, cluster.client, plan, on_progress
        # Workers remember what they were told to end: a run that is resumed comes under another name.
        self._sitting = f"{plan.record.id}-{len(plan.record.sittings)}"
        self._wishes, self._patience = wishes, patience
        self._events = Events()
        self._shelf = Shelf()
        self._hosts: dict[str, WorkerFacts] = dict(cluster.workers)
        self._lock = threading.RLock()
        self._sent: dict[str, _Sent] = {}
        self._stopped_at = 0.0
        self._over = threading.Event()
        self._hands = ThreadPoolExecutor(5, "cluster")

    def __enter__(self) -> Self:
        self._client.subscribe_topic(remote.topic(self._sitting), self._heard)
        self._do(self._watching)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        with self._lock:
            left = [sent.future for sent in self._sent.values() if sent.future is not None and not sent.done]
            for sent in self._sent.values():
                sent.done = True
        if left and self._client.status == "running":
            self._client.cancel(left)
        self._hands.shutdown(wait=True)

    def start(self, cells: Sequence[Cell]) -> None:
        """See ``Pool.start``."""
        self._events.expect(len(cells))
        acceleration = self._wishes.acceleration
        for rank, cell in enumerate(longest_first(cells, self._plan.expected)):
            demands = demanded(cell, acceleration, self._cluster.ours, self._cluster.workers)
            sent = _Sent(cell, demands, rank)
            with self._lock:
                self._sent[cell.id] = sent
            if isinstance(cell.kernel, InfrastructureError):
                self._events.put(Begun(cell))
                self._give_up(sent, str(cell.kernel))
            else:
                self._do(self._submit, sent)

    def event(self) -> PoolEvent | None:
        """See ``Pool.event``."""
        return self._events.first()

    def ack(self) -> None:
        """See ``Pool.ack``."""
        self._events.ack()

    def stop(self) -> None:
        """See ``Pool.stop``. Workers are asked to send what was seen; who does not in time is cancelled."""
        with self._lock:
            self._stopped_at = time.monotonic()
            waiting = [sent for sent in self._sent.values() if not sent.done and not sent.attempts]
            for sent in waiting:
                sent.done = True
        self._events.expect(-len(waiting))
        futures = [sent.future for sent in waiting if sent.future is not None]
        if self._client.status != "running":
            return
        try:
            if futures:
                self._client.cancel(futures)
            run = self._sitting
            workers = list(workers_told(self._client))
            self._client.run(remote.interrupt, run, workers=workers, on_error="return")
        except (OSError, TimeoutError, RuntimeError):
            return  # the watch gives up what nobody answers for

    def _do(self, work: Callable[..., None], *given: Any) -> None:
        """Do something in a thread of ours; its exception goes to the thread that waits for outcomes."""
        self._hands.submit(work, *given).add_done_callback(self._raised)

    def _raised(self, future: concurrent.futures.Future[None]) -> None:
        if problem := future.exception():
            self._events.put(problem)

    # --- sending -----------------------------------------------------------------------------------------------------

    def _submit(self, sent: _Sent, near: str | None = None) -> None:
        cell = sent.cell
        try:
            parcel = pack(self._sitting, cell, self._plan.workloads[cell.arch], self._wishes, self._shelf)
        except InfrastructureError as problem:
            self._give_up(sent, str(problem))
            return
        with self._lock:
            if sent.done:
                return
            sent.times += 1
        future = self._client.submit(
            remote.observe,
            parcel,
            key=f"{remote.topic(self._sitting)}-{cell.id}-{sent.times}",
            resources=dict(sent.demands),
            workers=[near] if near else None,
            allow_other_workers=bool(near),
            priority=-sent.rank,
            pure=False,
            retries=0,
        )
        with self._lock:
            sent.future = future
            over = sent.over()
        future.add_done_callback(partial(self._ended, sent))
        if over:  # stopped meanwhile
            self._client.cancel([future])

    def _heard(self, event: tuple[float, Mapping[str, Any]]) -> None:
        """An event from a worker: how a cell gets on there."""
        _, message = event
        told = ProgressEvent(**message["told"])
        with self._lock:
            sent = self._sent.get(told.cell)
            if sent is None or sent.done:
                return
            if told.stage == "booting":
                if not sent.attempts:
                    self._events.put(Begun(sent.cell))
                sent.attempts.append(str(message["worker"]))
                if len(sent.attempts) > _ATTEMPTS:
                    self._do(self._third_time, sent)
                    return
        self._on_progress(told)

    def _third_time(self, sent: _Sent) -> None:
        """Dask would try a cell on one worker after another, and a kernel that takes its host down would take all."""
        del sent.attempts[_ATTEMPTS:]
        self._give_up(sent, _lost_workers(sent.attempts))
        if sent.future is not None:
            self._client.cancel([sent.future])

    # --- what comes back ---------------------------------------------------------------------------------------------

    def _ended(self, sent: _Sent, future: Future[Any]) -> None:
        """Called by Dask when a task has ended, one way or another."""
        with self._lock:
            if not sent.done and future is sent.future:
                self._do(self._answered, sent, future)

    def _answered(self, sent: _Sent, future: Future[Any]) -> None:
        """Deal with what a task gave, in a thread of ours: bytes may have to be sent."""
        try:
            answer = future.result(timeout=self._patience)
        except FutureCancelledError:
            self._cancelled(sent)
        except KilledWorker as problem:
            self._again(sent, first_line(problem))
        except (OSError, TimeoutError, RuntimeError) as problem:
            self._give_up(sent, f"the cluster gave no answer: {first_line(problem)}")
        else:
            if isinstance(answer, Missing):
                self._stock(sent, answer)
            elif not isinstance(answer, Returned):
                self._give_up(sent, f"a worker sent an invalid answer: {type(answer).__name__}")
            elif answer.interrupted and not self._stopped_at:
                self._again(sent, f"{answer.worker} was stopped")
            else:
                self._take(sent, answer)
            future.release()

    def _cancelled(self, sent: _Sent) -> None:
        if self._stopped_at:
            self._end(sent, CellOutcome(sent.cell, lost=INTERRUPTED, interrupted=True))
        else:
            self._give_up(sent, f"the scheduler at {self._cluster.address} went away")

    def _again(self, sent: _Sent, reason: str) -> None:
        """The worker is gone, and not by our doing: the cell is run elsewhere, once."""
        if len(sent.attempts) < _ATTEMPTS and sent.times <= len(self._hosts) + _ATTEMPTS:
            self._submit(sent)
        else:
            self._give_up(sent, _lost_workers(sent.attempts) if sent.attempts else reason)

    def _take(self, sent: _Sent, answer: Returned) -> None:
        if not self._claim(sent):  # given up meanwhile; its folder tells of that
            return
        folder = self._folder(sent.cell)
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
            try:
                outcome = answer.outcome(sent.cell, folder)
            except BadAnswer as problem:
                outcome = CellOutcome(sent.cell, lost=str(problem))
        outcome.lost_on = tuple(sent.attempts[:-1])
        outcome.host = self._host(answer.worker)
        self._events.put(outcome)

    def _stock(self, sent: _Sent, answer: Missing) -> None:
        """Give a worker what it lacks, and send the cell again, to it if it is still there."""
        if answer.worker in sent.stocked:
            self._give_up(sent, f"{answer.worker} lost files after they were sent: {', '.join(answer.digests)}")
            return
        sent.stocked.append(answer.worker)
        try:
            for digest in answer.digests:
                self._client.run(remote.stock, self._shelf.read(digest), digest, workers=[answer.worker])
        except StoreError as problem:
            self._give_up(sent, f"{answer.worker}: {problem}")
        except (OSError, TimeoutError, RuntimeError, ValueError):
            self._submit(sent)  # that worker is gone; another may have what is needed
        else:
            self._submit(sent, near=answer.worker)

    def _give_up(self, sent: _Sent, reason: str) -> None:
        outcome = CellOutcome(sent.cell, lost=reason)
        outcome.lost_on = tuple(sent.attempts)
        self._end(sent, outcome)

    def _claim(self, sent: _Sent) -> bool:
        """Whether it is ours to bring out the outcome of a cell: there is one, whoever has it first."""
        with self._lock:
            claimed, sent.done = not sent.done, True
        return claimed

    def _end(self, sent: _Sent, outcome: CellOutcome) -> None:
        if not self._claim(sent):
            return
        folder = self._folder(sent.cell)
        with telling(folder):
            folder.mkdir(parents=True, exist_ok=True)
        self._events.put(outcome)

    def _folder(self, cell: Cell) -> Path:
        return self._plan.folder / "cells" / cell.id

    def _host(self, address: str) -> dict[str, str]:
        facts = self._hosts.get(address)
        return {"worker": address, **(facts.host if facts else {})}

    # --- never waiting for what cannot come --------------------------------------------------------------------------

    def _watching(self) -> None:
        """Look, now and then, whether scheduler and workers are there: nobody tells when they are not."""
        while not self._over.wait(_LOOK_SECONDS):
            with self._lock:
                left = [sent for sent in self._sent.values() if not sent.done]
            if self._stopped_at and time.monotonic() - self._stopped_at > self._patience:
                for sent in left:
                    self._end(sent, CellOutcome(sent.cell, lost=INTERRUPTED, interrupted=True))
                continue
            if self._client.status != "running":
                for sent in left:
                    self._cancelled(sent)
                continue
            try:
                self._look(left)
            except (OSError, TimeoutError, RuntimeError):
                continue  # the connection is breaking: the client's status will say so

    def _look(self, left: Sequence[_Sent]) -> None:
        """Give up cells that no worker could run for longer than patience lasts."""
        found = {address: facts for address, told in workers_told(self._client).items() if (facts := read_facts(told))}
        self._hosts |= found
        offers = {address: resources(facts) for address, facts in found.items()}
        now = time.monotonic()
        for sent in left:
            why = unmet(sent.demands, offers)
            if not why:
                sent.unable_since = 0.0
                continue
            sent.unable_since = sent.unable_since or now
            if now - sent.unable_since >= self._patience:
                why = f"{_lost_workers(sent.attempts)}; {why}" if sent.attempts else why
                self._give_up(sent, why)  # first: a task that ends by being cancelled would tell another reason
                if sent.future is not None:
                    self._client.cancel([sent.future])


def _lost_workers(attempts: Sequence[str]) -> str:
    """Why a cell has no answer, when the machines that observed it are gone."""
    return f"the worker{'s' if len(attempts) > 1 else ''} that ran it disconnected: {', '.join(attempts)}"
