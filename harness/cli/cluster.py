"""``sealmatrix worker``, and the way to a cluster for other commands. Dask is imported only when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from harness.cluster.facts import own_facts
from harness.errors import UsageError, some_of
from harness.runs.execution.run import execute_in
from harness.runs.model import OnProgress, RunDone
from harness.runs.planning.compose import Composed

if TYPE_CHECKING:
    from harness.cluster.connection import Cluster


@click.command()
@click.argument("address")
@click.option("-j", "--jobs", type=click.IntRange(1), help="Cells at a time [default: number of cores].")
@click.option("--name", help="Name of the worker, unique on its scheduler [default: its address].")
def worker(address: str, jobs: int | None, name: str | None) -> None:
    """Run cells for others, as a worker of the Dask scheduler at ADDRESS.

    \b
    dask scheduler                                          on one machine, which prints its address
    sealmatrix worker tcp://192.0.2.7:8786                  on each machine that is to boot kernels
    sealmatrix run --cluster tcp://192.0.2.7:8786           on yours

    It announces cores, memory, architectures and KVM as Dask resources, and keeps kernels in its cache. It exits when
    the scheduler goes away (3) or at a signal (130), and ends its guests. Dask's own configuration sets up TLS.
    """
    _dask("worker").serve(address, own_facts(jobs), name, lambda line: click.echo(f"sealmatrix worker {line}"))


@contextmanager
def reached(address: str | None) -> Iterator[Cluster | None]:
    """A connection to the cluster at an address; None without one."""
    if address is None:
        yield None
        return
    with _dask("connection").connected(address) as cluster:
        yield cluster


def execute_there(cluster: Cluster, composed: Composed, on_progress: OnProgress) -> RunDone:
    """Run what was composed on a cluster's workers."""
    others = [cell.id for cell in composed.plan.cells if cell.profile.guest.kind != "qemu"]
    if composed.wishes is None or others:
        raise UsageError(f"a cluster runs only guests in QEMU; not {some_of(others) or 'this'}")
    record = composed.plan.record
    facts = {
        "jobs": sum(worker.cells for worker in cluster.workers.values()),
        "options": record.options | {"cluster": cluster.address},
    }
    plan = replace(composed.plan, record=record.model_copy(update=facts))
    return execute_in(_dask("pool").ClusterPool(cluster, plan, composed.wishes, on_progress), plan, on_progress)


def _dask(module: str) -> Any:
    """A module of the cluster room that needs Dask."""
    try:
        return importlib.import_module(f"harness.cluster.{module}")
    except ModuleNotFoundError as problem:
        if problem.name is None or problem.name.startswith("harness"):
            raise
        raise UsageError(
            f"a cluster needs dask.distributed ({problem.name} is not installed): pip install 'sealmatrix[cluster]'"
        ) from None
