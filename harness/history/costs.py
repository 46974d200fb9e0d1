"""Costs in the history: what each row takes on each kernel that was measured."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, delete, insert

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
