"""The columns of the page: cells by architecture and along kernel versions, as people call them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from harness.model.architectures import ARCHES
from harness.model.run_record import CellRecord, RunRecord
from harness.model.version import version_order
from harness.runs.cells import kernel_name, profile_suffix, ran_on, release, repeat_suffix, upstream_version
from harness.runs.commands import repeat_command

_COMMON_PAGE = 4096


@dataclass(frozen=True)
class Column:
    """One cell as a column. ``variety`` tells what sets it apart from another cell of the same kernel; may be empty.
    ``which`` says which of the repeats of a cell it is, "" for the first."""

    cell: CellRecord
    name: str
    version: str
    release: str
    variety: str
    which: str
    repeat: str

    @property
    def ran_on(self) -> str:
        """Which machine of a cluster, see ``ran_on``."""
        return ran_on(self.cell)

    @property
    def lane(self) -> str:
        """Where the timeline shows it: ``x86_64``, ``arm64 16k``."""
        machine = self.cell.machine
        size = machine.page_size if machine else 0
        return self.cell.arch if size in (0, _COMMON_PAGE) else f"{self.cell.arch} {size // 1024}k"


def columns(run: RunRecord) -> tuple[Column, ...]:
    """All cells of a run, by architecture, then along kernel versions."""
    return tuple(sorted((_column(run, cell) for cell in run.cells), key=_order))


def versions(found: Iterable[Column]) -> list[str]:
    """The distinct versions, oldest first; cells without one are left out."""
    return sorted({column.version for column in found if column.version}, key=version_order)


def _order(column: Column) -> tuple[object, ...]:
    arch = column.cell.arch
    known = ARCHES.index(arch) if arch in ARCHES else len(ARCHES)
    return known, arch, version_order(column.version), column.name, column.cell.id


def _column(run: RunRecord, cell: CellRecord) -> Column:
    return Column(
        cell=cell,
        name=kernel_name(cell),
        version=upstream_version(cell),
        release=release(cell),
        variety=profile_suffix(cell),
        which=repeat_suffix(cell),
        repeat=repeat_command(run, cell),
    )
