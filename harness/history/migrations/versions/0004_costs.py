"""What system calls cost on each kernel that was measured."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Make the table."""
    op.create_table(
        "cost",
        sa.Column("kernel_sha256", sa.Text, primary_key=True),
        sa.Column("arch", sa.Text, primary_key=True),
        sa.Column("row", sa.Text, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("kernel", "release", "version")),
        *(sa.Column(name, sa.Float, nullable=False) for name in ("first", "settled")),
    )


def downgrade() -> None:
    """Drop it."""
    op.drop_table("cost")
