"""Naming cells for people, and reading back what they left on disk."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from harness.kernels.versions import upstream
from harness.model.run_record import CellRecord, RunRecord
from harness.model.verdict import STATUSES, Status
from harness.model.version import version_in
from harness.observations.journal import stored_journal
from harness.observations.model import Observation
from harness.runs.model import JOURNAL, RunDone
from harness.runs.repeats import first_id, repeat_of

# Packages that hold the image of a kernel.
_IMAGES = ("linux-image-", "linux-binary-")


def kernel_name(cell: CellRecord) -> str:
    """The kernel's name in the matrix, also where no kernel could be had."""
    if cell.kernel is not None:
        return cell.kernel.name
    return first_id(cell.id).removesuffix(f".{cell.profile}").removesuffix(f".{cell.arch}")


def release(cell: CellRecord) -> str:
    """The release the kernel itself told, or that of its package where it never came up; "" when there is neither."""
    told = cell.machine.release if cell.machine else ""
    return told or (cell.kernel.release if cell.kernel else "")


def upstream_version(cell: CellRecord) -> str:
    """The upstream version of a cell's kernel, which a distribution's release may hide: as it was recorded, or
    as its image's package has it, or what its release begins with; "" where nobody knows it."""
    kernel = cell.kernel
    packages = (version for name, version, _ in kernel.packages if name.startswith(_IMAGES)) if kernel else ()
    told = (kernel.version if kernel else "", *map(upstream, packages), release(cell))
    return next(filter(None, map(version_in, told)), "")


def profile_suffix(cell: CellRecord) -> str:
    """The profile where it has to be told: it is part of the cell's name unless it is the standard one."""
    return cell.profile if first_id(cell.id).endswith(f".{cell.profile}") else ""


def repeat_suffix(cell: CellRecord) -> str:
    """``#2`` for the second repeat of a cell; "" for the first."""
    number = repeat_of(cell.id)
    return f"#{number}" if number > 1 else ""


def label(cell: CellRecord) -> str:
    """``debian-6.12 x86_64``."""
    return " ".join(filter(None, (kernel_name(cell), cell.arch, profile_suffix(cell), repeat_suffix(cell))))


def together(run: RunRecord, ids: Iterable[str]) -> str:
    """Name several cells shortly: ``all 7 cells``, or ``debian-6.12, debian-7.3 (x86_64, arm64)``."""
    wanted = set(ids)
    if len(wanted) == len(run.cells) > 1:
        return f"all {len(wanted)} cells"
    arches: dict[str, list[str]] = {}
    for cell in run.cells:
        if cell.id in wanted:
            name = " ".join(filter(None, (kernel_name(cell), profile_suffix(cell), repeat_suffix(cell))))
            arches.setdefault(name, []).append(cell.arch)
    kernels: dict[str, list[str]] = {}
    for name, where in arches.items():
        kernels.setdefault(", ".join(where), []).append(name)
    return "; ".join(f"{', '.join(names)} ({where})" for where, names in kernels.items())


_FEW = 3


def few(run: RunRecord, ids: Sequence[str], most: int = 2 * _FEW) -> str:
    """Name several cells as ``together`` does, but of more than ``most`` only the first ones: ``…, and 20 more``."""
    if len(ids) <= most or len(ids) == len(run.cells):
        return together(run, ids)
    wanted = set(ids)
    order = [cell.id for cell in run.cells if cell.id in wanted]
    return f"{together(run, order[:_FEW])}, and {len(order) - _FEW} more"


def cell_folder(done: RunDone, cell: str) -> Path:
    """Where a cell's files are."""
    return done.folder / "cells" / cell


def stored_observations(done: RunDone, cell: str) -> Mapping[str, Observation]:
    """What a cell's journal holds, by probe; empty when it never wrote one."""
    journalled = stored_journal(cell_folder(done, cell) / JOURNAL)
    return journalled.observations if journalled else {}


def ran_on(cell: CellRecord) -> str:
    """The machine of a cluster a cell ran on, and those that were lost with it before; "" for a cell of a local run."""
    where = f"{cell.host.get('name', 'unknown')} ({cell.host['worker']})" if cell.host else ""
    return "; ".join(filter(None, (where, *(f"{worker} was lost with it" for worker in cell.lost_on))))


def status_counts(done: RunDone) -> Mapping[Status, int]:
    """Rules per status over all cells, worst first, zeros kept: a rule counts once for each cell."""
    counted = Counter(result.status for results in done.results.values() for result in results)
    return {status: counted[status] for status in STATUSES}


def plural(number: int, noun: str) -> str:
    """``1 cell``, ``2 cells``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
