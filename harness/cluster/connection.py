"""The connection to a Dask scheduler, and the workers of ours that are there."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass

from distributed import Client
from distributed.comm.addressing import get_address_host_port

from harness.cluster.facts import NAME, WorkerFacts, check_same, own_facts
from harness.cluster.loop import running_loop
from harness.cluster.worker import NoScheduler, first_line
from harness.errors import UsageError

_CONNECT_SECONDS = 10
_CLOSE_SECONDS = 5


@dataclass(frozen=True)
class Cluster:
    """A connection, and the workers that were there when it was made."""

    client: Client
    address: str
    ours: WorkerFacts
    workers: Mapping[str, WorkerFacts]


@contextmanager
def connected(address: str) -> Iterator[Cluster]:
    """Connect to a scheduler.

    Raises ``UsageError`` for an address that is none and for workers of another sealmatrix, ``NoScheduler`` when
    nobody answers or no worker of ours is there.
    """
    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what matters is said here, in one line
    _check_address(address)
    with ExitStack() as stack:
        try:
            loop = stack.enter_context(running_loop())
            client = Client(address, timeout=_CONNECT_SECONDS, set_as_default=False, loop=loop)
        except (OSError, TimeoutError, RuntimeError) as problem:
            raise NoScheduler(f"no Dask scheduler answers at {address}: {first_line(problem)}") from None
        stack.callback(_close, client)
        ours = own_facts()
        told = workers_told(client)
        if not told:
            raise NoScheduler(
                f"no worker of sealmatrix is connected to {address}; start one there: sealmatrix worker {address}"
            )
        yield Cluster(client, address, ours, check_same(ours, told))


def _check_address(address: str) -> None:
    wrong = ""
    try:
        _, port = get_address_host_port(address)
        wrong = "" if 0 < int(port) < 1 << 16 else f"there is no port {port}"
    except ValueError as problem:
        wrong = first_line(problem)
    if wrong:
        raise UsageError(f"{address!r} is not the address of a scheduler, such as tcp://host:8786: {wrong}")


def _close(client: Client) -> None:
    with suppress(TimeoutError):  # a scheduler that does not take leave in time
        client.close(timeout=_CLOSE_SECONDS)


def workers_told(client: Client) -> dict[str, object]:
    """What the workers of ours that are connected now say of themselves, by address."""
    workers = client.scheduler_info(n_workers=-1)["workers"]
    return {address: facts[NAME] for address, facts in workers.items() if NAME in facts}
