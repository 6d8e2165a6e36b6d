"""A transaction of a step on Postgres, on a connection that waits or on one that is awaited."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AsyncExitStack, ExitStack
from hashlib import blake2b
from typing import Final
from weakref import WeakKeyDictionary

import psycopg
from psycopg.rows import TupleRow, tuple_row

from wf.history import postgres_sql as sql
from wf.history.blobs import Blobs
from wf.history.borrowed import Plan
from wf.history.errors import Error, Fenced, StoreUnavailable
from wf.history.limits import LEASE_MS
from wf.history.model import InboxKind
from wf.history.postgres_arrays import byteas, table
from wf.history.postgres_join import carry_out, carry_out_async
from wf.history.postgres_pool import MAX_CONNECTIONS, SETTINGS, Connection, Pool, send, unavailable
from wf.history.postgres_rows import putting, transaction
from wf.history.step import StepPlace

PREPARE_AFTER: Final = 2
"""Of what the user's code sends."""
_LOCK: Final = "SELECT pg_advisory_xact_lock(%s)"
_OWNED: Final = f"""SELECT {sql.CLOCK} FROM workers w JOIN owned o ON o.worker = ANY (ARRAY[w.id])
WHERE w.id = %s AND o.run_id = %s FOR KEY SHARE OF w FOR SHARE OF o"""
"""(worker, run): a takeover, or whatever else takes the run away, waits until we have ended."""
_DONE: Final = f"""SELECT 1 FROM inbox WHERE run_id = %s AND chapter = %s AND ordinal = %s
 AND kind = {int(InboxKind.STEP_DONE)}"""
_places: Final[WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Semaphore]] = (
    WeakKeyDictionary()
)


def recording(place: StepPlace, took_ms: int, data: bytes) -> Plan[None]:
    """The step's result, where its worker still has the run. Raises Fenced. From here to the end
    the transaction has the lock by which `is_done` waits for its outcome."""
    yield sql.SETTINGS, [str(LEASE_MS // 2)]
    yield _LOCK, [_key(place)]
    owned = yield _OWNED, [place.worker, place.run_id]
    if not owned:
        raise Fenced("the run was taken over while this step ran: its transaction is rolled back")
    blobs = Blobs()
    stored = blobs.put(place.run_id, data)
    row = (place.run_id, InboxKind.STEP_DONE, place.chapter, place.ordinal, 0, str(took_ms), stored)
    yield sql.INBOX, table("biiiitbi", [(*row, 0)])
    yield from putting(blobs)
    yield sql.NOTE_WOKEN, [byteas([place.run_id])]
    yield sql.MARK, [owned[0][0]]


def is_done(pool: Pool, place: StepPlace) -> bool:
    """Has that transaction committed? Waits until it has ended."""

    def work(connection: Connection) -> bool:
        with transaction(connection):
            send(connection, _LOCK, [_key(place)])
            found = send(connection, _DONE, [place.run_id, place.chapter, place.ordinal])
        return found.rowcount > 0

    return pool.run(work)


def _key(place: StepPlace) -> int:
    name = place.run_id + f"/{place.chapter}/{place.ordinal}".encode()
    return int.from_bytes(blake2b(name, digest_size=8).digest(), signed=True)


class PostgresStep:
    """A StepTransaction. The block cannot end it: psycopg forbids that in a `transaction()`."""

    lost: Error | None = None

    def __init__(self, pool: Pool, place: StepPlace | None, hint: Callable[[], None]) -> None:
        self._place = place
        self._hint = hint
        self._stack = ExitStack()
        try:
            self.connection = self._begin(pool)
        except psycopg.OperationalError:
            pool.clear()  # an idle connection may have died long ago
            self.connection = self._begin(pool)

    def _begin(self, pool: Pool) -> Connection:
        with ExitStack() as stack:
            connection = stack.enter_context(pool.lend())
            if connection.flight.prepares:
                connection.prepare_threshold = PREPARE_AFTER
            stack.enter_context(connection.transaction())
            self._stack = stack.pop_all()
        return connection

    def commit(self, took_ms: int, data: bytes) -> None:
        connection = self.connection
        try:
            if self._place is not None:
                carry_out(connection, recording(self._place, took_ms, data))
        except BaseException:
            self.roll_back()
            raise
        connection.row_factory = tuple_row
        try:
            self._stack.close()
        except psycopg.Error as error:
            raise unavailable(error) from error
        self._hint()

    def roll_back(self) -> None:
        self.connection.row_factory = tuple_row
        self._stack.__exit__(psycopg.Rollback, psycopg.Rollback(), None)


class AsyncPostgresStep:
    """An AsyncStepTransaction, on a connection of its own."""

    lost: Error | None = None
    connection: psycopg.AsyncConnection[TupleRow]

    def __init__(self, place: StepPlace | None, hint: Callable[[], None]) -> None:
        self._place = place
        self._hint = hint
        self._stack = AsyncExitStack()

    async def begin(self, pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        places = _places.setdefault(loop, asyncio.Semaphore(MAX_CONNECTIONS))
        async with AsyncExitStack() as stack:
            await stack.enter_async_context(places)
            try:
                made = await psycopg.AsyncConnection.connect(pool.target, **SETTINGS)
            except psycopg.OperationalError as error:
                raise StoreUnavailable(f"no connection to Postgres: {error}") from error
            stack.push_async_callback(made.close)
            await stack.enter_async_context(made.transaction())
            self.connection = made
            self._stack = stack.pop_all()

    async def commit(self, took_ms: int, data: bytes) -> None:
        try:
            if self._place is not None:
                await carry_out_async(self.connection, recording(self._place, took_ms, data))
        except BaseException:
            await self.roll_back()
            raise
        try:
            await self._stack.aclose()
        except psycopg.Error as error:
            raise unavailable(error) from error
        self._hint()

    async def roll_back(self) -> None:
        await self._stack.__aexit__(psycopg.Rollback, psycopg.Rollback(), None)
