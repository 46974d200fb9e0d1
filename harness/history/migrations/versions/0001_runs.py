"""Runs, cells, rules and results."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def _texts(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text, nullable=False) for name in names]


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "run",
        sa.Column("id", sa.Text, primary_key=True),
        *_texts("folder", "started", "finished", "state", "sealmatrix", "payload_id", "catalogue_sha256"),
        *_texts("plan_sha256"),
        sa.Column("exit_code", sa.Integer, nullable=False),
        sa.Column("counts", sa.JSON, nullable=False),
    )
    op.create_index("ix_run_started", "run", ["started"])
    op.create_table(
        "cell",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("run_id", sa.Text, sa.ForeignKey("run.id", ondelete="CASCADE"), nullable=False),
        *_texts("cell", "kernel", "release", "version", "arch", "profile"),
        sa.Column("page_size", sa.Integer, nullable=False),
        *_texts("kernel_sha256", "state", "reason", "acceleration"),
        sa.Column("seconds", sa.Float, nullable=False),
        sa.Column("boot", sa.Float, nullable=False),
        sa.UniqueConstraint("run_id", "cell"),
    )
    op.create_index("ix_cell_cell", "cell", ["cell"])
    op.create_table(
        "rule",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        sa.Column("id", sa.Text, nullable=False, unique=True),
        *_texts("family", "contract", "statement"),
    )
    op.create_table(
        "result",
        sa.Column("rule_number", sa.Integer, sa.ForeignKey("rule.number"), primary_key=True, autoincrement=False),
        sa.Column(
            "cell_number",
            sa.Integer,
            sa.ForeignKey("cell.number", ondelete="CASCADE"),
            primary_key=True,
            autoincrement=False,
        ),
        *_texts("status", "kind", "reason", "follows"),
        sqlite_with_rowid=False,
    )
    op.create_index("ix_result_cell", "result", ["cell_number"])


def downgrade() -> None:
    """Drop them again; the results folders have everything."""
    for table in ("result", "rule", "cell", "run"):
        op.drop_table(table)
