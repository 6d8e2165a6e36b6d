"""The tables of wf in a Postgres database: that they are there, and of this wf."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from psycopg import errors as pg

from wf.history.errors import BadURL, StoreNewer
from wf.history.postgres_pool import Connection, send
from wf.history.version import SCHEMA_VERSION

_CREATION_LOCK: Final = 0x77665F736368656D
"""An advisory lock ("wf_schem"): of processes that meet an empty database one makes the schema."""
_HEAD: Final = Path(__file__).parent / "sql" / "head_postgres.sql"
_VERSION: Final = """SELECT (SELECT max(version) FROM meta) FROM pg_tables
WHERE schemaname = current_schema() AND tablename = 'meta'"""


def check_tables(connection: Connection, url: str, *, create: bool) -> None:
    """The schema is there, and ours. Raises BadURL, StoreNewer."""
    version = _version(connection)
    if version is not None and version < SCHEMA_VERSION:
        from wf.history.migrate import migrate

        migrate(url)
        version = _version(connection)
    if version is None and create:
        version = _made(connection)
    if version is None:
        raise BadURL("this Postgres database has no tables of wf: `wf db migrate` makes them")
    if version > SCHEMA_VERSION:
        raise StoreNewer(
            f"the database was made by a newer wf (schema {version}, this one knows "
            f"{SCHEMA_VERSION}): upgrade wf-engine here"
        )


def _made(connection: Connection) -> int:
    """Make the schema; another process may have been faster."""
    try:
        with connection.transaction():
            send(connection, "SELECT pg_advisory_xact_lock(%s)", [_CREATION_LOCK])
            connection.execute(_HEAD.read_bytes())
    except pg.DuplicateTable:
        version = _version(connection)
        if version is None:
            raise
        return version
    return SCHEMA_VERSION


def _version(connection: Connection) -> int | None:
    """None: no tables of wf where ours would be made."""
    try:
        row = connection.execute(_VERSION).fetchone()
    except pg.UndefinedTable:
        return None
    return None if row is None else row[0]
