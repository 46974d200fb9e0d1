"""``sealmatrix worker``: a Dask worker that observes cells. It has no state but its store of bytes."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import Any

from distributed import Worker, WorkerPlugin, get_worker

from harness.cluster.bundle import Parcel, keep
from harness.cluster.facts import NAME, WorkerFacts, resources
from harness.cluster.remote import Bench, MakeRemote, Missing, Returned, make_qemu
from harness.errors import InfrastructureError, Interrupted
from harness.kernels.store import Store
from harness.runs.model import OnProgress, ProgressEvent

# Between two events of one stage: a suite has some hundred in a second, and all go through the scheduler.
PAUSE = 0.25
_CONNECT_SECONDS = 10


class NoScheduler(InfrastructureError):
    """No scheduler answers at an address, or it went away."""


class CellPlugin(WorkerPlugin):
    """Holds the worker's cells. One that Dask drops (cancelled, or its submitter is gone) loses its guest at once."""

    name = NAME

    def __init__(self, store: Store, load: float, make_guest: MakeRemote, pause: float) -> None:
        self.store, self.pause = store, pause
        self.bench = Bench(store, load, make_guest)

    def transition(self, key: Any, start: str, finish: str, **_: Any) -> None:
        """See ``WorkerPlugin``: Dask cannot end a task that runs in a thread; it releases it."""
        if (start, finish) == ("executing", "released"):
            self.bench.interrupt(str(key))

    def teardown(self, worker: Worker) -> None:
        """See ``WorkerPlugin``."""
        self.bench.interrupt()


def _plugin(worker: Worker) -> CellPlugin:
    found = worker.plugins[NAME]
    assert isinstance(found, CellPlugin)
    return found


# --- called on workers by name, from the submitter -----------------------------------------------------------------


def observe(parcel: Parcel) -> Returned | Missing:
    """The task: one cell, on the worker that runs it, telling under the run's topic."""
    worker = get_worker()
    key = str(worker.get_current_task())
    plugin = _plugin(worker)
    answer = plugin.bench.observe(key, parcel, _throttled(partial(_log, worker, parcel, key), plugin.pause))
    return replace(answer, worker=worker.address)


def _log(worker: Worker, parcel: Parcel, key: str, told: ProgressEvent) -> None:
    plain = {k: v for k, v in asdict(told).items() if k != "statuses"}
    worker.log_event(topic(parcel.run), {"key": key, "worker": worker.address, "told": plain})


def _throttled(on_progress: OnProgress, pause: float) -> OnProgress:
    """Every stage is told, but of the many events of one stage only a few in a second."""
    last = ("", 0.0)

    def throttled(told: ProgressEvent) -> None:
        nonlocal last
        now = time.monotonic()
        if told.stage != last[0] or now - last[1] >= pause:
            last = (told.stage, now)
            on_progress(told)

    return throttled


def topic(run: str) -> str:
    """Where the workers tell how the cells of a run get on."""
    return f"{NAME}-{run}"


async def stock(data: bytes, digest: str, dask_worker: Worker) -> None:
    """Take in bytes a cell needs, verified."""
    await asyncio.to_thread(keep, data, digest, _plugin(dask_worker).store)


def interrupt(run: str, dask_worker: Worker) -> None:
    """End the guests of a run; their cells come back with what had been seen."""
    _plugin(dask_worker).bench.interrupt(run)


# --- the worker itself ---------------------------------------------------------------------------------------------


def serve(
    address: str,
    facts: WorkerFacts,
    name: str | None,
    say: Callable[[str], None],
    make_guest: MakeRemote = make_qemu,
    pause: float = PAUSE,
) -> None:
    """Be a worker until the scheduler goes away or a signal comes.

    Raises ``NoScheduler`` when there is none or it is lost, ``Interrupted`` after a signal; no guest outlives either.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said here, in one line
    asyncio.run(_serve(address, facts, name, say, make_guest, pause))


async def _serve(
    address: str, facts: WorkerFacts, name: str | None, say: Callable[[str], None], make_guest: MakeRemote, pause: float
) -> None:
    load = max(1.0, facts.cells / int(facts.host["cores"]))
    with tempfile.TemporaryDirectory(prefix="sealmatrix-worker-") as scratch:
        worker = Worker(
            address,
            nthreads=facts.cells,
            name=name,
            resources=resources(facts),
            plugins=(CellPlugin(Store(), load, make_guest, pause),),
            startup_information={NAME: lambda _: facts.told()},
            local_directory=scratch,
            memory_limit=0,
            death_timeout=_CONNECT_SECONDS,
            validate=False,
        )
        stopped = _on_signals((signal.SIGINT, signal.SIGTERM, signal.SIGHUP))
        await _begin(worker, address)
        say(f"{worker.name} at {worker.address}: {describe(facts)}; cells come from {address}")
        gone = asyncio.ensure_future(worker.finished())
        await asyncio.wait((gone, asyncio.ensure_future(stopped.wait())), return_when=asyncio.FIRST_COMPLETED)
        await worker.close(timeout=5, reason="stopped")
    if stopped.is_set():
        raise Interrupted("the worker was stopped")
    raise NoScheduler(f"the scheduler at {address} went away")


async def _begin(worker: Worker, address: str) -> None:
    try:
        await asyncio.wait_for(worker, _CONNECT_SECONDS + 5)
    except (OSError, TimeoutError, RuntimeError, ValueError) as problem:
        with contextlib.suppress(OSError, TimeoutError, RuntimeError, AttributeError):
            await worker.close(timeout=1)
        raise NoScheduler(f"no Dask scheduler answers at {address}: {first_line(problem)}") from problem


def _on_signals(numbers: Sequence[signal.Signals]) -> asyncio.Event:
    event = asyncio.Event()
    for number in numbers:
        asyncio.get_running_loop().add_signal_handler(number, event.set)
    return event


def describe(facts: WorkerFacts) -> str:
    """A worker in a few words."""
    how = "KVM where it works, else emulation" if facts.kvm else "emulated"
    arches = " and ".join(facts.arches) or "no architecture: no QEMU is installed"
    return f"{facts.cells} cells at once, {facts.memory} MiB, {arches}, {how}"


def first_line(problem: BaseException) -> str:
    """What an error of Dask's says, in one line."""
    return (str(problem).strip() or type(problem).__name__).splitlines()[0]
