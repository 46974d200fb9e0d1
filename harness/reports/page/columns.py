"""The columns of the page: cells by architecture and along kernel versions, as people call them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from harness.kernels.versions import upstream, version_key
from harness.model.architectures import ARCHES
from harness.reports.cells import kernel_name, profile_suffix, ran_on, release
from harness.reports.commands import repeat_command
from harness.runs.record import CellRecord, RunRecord

_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)?(?:-rc\d+)?")
_IMAGES = ("linux-image-", "linux-binary-")
_COMMON_PAGE = 4096


@dataclass(frozen=True)
class Column:
    """One cell as a column. ``variety`` tells what sets it apart from another cell of the same kernel; may be empty."""

    cell: CellRecord
    name: str
    version: str
    release: str
    variety: str
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


def kernel_version(cell: CellRecord) -> str:
    """The upstream version, which a distribution's release may hide; "" where nobody knows it."""
    kernel = cell.kernel
    for name, version, _ in kernel.packages if kernel else ():
        if name.startswith(_IMAGES):
            return upstream(version)
    match = _VERSION.match(release(cell))
    return match[0] if match else ""


def version_order(version: str) -> object:
    """Sorts versions, a release candidate before its release."""
    return version_key(version.replace("-rc", "~rc"))


def versions(found: Iterable[Column]) -> list[str]:
    """The distinct versions, oldest first; cells without one are left out."""
    return sorted({column.version for column in found if column.version}, key=version_order)  # type: ignore[arg-type]


def _order(column: Column) -> tuple[object, ...]:
    arch = column.cell.arch
    known = ARCHES.index(arch) if arch in ARCHES else len(ARCHES)
    return known, arch, version_order(column.version), column.name, column.cell.id


def _column(run: RunRecord, cell: CellRecord) -> Column:
    return Column(
        cell=cell,
        name=kernel_name(cell),
        version=kernel_version(cell),
        release=release(cell),
        variety=profile_suffix(cell),
        repeat=repeat_command(run, cell),
    )
