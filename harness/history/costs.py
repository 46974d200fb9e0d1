"""Costs in the history: what each row takes on each kernel that was measured."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert, select

from harness.cost.model import CostTable
from harness.history.tables import CostRow


def record_costs(connection: Connection, tables: Iterable[CostTable]) -> None:
    """Keep the costs of these kernels, replacing what was known of them."""
    for table in tables:
        rows = [
            {
                "kernel_sha256": table.sha256,
                "arch": table.arch,
                "row": cost.row,
                "kernel": table.kernel,
                "release": table.release,
                "version": table.version,
                "first": cost.first,
                "settled": cost.settled,
            }
            for cost in table.costs.values()
            if not cost.trouble
        ]
        same = (CostRow.kernel_sha256 == table.sha256, CostRow.arch == table.arch)
        connection.execute(delete(CostRow).where(*same))
        if rows:
            connection.execute(insert(CostRow), rows)


def known_costs(connection: Connection) -> dict[tuple[str, str], dict[str, float]]:
    """The settled costs by (sha256 of the kernel, architecture), then by row."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    for sha256, arch, row, settled in connection.execute(
        select(CostRow.kernel_sha256, CostRow.arch, CostRow.row, CostRow.settled)
    ):
        found.setdefault((sha256, arch), {})[row] = settled
    return found
