"""A transaction of a step on a SQLite file: it has a connection of its own, and holds the process's
writer while it lasts."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import threading
from collections.abc import Callable
from typing import Any, Final

from wf.history.blobs import Blobs
from wf.history.errors import Error, Fenced, TransactionTooLong
from wf.history.limits import STEP_TRANSACTION_SECONDS
from wf.history.model import InboxKind
from wf.history.sqlite_database import Database
from wf.history.sqlite_rows import INSERT_INBOX, mark
from wf.history.sqlite_transaction import Transaction
from wf.history.step import StepPlace

_OWNED: Final = "SELECT 1 FROM owned WHERE run_id = ? AND worker = ?"


class SQLiteStep:
    """A StepTransaction. Raises StoreUnavailable where another process writes for too long."""

    def __init__(
        self, database: Database, place: StepPlace | None, hint: Callable[[], None]
    ) -> None:
        self.lost: Error | None = None
        self._database = database
        self._place = place
        self._hint = hint
        self._lock = threading.Lock()
        self._is_open = True
        self._connection = database.hold()
        self._connection.set_authorizer(_no_end)
        self._timer = threading.Timer(STEP_TRANSACTION_SECONDS, self._expire)
        self._timer.daemon = True
        self._timer.start()

    @property
    def connection(self) -> sqlite3.Connection:
        return self._connection

    def commit(self, took_ms: int, data: bytes) -> None:
        with self._lock:
            if self.lost is not None:
                raise self.lost
            try:
                self._connection.set_authorizer(None)
                if self._place is not None:
                    _record(self._connection, self._place, took_ms, data)
                self._database.commit_held(self._connection)
            finally:
                self._close()
        self._hint()

    def roll_back(self) -> None:
        with self._lock:
            self._close()

    def _expire(self) -> None:
        """A statement that is under way ends with an error; later ones find a closed connection."""
        with self._lock:
            if self._is_open:
                self.lost = TransactionTooLong(
                    f"the transaction held the file for {STEP_TRANSACTION_SECONDS:g} s, and nobody "
                    "else could write: do the slow part before the block, or in another step"
                )
                self._connection.interrupt()
                self._close()

    def _close(self) -> None:
        if self._is_open:
            self._is_open = False
            self._timer.cancel()
            with contextlib.suppress(sqlite3.Error):
                self._connection.set_authorizer(None)
            self._database.let_go(self._connection)


class AsyncSQLiteStep:
    """An AsyncStepTransaction: the connection is the same, whose statements are short; what may
    have to wait is done in a thread."""

    def __init__(self, step: SQLiteStep) -> None:
        self._step = step
        self.connection = step.connection

    @property
    def lost(self) -> Error | None:
        return self._step.lost

    async def commit(self, took_ms: int, data: bytes) -> None:
        await asyncio.to_thread(self._step.commit, took_ms, data)

    async def roll_back(self) -> None:
        self._step.roll_back()


def _record(connection: sqlite3.Connection, place: StepPlace, took_ms: int, data: bytes) -> None:
    """The step's result, where its worker still has the run. Raises Fenced."""
    if connection.execute(_OWNED, (place.run_id, place.worker)).fetchone() is None:
        raise Fenced("the run was taken over while this step ran: its transaction is rolled back")
    row = (place.run_id, InboxKind.STEP_DONE.value, place.chapter, place.ordinal, 0)
    tx, blobs = Transaction(connection, 0), Blobs()
    connection.execute(INSERT_INBOX, (*row, str(took_ms), blobs.put(place.run_id, data), 0))
    tx.put(blobs)
    mark(tx, [place.run_id])


def _no_end(action: int, *_: Any) -> int:
    """The block cannot end its transaction: that would part its rows from the step's result."""
    return sqlite3.SQLITE_DENY if action == sqlite3.SQLITE_TRANSACTION else sqlite3.SQLITE_OK
