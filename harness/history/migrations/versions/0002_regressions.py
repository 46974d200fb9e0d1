"""Regressions, which outlive the runs that saw them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"

_TEXTS = (
    "state", "kind", "headline", "sentence", "rule", "probe", "good", "first", "last", "opened_run", "opened",
    "seen_run", "fixed_in", "bisected", "owner", "link", "note",
)  # fmt: skip


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "regression",
        sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _TEXTS),
        *(sa.Column(name, sa.JSON, nullable=False) for name in ("rules", "cells", "events")),
    )
    op.create_index("ix_regression_state", "regression", ["state"])


def downgrade() -> None:
    """Drop it; what people had written about regressions is lost."""
    op.drop_table("regression")
