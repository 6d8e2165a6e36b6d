"""Work on Postgres in a transaction that is somebody else's: a caller's, or a step's."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, TypeVar, cast

import psycopg
from psycopg.pq import TransactionStatus
from psycopg.rows import tuple_row

from wf.history import postgres_arrays
from wf.history.borrowed import Plan
from wf.history.errors import CannotJoin
from wf.history.model import NewRun
from wf.history.postgres_rows import Answer, making
from wf.history.postgres_wake import CHANNEL

R = TypeVar("R")

IDENTITY: Final = """SELECT concat_ws(' ', current_database(), to_regclass('meta')::oid::text,
 extract(epoch FROM pg_postmaster_start_time())::text)"""
"""Which database this is, with the schema that the connection looks into first."""
_NOTIFY: Final = f"SELECT pg_notify('{CHANNEL}', '')"
"""Goes out when, and only if, the caller commits: the one hint that belongs into a transaction,
because nobody else knows when that ends."""


def joining(runs: Sequence[NewRun], identity: str) -> Plan[list[Answer]]:
    """Make runs. Raises CannotJoin where the connection is to another database than `identity`."""
    [[here]] = yield IDENTITY, ()
    if here != identity:
        raise CannotJoin(
            "the connection is to another database (or schema) than the client: "
            "give one to the database that has the tables of wf, or make a client of its URL"
        )
    answers = yield from making(runs)
    yield _NOTIFY, ()
    return answers


def carry_out(connection: psycopg.Connection[Any], plan: Plan[R]) -> R:
    """A plan, on a connection of whatever settings. Raises CannotJoin outside a transaction."""
    _check(connection)
    cursor = psycopg.Cursor(connection, row_factory=tuple_row)
    rows: list[tuple[Any, ...]] = []
    with cursor:
        try:
            statement, values = next(plan)
            while True:
                cursor.execute(statement.encode(), values, prepare=False, binary=True)
                rows = cursor.fetchall() if cursor.description else []
                statement, values = plan.send(rows)
        except StopIteration as done:
            return done.value


async def carry_out_async(connection: psycopg.AsyncConnection[Any], plan: Plan[R]) -> R:
    _check(connection)
    cursor = psycopg.AsyncCursor(connection, row_factory=tuple_row)
    rows: list[tuple[Any, ...]] = []
    async with cursor:
        try:
            statement, values = next(plan)
            while True:
                await cursor.execute(statement.encode(), values, prepare=False, binary=True)
                rows = await cursor.fetchall() if cursor.description else []
                statement, values = plan.send(rows)
        except StopIteration as done:
            return done.value


def _check(connection: psycopg.Connection[Any] | psycopg.AsyncConnection[Any]) -> None:
    status = connection.info.transaction_status
    if connection.autocommit and status == TransactionStatus.IDLE:
        raise CannotJoin(
            "the connection commits every statement by itself: begin a transaction, "
            "`with connection.transaction():`"
        )
    postgres_arrays.register(connection.adapters)


def psycopg_of(driver: Any) -> Any:
    """That connection of a caller's. Raises CannotJoin where it is none of psycopg."""
    if isinstance(driver, psycopg.BaseConnection):
        return cast("Any", driver)
    raise CannotJoin("the client is on Postgres: give a psycopg connection to its database")
