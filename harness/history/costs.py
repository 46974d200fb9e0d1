"""Costs in the history: what each row takes on each kernel that was measured, along the versions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Connection, delete, insert, select

from harness.cost.model import CostTable, chosen_rows
from harness.history.tables import CostRow
from harness.model.version import version_order


@dataclass(frozen=True)
class CostPoint:
    """What one row takes on one kernel, in instructions. ``percent`` is the change since the version before it of the
    same architecture, None where there is none."""

    row: str
    arch: str
    kernel: str
    release: str
    version: str
    kernel_sha256: str
    settled: float
    percent: float | None


def record_costs(connection: Connection, tables: Iterable[CostTable]) -> None:
    """Keep the costs of these kernels, replacing what was known of the same rows. Of a row that has no number here, the
    history may know one from another results folder, or from before its folder was removed."""
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
            if not cost.without
        ]
        if rows:
            same = (CostRow.kernel_sha256 == table.sha256, CostRow.arch == table.arch)
            named = CostRow.row.in_([row["row"] for row in rows])
            connection.execute(delete(CostRow).where(*same, named))
            connection.execute(insert(CostRow), rows)


def cost_history(connection: Connection, word: str) -> tuple[CostPoint, ...]:
    """The rows that ``word`` means (``munmap``, ``munmap/8``, a pattern), each along the versions; () where no cost is
    known at all. Raises ``UsageError`` for a row that nobody counted."""
    known = tuple(connection.scalars(select(CostRow.row).distinct().order_by(CostRow.row)))
    if not known:
        return ()
    wanted = select(CostRow).where(CostRow.row.in_(chosen_rows(known, (word,))))
    found = sorted(
        connection.execute(wanted.with_only_columns(*CostRow.__table__.columns)).mappings(),
        key=lambda one: (one["row"], one["arch"], version_order(one["version"]), one["release"], one["kernel"]),
    )
    points: list[CostPoint] = []
    for one in found:
        before = points[-1] if points and (points[-1].row, points[-1].arch) == (one["row"], one["arch"]) else None
        percent = 100.0 * (one["settled"] / before.settled - 1) if before and before.settled else None
        names = ("row", "arch", "kernel", "release", "version", "kernel_sha256", "settled")
        points.append(CostPoint(**{name: one[name] for name in names}, percent=percent))
    return tuple(points)
