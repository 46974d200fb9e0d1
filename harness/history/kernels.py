"""Kernels over all runs: a kernel is one build, known by its digest, under whatever names the matrix had for it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import Connection, func, select

from harness.history.queries import results_of, stands, worst
from harness.history.tables import CellRow, ResultRow, RuleRow, RunRow
from harness.model.version import version_order
from harness.runs.repeats import first_id

_SHOWN = 12  # cells of a kernel that are shown with their counts, the newest


@dataclass(frozen=True)
class KernelCell:
    """A kernel in one run. ``counts`` are rules by status."""

    number: int
    sha256: str
    run: str
    cell: str
    state: str
    reason: str
    counts: Mapping[str, int]


@dataclass(frozen=True)
class KernelStanding:
    """A rule on a kernel, in the newest run that has it. ``status`` is as it counts over time."""

    rule: str
    run: str
    cell: str
    status: str
    kind: str
    reason: str


@dataclass(frozen=True)
class KernelHistory:
    """One kernel. ``names`` are those of the matrix, ``ids`` the cells it was run as, ``cells`` its newest ones, newest
    first; ``runs`` counts all."""

    sha256: str
    release: str
    version: str
    arch: str
    page_size: int
    names: tuple[str, ...]
    ids: tuple[str, ...]
    runs: int
    first: str
    last: str
    cells: tuple[KernelCell, ...]
    standing: tuple[KernelStanding, ...]

    @property
    def page(self) -> str:
        """Its address among the pages, which stays: nothing but the digest is in it."""
        return self.sha256[:16]


def kernel_histories(connection: Connection) -> tuple[KernelHistory, ...]:
    """All kernels that were ever asked, the newest version first. A cell without a kernel is of none."""
    rows = connection.execute(
        select(
            CellRow.number, CellRow.run_id, CellRow.cell, CellRow.kernel, CellRow.release, CellRow.version,
            CellRow.arch, CellRow.page_size, CellRow.kernel_sha256, CellRow.state, CellRow.reason,
        )
        .join(RunRow, RunRow.id == CellRow.run_id)
        .where(CellRow.kernel_sha256 != "")
        .order_by(RunRow.started, RunRow.id, CellRow.number)
    ).all()  # fmt: skip
    builds: dict[str, list[Any]] = {}
    for row in rows:
        builds.setdefault(row.kernel_sha256, []).append(row)
    found = [_history(of) for of in builds.values()]
    counts = _counts(connection, [cell.number for one in found for cell in one.cells])
    newest = {cell.number: cell for one in found for cell in one.cells if cell.run == one.last}
    standing = _standing(connection, newest)
    told = [
        replace(
            one,
            cells=tuple(replace(cell, counts=counts.get(cell.number, {})) for cell in one.cells),
            standing=tuple(standing.get(one.sha256, ())),
        )
        for one in found
    ]
    return tuple(sorted(told, key=lambda one: (version_order(one.version), one.release, one.arch), reverse=True))


def _history(rows: Sequence[Any]) -> KernelHistory:
    newest = rows[-1]
    return KernelHistory(
        sha256=newest.kernel_sha256,
        release=newest.release,
        version=newest.version,
        arch=newest.arch,
        page_size=max(row.page_size for row in rows),
        names=tuple(dict.fromkeys(row.kernel for row in rows)),
        ids=tuple(dict.fromkeys(first_id(row.cell) for row in rows)),
        runs=len({row.run_id for row in rows}),
        first=rows[0].run_id,
        last=newest.run_id,
        cells=tuple(
            KernelCell(r.number, r.kernel_sha256, r.run_id, r.cell, r.state, r.reason, {})
            for r in reversed(rows[-_SHOWN:])
        ),
        standing=(),
    )


def _counts(connection: Connection, numbers: Sequence[int]) -> Mapping[int, Mapping[str, int]]:
    found: dict[int, dict[str, int]] = {}
    grouped = (ResultRow.cell_number, ResultRow.status)
    for number, status, count in results_of(connection, numbers, ResultRow.status, func.count(), group=grouped):
        found.setdefault(number, {})[status] = count
    return found


def _standing(connection: Connection, cells: Mapping[int, KernelCell]) -> Mapping[str, Sequence[KernelStanding]]:
    """By kernel; of a cell's repeats each rule stands as in the worst."""
    rules: Mapping[int, str] = dict(connection.execute(select(RuleRow.number, RuleRow.id)).all())
    found: dict[tuple[str, str, str], KernelStanding] = {}
    columns = (ResultRow.rule_number, ResultRow.status, ResultRow.kind, ResultRow.reason)
    for number, rule, status, kind, reason in results_of(connection, tuple(cells), *columns):
        cell = cells[number]
        one = KernelStanding(rules[rule], cell.run, cell.cell, stands(status, cell.state), kind, reason)
        key = (cell.sha256, first_id(cell.cell), rule)
        if key not in found or worst((one.status, found[key].status)) != found[key].status:
            found[key] = one
    by_kernel: dict[str, list[KernelStanding]] = {}
    for (sha256, _, _), one in found.items():
        by_kernel.setdefault(sha256, []).append(one)
    return by_kernel


def naming(kernels: Collection[KernelHistory], cell: str, first: str, last: str) -> tuple[KernelHistory, ...]:
    """Those that ran as a cell and are of a version from ``first`` to ``last``: what a regression was seen on."""
    low, high = version_order(first), version_order(last)
    return tuple(one for one in kernels if cell in one.ids and low <= version_order(one.version) <= high)
