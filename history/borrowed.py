"""Connections of others, in whose transaction something is to happen: what they really are.

Known are psycopg's (sync and async), sqlite3's, and SQLAlchemy's over these: Connection, Session,
AsyncConnection, AsyncSession. Nothing is imported for it: who has such an object has its library.
"""

from __future__ import annotations

import inspect
import sqlite3
import sys
from collections.abc import Generator, Sequence
from typing import Any, TypeVar

from wf.history.errors import CannotJoin

R = TypeVar("R")

Plan = Generator[tuple[str, Sequence[Any]], list[tuple[Any, ...]], R]
"""Work as statements: yields one with its values, is sent its rows, returns what came of it. So
the same work is done on connections that wait and on those that are awaited."""


def driver_of(connection: Any) -> Any:
    """The driver's connection, its transaction begun as far as SQLAlchemy begins one. Raises
    CannotJoin."""
    orm = sys.modules.get("sqlalchemy.orm")
    if orm is not None and isinstance(connection, orm.Session | orm.scoped_session):
        connection = connection.connection()
    sqlalchemy = sys.modules.get("sqlalchemy")
    if sqlalchemy is not None and isinstance(connection, sqlalchemy.Connection):
        if not connection.in_transaction():
            connection.begin()
        connection = connection.connection.driver_connection
    if isinstance(connection, sqlite3.Connection) or _is_of_psycopg(connection):
        return connection
    raise CannotJoin(
        f"connection={type(connection).__module__}.{type(connection).__qualname__}: give one of "
        "psycopg, sqlite3, or SQLAlchemy over these"
    )


async def async_driver_of(connection: Any) -> Any:
    """The same, where SQLAlchemy's is one of its async ones."""
    asyncio = sys.modules.get("sqlalchemy.ext.asyncio")
    if asyncio is not None and isinstance(connection, asyncio.AsyncSession):
        connection = await connection.connection()
    if asyncio is not None and isinstance(connection, asyncio.AsyncConnection):
        if connection.sync_connection is None:
            raise CannotJoin("the AsyncConnection is not open: write `async with` around it")
        connection = connection.sync_connection
    return driver_of(connection)


def is_async(connection: Any) -> bool:
    """Its work is awaited. `connection`: a driver's."""
    return inspect.iscoroutinefunction(connection.execute)


def _is_of_psycopg(connection: Any) -> bool:
    psycopg = sys.modules.get("psycopg")
    return psycopg is not None and isinstance(connection, psycopg.BaseConnection)
