"""Work on SQLite in a transaction that is somebody else's."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from wf.history.errors import CannotJoin


class Borrowed:
    """A connection of whatever settings, as wf uses one: rows are tuples."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def execute(self, sql: str, parameters: Any = (), /) -> sqlite3.Cursor:
        return self._cursor().execute(sql, parameters)

    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor:
        return self._cursor().executemany(sql, parameters)

    def _cursor(self) -> sqlite3.Cursor:
        cursor = self._connection.cursor(sqlite3.Cursor)
        cursor.row_factory = None
        return cursor


def join(connection: Any, path: Path) -> Borrowed:
    """In its transaction, that is begun where the connection would begin one by itself. It may not
    checkpoint any more (see `sqlite_database`). Raises CannotJoin."""
    if not isinstance(connection, sqlite3.Connection):
        raise CannotJoin(f"the client is on the file {path}: give a sqlite3 connection to it")
    borrowed = Borrowed(connection)
    files = {name: file for _, name, file in borrowed.execute("PRAGMA database_list")}
    if not files["main"] or not path.exists() or not path.samefile(files["main"]):
        raise CannotJoin(
            f"the connection is to {files['main'] or 'a database in memory'}, and the client to "
            f"{path}: give a connection to that file, or make a client of the other"
        )
    borrowed.execute("PRAGMA wal_autocheckpoint = 0")
    if not connection.in_transaction:
        if connection.isolation_level is None:
            raise CannotJoin(
                "the connection commits every statement by itself: begin a transaction, "
                'connection.execute("BEGIN IMMEDIATE")'
            )
        borrowed.execute("BEGIN IMMEDIATE")
    return borrowed
