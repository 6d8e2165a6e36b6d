"""The first schema.

Its DDL is what the head scripts were before there was a second revision.
"""

from __future__ import annotations

from pathlib import Path

from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    short = {"sqlite": "sqlite", "postgresql": "postgres"}[op.get_context().dialect.name]
    script = Path(__file__).with_name(f"0001_{short}.sql").read_text(encoding="utf-8")
    connection = op.get_bind()
    for statement in script.split(";\n"):
        if statement.strip():
            connection.exec_driver_sql(statement)
