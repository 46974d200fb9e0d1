"""The bisection of a regression: the session that searches for where it began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the column; regressions from before have no session."""
    op.add_column("regression", sa.Column("bisection", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    """Drop it."""
    op.drop_column("regression", "bisection")
