"""Alembic runs this file; the connection and its transaction are `migrate`'s."""

from __future__ import annotations

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    transactional_ddl=True,
    # SQLite alters a table by making it anew.
    render_as_batch=True,
)
context.run_migrations()
