"""Run by alembic, with the connection of whoever opens the store."""

from __future__ import annotations

from alembic import context

from trimtab.db._migrate import VERSION_TABLE
from trimtab.db.schema import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    version_table=VERSION_TABLE,
    transactional_ddl=True,
)
context.run_migrations()
