"""A SQLite file moves to a Postgres database, with its runs under way.

Rows are copied as they are, sealed values and waiting runs alike; a run that waits goes on there.
The file is closed for writing first: triggers refuse every insert and update, so that whoever has
it open still, or opens it later, is told where it has gone. The copy is one transaction of the
target. So at any time one of the two, and one alone, can be worked on: where the copy fails, the
file is opened again; where the process is lost, or it is not known whether the copy has happened,
the same command ends what was begun.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from typing import Any, Final

import psycopg
from psycopg import sql
from sqlalchemy import Boolean, Identity, Table

from wf.history.errors import CannotPromote, StoreMoved, StoreUnavailable
from wf.history.limits import LEASE_MS
from wf.history.open import shown, sqlite_path
from wf.history.postgres import PostgresStore
from wf.history.schema import schema
from wf.history.sqlite import SQLiteStore
from wf.history.sqlite_database import MOVED, MOVED_MARK, MOVED_RUNS, roll_back

PAGE_ROWS: Final = 1_000
"""Rows in memory at once."""
_MOVING: Final = "is being moved"
_TABLES: Final = [table for name, table in schema.tables.items() if name != "meta"]
_BEAT: Final = "(strftime('%s', 'now') * 1000 - beat)"


@dataclass(frozen=True, slots=True)
class Promoted:
    """`runs`: how many were moved, `live`: those of them under way, `rows`: of each table."""

    runs: int
    live: int
    rows: dict[str, int] = field(default_factory=dict[str, int])


def promote(source: str, target: str, *, force: bool = False) -> Promoted:
    """Move all that is in a SQLite file to an empty Postgres database. `force`: though workers work
    on the file; what they are at is done again.

    Raises CannotPromote, StoreMoved, BadURL, StoreNewer, StoreUnavailable.
    """
    if not target.startswith(("postgresql:", "postgres:")):
        raise CannotPromote(f"{shown(target)} is no Postgres: give --to postgresql://host/name")
    if source.startswith(("postgresql:", "postgres:")):
        raise CannotPromote("only a SQLite file is moved: give its path, or sqlite:///path")
    store = PostgresStore(target)
    try:
        with _file(source) as db:
            is_begun = _close(db, _MOVING, target, force=force)
            with _open_again(db, is_begun):
                promoted = _copy(db, store, target, is_begun=is_begun)
            _close(db, MOVED, target, force=True)
        store.hint()
        return promoted
    finally:
        store.close()


# --- the file -------------------------------------------------------------------------------------


@contextmanager
def _file(source: str) -> Generator[sqlite3.Connection]:
    path = sqlite_path(source)
    try:
        SQLiteStore(path, create=False).close()  # it is there, and of this wf's schema
    except StoreMoved as error:
        if _MOVING not in str(error):
            raise
    with closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute("PRAGMA synchronous = FULL")
        db.execute("PRAGMA wal_autocheckpoint = 0")
        yield db


def _close(db: sqlite3.Connection, how: str, target: str, *, force: bool) -> bool:
    """Let nobody write any more. True: it was closed for this before."""
    said = f"this database {how} to {shown(target)}".replace("'", "")
    db.execute("BEGIN IMMEDIATE")
    try:
        before = _refusal(db)
        if before and _MOVING in before and how == _MOVING and before != said:
            raise CannotPromote(f"{before}: give the same target again")
        if not before and not force:
            _check_idle(db)
        _drop_triggers(db)
        for table in _TABLES:
            for verb in ("INSERT", "UPDATE"):
                name = f"{MOVED_MARK}_{verb.lower()}_{table.name}"
                db.execute(
                    f"CREATE TRIGGER {name} BEFORE {verb} ON {table.name}"
                    f" BEGIN SELECT RAISE(ABORT, '{said}'); END"
                )
        db.execute("COMMIT")
    except BaseException:
        roll_back(db)
        raise
    return bool(before)


def _refusal(db: sqlite3.Connection) -> str:
    asked = "SELECT sql FROM sqlite_schema WHERE name = ?"
    row = db.execute(asked, [MOVED_RUNS]).fetchone()
    return "" if row is None else str(row[0]).split("'", 1)[1].split("'); END", maxsplit=1)[0]


def _check_idle(db: sqlite3.Connection) -> None:
    beating = f"SELECT host, pid FROM workers WHERE {_BEAT} < {LEASE_MS}"
    live = [f"{host} {pid}".strip() for host, pid in db.execute(beating)]
    if live:
        raise CannotPromote(
            f"workers are at work there ({', '.join(live)}): stop them first, or give --force, "
            "and what they are at is done again"
        )


def _drop_triggers(db: sqlite3.Connection) -> None:
    for (name,) in db.execute(
        "SELECT name FROM sqlite_schema WHERE type = 'trigger' AND name LIKE ?", [f"{MOVED_MARK}%"]
    ).fetchall():
        db.execute(f"DROP TRIGGER {name}")


@contextmanager
def _open_again(db: sqlite3.Connection, is_begun: bool) -> Generator[None]:
    """Where the copy is known not to have happened."""
    try:
        yield
    except BaseException as error:
        is_unknown = isinstance(error, StoreUnavailable) and error.outcome_unknown
        if not is_unknown and not is_begun:
            _drop_triggers(db)
        raise


# --- the copy -------------------------------------------------------------------------------------


def _copy(db: sqlite3.Connection, store: PostgresStore, target: str, *, is_begun: bool) -> Promoted:
    counts = {one.name: _count(db, one.name) for one in _TABLES}
    live = _count(db, "runs WHERE status = 0")

    def work(connection: psycopg.Connection[Any]) -> None:
        with connection.transaction():
            for table in _TABLES:
                connection.execute(
                    sql.SQL("LOCK TABLE {} IN EXCLUSIVE MODE").format(sql.Identifier(table.name))
                )
            full = [one.name for one in _TABLES if _has_rows(connection, one.name)]
            if full and is_begun and _has_all(connection, db):
                return  # it had happened, and only the answer was lost
            if full:
                raise CannotPromote(
                    f"{shown(target)} is not empty (it has {', '.join(full)}): give an empty one"
                )
            for table in _TABLES:
                _copy_table(db, connection, table)

    store.pool.run(work, again=False)
    return Promoted(counts["runs"], live, {name: n for name, n in counts.items() if n})


def _has_all(connection: psycopg.Connection[Any], db: sqlite3.Connection) -> bool:
    """The runs of the file are there."""
    asked = "SELECT count(*) FROM runs WHERE id = ANY (%s)"
    cursor, found = db.execute("SELECT id FROM runs"), 0
    while page := cursor.fetchmany(PAGE_ROWS):
        there = connection.execute(asked, [[row[0] for row in page]]).fetchone()
        if there is None or there[0] != len(page):
            return False
        found += len(page)
    return found > 0


def _count(db: sqlite3.Connection, what: str) -> int:
    return int(db.execute(f"SELECT count(*) FROM {what}").fetchone()[0])


def _has_rows(connection: psycopg.Connection[Any], table: str) -> bool:
    asked = sql.SQL("SELECT EXISTS (SELECT FROM {})").format(sql.Identifier(table))
    row = connection.execute(asked).fetchone()
    return bool(row and row[0])


def _copy_table(db: sqlite3.Connection, connection: psycopg.Connection[Any], table: Table) -> None:
    names = [column.name for column in table.columns]
    told = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table.name), sql.SQL(", ").join(map(sql.Identifier, names))
    )
    with connection.cursor() as cursor, cursor.copy(told) as copy:
        for row in _rows(db, table):
            copy.write_row(row)
    for column in table.columns:
        if isinstance(column.identity, Identity):
            connection.execute(
                sql.SQL(
                    "SELECT setval(pg_get_serial_sequence({}, {}),"
                    " greatest((SELECT max({}) FROM {}), 1))"
                ).format(
                    sql.Literal(table.name), sql.Literal(column.name),
                    sql.Identifier(column.name), sql.Identifier(table.name),
                )
            )  # fmt: skip


def _rows(db: sqlite3.Connection, table: Table) -> Iterator[list[Any]]:
    flags = {place for place, one in enumerate(table.columns) if isinstance(one.type, Boolean)}
    names = ", ".join(f'"{column.name}"' for column in table.columns)
    cursor = db.execute(f"SELECT {names} FROM {table.name}")
    while page := cursor.fetchmany(PAGE_ROWS):
        for row in page:
            yield [bool(value) if place in flags else value for place, value in enumerate(row)]
