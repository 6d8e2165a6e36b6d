"""Bring a database to this wf's schema, by Alembic, which is imported here and nowhere else.

`meta.version` alone says where a database stands, whether it was made by a head script or by
revisions: revision `0007` makes it 7. Alembic's own table exists only while it works.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, NullPool, create_engine, event, inspect, text
from sqlalchemy.exc import OperationalError

from wf.history.errors import StoreNewer, StoreUnavailable
from wf.history.version import SCHEMA_VERSION

LOCK: int = 0x77665F736368656D
"""The advisory lock of a migration on Postgres: "wf_schem"."""


def migrate(url: str) -> int:
    """Upgrade in one transaction; answers the version that the database had (0: it was empty).

    Raises StoreNewer, StoreUnavailable.
    """
    engine = _engine(url)
    try:
        with engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LOCK})
            before = _version(connection)
            if before > SCHEMA_VERSION:
                raise StoreNewer(
                    f"the database was made by a newer wf (schema {before}, this one knows "
                    f"{SCHEMA_VERSION}): upgrade wf-engine here"
                )
            if before < SCHEMA_VERSION:
                _upgrade(connection, before)
            return before
    except OperationalError as error:
        raise StoreUnavailable(
            f"the database cannot be migrated ({error.orig}): try again"
        ) from error
    finally:
        engine.dispose()


def _upgrade(connection: Connection, before: int) -> None:
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    if before:
        command.stamp(config, f"{before:04}")
    command.upgrade(config, f"{SCHEMA_VERSION:04}")
    connection.execute(text("UPDATE meta SET version = :version"), {"version": SCHEMA_VERSION})
    connection.execute(text("DROP TABLE alembic_version"))


def _version(connection: Connection) -> int:
    if not inspect(connection).has_table("meta"):
        return 0
    return int(connection.execute(text("SELECT version FROM meta")).scalar_one())


def _engine(url: str) -> Engine:
    scheme, _, rest = url.partition("://")
    if scheme in {"postgres", "postgresql"}:
        return create_engine(f"postgresql+psycopg://{rest}", poolclass=NullPool)
    engine = create_engine(url, poolclass=NullPool)

    # The driver's own transactions leave DDL out.
    @event.listens_for(engine, "connect")
    def manual(connection: Any, _: Any) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.isolation_level = None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:  # pyright: ignore[reportUnusedFunction]
        connection.exec_driver_sql("BEGIN IMMEDIATE")

    return engine
