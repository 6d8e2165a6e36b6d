"""All that stands in a database, as bytes: what somebody reads who has stolen it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg


def dump(url: str) -> bytes:
    """A SQLite file with all beside it; every row of every table of a Postgres schema."""
    if url.startswith("sqlite"):
        file = Path(url.removeprefix("sqlite:///"))
        return b"".join(part.read_bytes() for part in sorted(file.parent.glob(f"{file.name}*")))
    tables = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    with psycopg.connect(url) as connection:
        names = [str(row[0]) for row in connection.execute(tables)]
        return b"\n".join(
            _bytes(value)
            for name in names
            for row in connection.execute(f'SELECT * FROM "{name}"'.encode(), binary=True)
            for value in row
        )


def _bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else str(value).encode()
