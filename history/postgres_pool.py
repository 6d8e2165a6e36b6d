"""Connections of one process to one Postgres, and what their failures mean.

A connection has no session state, so that PgBouncer may give each transaction another one; prepared
statements are the exception, made only where no pooler stands between. The connection given back
last is lent first: a worker's thread keeps its own. A child process made by fork makes its own
connections; those of its parent it never touches.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from threading import BoundedSemaphore, Lock
from typing import Any, Final, TypeVar

import psycopg
from psycopg import errors as pg
from psycopg.pq.abc import PGconn
from psycopg.rows import RowFactory, TupleRow, tuple_row

from wf.history.errors import BadURL, StoreUnavailable
from wf.history.postgres_flight import Cursor, Flight, Values

MAX_CONNECTIONS: Final = 16
"""Of one process at a time, beside one to listen and one to notify: Postgres has 100 by default."""
CONNECT_TIMEOUT_S: Final = 10
KEEPALIVE_S: Final = 5
"""A peer that vanished without a word is found out after three times this."""
TRIES: Final = 10
"""Of a transaction that deadlocks or cannot be serialized: each time somebody else got through."""
TOO_MUCH: Final = "54"
"""A class of SQLSTATEs: a row that no index takes, say. Trying again does not help."""
GOOD_SCHEMES: Final = ("postgresql://", "postgres://", "postgresql+psycopg://")

SETTINGS: Final[dict[str, Any]] = {
    "autocommit": True,
    "prepare_threshold": None,
    "connect_timeout": CONNECT_TIMEOUT_S,
    "keepalives_idle": KEEPALIVE_S,
    "keepalives_interval": KEEPALIVE_S,
    "keepalives_count": 2,
    "tcp_user_timeout": 3 * KEEPALIVE_S * 1000,
    "application_name": "wf",
}

_UNAVAILABLE: Final = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    pg.IdleInTransactionSessionTimeout,
    pg.ReadOnlySqlTransaction,
)
_T = TypeVar("_T")


class Connection(psycopg.Connection[TupleRow]):
    """With the statements that are under way on it."""

    def __init__(self, pgconn: PGconn, row_factory: RowFactory[TupleRow] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self.flight = Flight(pgconn)


class Pool:
    def __init__(self, url: str) -> None:
        if not url.startswith(GOOD_SCHEMES):
            raise BadURL(
                f"{url!r} is no Postgres URL: it looks like postgresql://user@host/database"
            )
        self.target = "postgresql://" + url.partition("://")[2]
        self._inherited: list[Connection] = []
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._idle: list[Connection] = []
        self._places = BoundedSemaphore(MAX_CONNECTIONS)
        self._closed = False

    def connect(self) -> Connection:
        """A new connection, that the caller closes."""
        try:
            connection = Connection.connect(self.target, **SETTINGS)
        except psycopg.OperationalError as error:
            raise StoreUnavailable(f"no connection to Postgres: {_line(error)}") from error
        except psycopg.ProgrammingError as error:
            raise BadURL(f"Postgres URL: {_line(error)}") from error
        connection.flight.prepares = _is_direct(connection)
        return connection

    @contextmanager
    def lend(self) -> Generator[Connection]:
        """A connection for a moment. After an error it is given back only in order."""
        if self._pid != os.getpid():
            self._inherited += self._idle
            self._begin()
        places = self._places
        with places:
            with self._lock:
                connection = self._idle.pop() if self._idle else None
            connection = connection or self.connect()
            try:
                yield connection
            except BaseException:
                _roll_back(connection)
                raise
            finally:
                self._give_back(connection)

    def _give_back(self, connection: Connection) -> None:
        if connection.closed or connection.broken:
            self.clear()
            connection.close()
            return
        with self._lock:
            if not self._closed:
                self._idle.append(connection)
                return
        connection.close()

    def clear(self) -> None:
        """Where one connection was lost, the others were, most likely."""
        with self._lock:
            idle, self._idle = self._idle, []
        for connection in idle:
            connection.close()

    def close(self) -> None:
        if self._pid == os.getpid():
            self._closed = True
            self.clear()

    def run(self, work: Callable[[Connection], _T], *, again: bool = True) -> _T:
        """Do a transaction. Deadlocks and serialization failures are tried again; with `again`, for
        what may happen twice, so is a lost connection, once: an idle one may have died long ago."""
        lost = 0
        for left in reversed(range(TRIES)):
            try:
                with self.lend() as connection:
                    return work(connection)
            except (pg.DeadlockDetected, pg.SerializationFailure) as error:
                if not left:
                    raise StoreUnavailable(f"Postgres: {_line(error)}") from error
            except _UNAVAILABLE as error:
                if (error.sqlstate or "").startswith(TOO_MUCH):
                    raise
                unknown = not _refused(error)
                if lost or not again or not unknown:
                    text = f"Postgres: {_line(error)}"
                    raise StoreUnavailable(text, outcome_unknown=unknown) from error
                lost += 1
        raise AssertionError("the last try answers or raises")


def send(
    connection: Connection, statement: str, values: Values = (), *, prepare: bool = True
) -> Cursor:
    """Execute. Its plan is kept: planning is two thirds of a small group's time."""
    return connection.flight.send(statement, values, prepare=prepare)


def _is_direct(connection: Connection) -> bool:
    """Nothing stands between us and the server process, so that it may remember statements. A
    pooler tells another pid at the start than the server itself."""
    row = connection.execute("SELECT pg_backend_pid()").fetchone()
    return row is not None and row[0] == connection.info.backend_pid


def _roll_back(connection: Connection) -> None:
    try:
        if not connection.closed:
            connection.rollback()
    except psycopg.Error:
        connection.close()


def _refused(error: psycopg.Error) -> bool:
    """The server lives and says that this did not happen (no space, too many locks, …)."""
    return error.sqlstate is not None and not error.sqlstate.startswith(("57", "08"))


def unavailable(error: psycopg.Error) -> StoreUnavailable:
    """What the failure of a COMMIT means."""
    return StoreUnavailable(f"Postgres: {_line(error)}", outcome_unknown=not _refused(error))


def _line(error: Any) -> str:
    return " ".join(str(error).split())
