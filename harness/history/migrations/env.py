"""What alembic runs: the steps, on the connection that ``database.py`` has opened and holds a transaction on."""

from __future__ import annotations

from alembic import context

from harness.history.tables import Base

context.configure(connection=context.config.attributes["connection"], target_metadata=Base.metadata)
with context.begin_transaction():
    context.run_migrations()
