"""Which cell next: the longest first, and only where there is room. Pure, but for the reading of ``/proc/meminfo``.

The longest first because what is left to do at the end of a run keeps one core busy and the others idle: the shorter
it is, the better. Room is counted in guests, in processors and in memory.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from harness.errors import UsageError
from harness.runs.model import Cell

# What QEMU needs beside the guest's own memory, in MiB; bench/matrix.py prints what it really takes.
QEMU_OVERHEAD = 150


@dataclass(frozen=True)
class GuestNeed:
    """What a guest takes: processors, and MiB of memory. ``up`` once it has booted, and touched what it will touch;
    ``machine`` names one that is there anyway, and of which there is one."""

    cores: int
    memory: int
    up: bool = False
    machine: str = ""


@dataclass(frozen=True)
class Room:
    """What the guests of a run may take together: so many at once, processors, MiB that were free before the first.

    ``shares``: the last cell does not wait for a processor of its own, where each guest has one. It shares those of
    the others, and none is idle while it would run alone at the end.
    """

    guests: int
    cores: int
    memory: int
    shares: bool = False

    def fits(self, need: GuestNeed, running: Collection[GuestNeed], free: int, *, last: bool = False) -> bool:
        """Whether one more guest may start while ``free`` MiB are free now. The first always may.

        Memory has two sides. What was free at first bounds our own guests, also those that have not yet touched what
        they may; what is free now, less what guests that still boot are going to touch, sees everybody else's.
        """
        if not running:
            return True
        booting = sum(other.memory for other in running if not other.up)
        more = int(self.shares and last and all(guest.cores == 1 for guest in (need, *running)))
        return (
            not (need.machine and any(other.machine == need.machine for other in running))
            and len(running) < self.guests + more
            and need.cores + sum(other.cores for other in running) <= self.cores + more
            and need.memory + sum(other.memory for other in running) <= self.memory
            and need.memory + booting <= free
        )


def need(cell: Cell, cores: int) -> GuestNeed:
    """What a cell's guest takes on a machine of so many cores; a guest with more of them than that runs alone."""
    if cell.profile.guest.kind in ("ssh", "host"):
        return GuestNeed(0, 0, machine=str(cell.profile.guest))
    return GuestNeed(min(cell.profile.smp, cores), cell.profile.memory + QEMU_OVERHEAD)


def room(jobs: int, *, asked: bool) -> Room:
    """This machine's room for ``jobs`` guests. Whoever asks for more guests than there are cores gets them, and nobody
    gets more than were asked for."""
    cores = os.cpu_count() or 1
    return Room(jobs, max(cores, jobs), available_memory(), shares=not asked and jobs == cores)


def default_jobs(cells: Sequence[Cell]) -> int:
    """How many guests fit side by side: by cores, and by memory that is free now. There may be more than cells."""
    needed = min((cell.profile.memory for cell in cells), default=0) + QEMU_OVERHEAD
    return max(1, min(os.cpu_count() or 1, available_memory() // needed))


def available_memory() -> int:
    """MiB of memory the kernel thinks new programs can have (``MemAvailable``)."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) // 1024
    raise UsageError("/proc/meminfo has no MemAvailable; choose the number of cells at once with --jobs")


def longest_first(cells: Iterable[Cell], expected: Mapping[str, float]) -> tuple[Cell, ...]:
    """Order cells by the seconds they are expected to take.

    Of a cell that never ran little is known. It is taken for as long as the longest: to begin early what turns out
    short costs nothing, to begin late what turns out long costs the whole run. But where a kernel is said to have no
    mseal there is next to nothing to ask. Equals keep the order of the matrix.
    """
    longest = max(expected.values(), default=1.0)
    return tuple(sorted(cells, key=lambda cell: -expected.get(cell.id, 0.0 if cell.before_mseal else longest)))


def typical(seconds: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """One number for each cell out of those of earlier runs."""
    return {cell: median(times) for cell, times in seconds.items() if times}
