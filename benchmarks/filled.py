"""A database with a million runs, in a minute: copies of a few that its store has written, under
other ids."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import Any, Final, LiteralString, cast

import psycopg

from wf.history.ids import new_id
from wf.history.schema import schema

AT_ONCE: Final = 50_000
"""Runs of which the rows are in memory."""
OF_RUN: Final = {"runs": "id", "ready": "run_id", "events": "run_id"}
"""Tables with rows of a run that waits or has ended, and the column that says whose."""

Row = dict[str, Any]


class Database:
    """Beside a store, on its database."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._path = "" if url.startswith("postgres") else url.removeprefix("sqlite:///")

    def rows(self, table: str, column: str, value: Any) -> list[Row]:
        """Without the numbers that the database gives to rows."""
        names = [one.name for one in schema.tables[table].columns if one.identity is None]
        text = f"SELECT {', '.join(names)} FROM {table} WHERE {column} = "
        return [dict(zip(names, row, strict=True)) for row in self._read(text, value)]

    def insert(self, table: str, rows: Sequence[Row]) -> None:
        if not rows:
            return
        names = ", ".join(rows[0])
        values = (tuple(row.values()) for row in rows)
        if self._path:
            places = ", ".join("?" * len(rows[0]))
            with closing(sqlite3.connect(self._path)) as db, db:
                db.executemany(f"INSERT INTO {table} ({names}) VALUES ({places})", values)
            return
        with psycopg.connect(self._url) as connection, connection.cursor() as cursor:
            text = cast("LiteralString", f"COPY {table} ({names}) FROM STDIN")
            with cursor.copy(text) as copy:
                for row in values:
                    copy.write_row(row)

    def settle(self) -> None:
        """What the server, or the next writer, would do in the background some time."""
        if self._path:
            with closing(sqlite3.connect(self._path)) as db:
                db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return
        with psycopg.connect(self._url, autocommit=True) as connection:
            connection.execute("VACUUM ANALYZE")

    def _read(self, text: str, value: Any) -> list[tuple[Any, ...]]:
        if self._path:
            with closing(sqlite3.connect(self._path)) as db:
                return db.execute(f"{text}?", (value,)).fetchall()
        with psycopg.connect(self._url) as connection:
            return connection.execute(cast("LiteralString", f"{text}%s"), (value,)).fetchall()


def copy_run(database: Database, run_id: bytes, keys: Sequence[str]) -> None:
    """A copy for each of these keys of its queue ("": none), born before it, a millisecond apart.
    What waits in a queue leaves a stir for each key, too."""
    (run,) = database.rows("runs", "id", run_id)
    stirs = database.rows("stirs", "queue", run["queue"])[:1]
    stirred = {run["key"]}
    of_run = {table: database.rows(table, name, run_id) for table, name in OF_RUN.items()}
    begun = run["created_at"] - len(keys)
    for start in range(0, len(keys), AT_ONCE):
        some = keys[start : start + AT_ONCE]
        born = [(new_id(begun + number), key) for number, key in enumerate(some, start)]
        for table, rows in of_run.items():
            database.insert(table, list(_copies(rows, OF_RUN[table], born)))
        fresh = dict.fromkeys(key for key in some if key not in stirred)
        stirred |= fresh.keys()
        database.insert("stirs", [row | {"key": key} for row in stirs for key in fresh])


def _copies(rows: Sequence[Row], column: str, born: Sequence[tuple[bytes, str]]) -> Iterator[Row]:
    for run_id, key in born:
        for row in rows:
            own: Row = {column: run_id, "root_id": run_id, "key": key}
            yield row | {name: own[name] for name in row.keys() & own.keys()}
