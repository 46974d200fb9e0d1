"""A further guest for a cell, which takes over a share of its probes: see ``harness.runs.execution.probe_split``."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from harness.errors import InfrastructureError
from harness.guests.console import Crash
from harness.guests.model import Booted, Exited, Guest
from harness.observations.journal import Journal
from harness.observations.model import Garbage
from harness.runs.execution.payload_stream import HandedOver, Listener, probe, push, read_console
from harness.runs.execution.probe_split import Share, Shares
from harness.runs.model import Workload


@dataclass
class Helped:
    """How a further guest went. ``shares`` says that probes are left to it alone, ``begin`` where in the plan; ``lost``
    is why it did not see all of those, or was of no use."""

    journal: Path
    number: int = 0
    begin: int = 0
    shares: bool = False
    first: str = ""
    probes: int = 0
    boot_seconds: float = 0.0
    booted: Booted | None = None
    lost: str = ""
    exited: Exited | None = None
    crashes: tuple[Crash, ...] = ()
    garbage: tuple[Garbage, ...] = ()


def help_out(guest: Guest, folder: Path, workload: Workload, shares: Shares, observed: Callable[[], None]) -> Helped:
    """Boot a guest, and observe half of what is then left. Raises ``StoreError`` when the disk refuses.

    What a guest does is told; one that was of no use harms nothing, for its share goes back.
    """
    helped = Helped(folder / "observations.jsonl")
    begun = time.monotonic()
    with ExitStack() as stack:
        stack.callback(guest.stop)
        try:
            helped.booted = guest.boot()
            argv = push(guest, workload)
        except InfrastructureError as problem:
            shares.decline()
            helped.lost = str(problem)
            return helped
        helped.boot_seconds = round(time.monotonic() - begun, 3)
        _take_share(guest, argv, workload, shares, observed, helped)
    return helped


def _take_share(
    guest: Guest, argv: list[str], workload: Workload, shares: Shares, observed: Callable[[], None], helped: Helped
) -> None:
    share = shares.split()
    if share is None:
        helped.lost = "too few probes were left when it was ready"
        return
    helped.number, helped.begin = share.number, share.begin
    rest = workload.planned[share.begin :]
    narrowed = replace(workload, planned=rest)
    with Journal(helped.journal) as journal:
        listener = Listener(narrowed, journal, observed, lambda name: shares.begins(share, name))
        _observe(guest, [*argv, "--skip", str(share.begin)], listener, helped)
        guest.stop()
        helped.shares = shares.end(share)
        if helped.shares:
            _write_down(helped, listener, share, guest)


def _observe(guest: Guest, argv: list[str], listener: Listener, helped: Helped) -> None:
    try:
        helped.exited, helped.lost = probe(guest, argv, listener)
    except HandedOver:
        return
    except InfrastructureError as problem:
        helped.lost = str(problem)


def _write_down(helped: Helped, listener: Listener, share: Share, guest: Guest) -> None:
    helped.first = listener.workload.planned[0].id
    helped.probes = len(listener.collector.observations)
    helped.garbage = tuple(listener.collector.garbage)
    helped.crashes, unplaced = read_console(guest, listener.workload)
    helped.lost = helped.lost or (unplaced if helped.probes else "")
    if helped.lost:
        listener.journal.note("lost", reason=helped.lost)
    elif helped.probes < share.end - share.begin:
        helped.lost = f"it ended after {helped.probes} of {share.end - share.begin} observations"
