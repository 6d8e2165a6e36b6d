"""Statements on their way to a Postgres server: all that nobody has asked after goes out in one
write, and what came of it is read at once.

psycopg's own pipeline writes each statement by itself, after two looks at the socket in which the
interpreter goes to another thread and has to be won back: three quarters of the time of a group
of one run.
"""

from __future__ import annotations

import re
import select
import struct
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Final

import psycopg
from psycopg.adapt import Transformer
from psycopg.errors import error_from_result
from psycopg.pq import ConnStatus, ExecStatus, Format
from psycopg.pq.abc import PGconn, PGresult

from wf.history.postgres_arrays import ARRAYS
from wf.history.store import Meanwhile, nothing

Values = Sequence[Any] | Mapping[str, Any]
Statement = tuple[str, Values]
Key = tuple[bytes, tuple[int, ...]]

TEXTS: Final = 1_000
"""Statements whose translation is remembered. Those of lists differ by what is asked."""
_PLACE: Final = re.compile(r"%s|%\((\w+)\)s")
_OF_ROWS: Final = ExecStatus.TUPLES_OK
_GOOD: Final = (ExecStatus.TUPLES_OK, ExecStatus.COMMAND_OK)
_int8: Final = struct.Struct(">q").pack


class Cursor:
    """What comes of a statement. Who asks after it in the middle of a flight waits for it."""

    __slots__ = ("_flight", "result")

    def __init__(self, flight: Flight) -> None:
        self._flight = flight
        self.result: PGresult | None = None

    def fetchall(self) -> list[tuple[Any, ...]]:
        result = self._arrived()
        transformer = Transformer()
        transformer.set_pgresult(result)
        return transformer.load_rows(0, result.ntuples, tuple)

    def fetchone(self) -> tuple[Any, ...] | None:
        return next(iter(self), None)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    @property
    def rowcount(self) -> int:
        """Rows that it answers or, where it answers none, has changed."""
        result = self._arrived()
        return result.ntuples if result.status == _OF_ROWS else result.command_tuples or 0

    def _arrived(self) -> PGresult:
        if self.result is None:
            self._flight.wait_for(self)
        assert self.result is not None
        return self.result


class Flight:
    """Those of one connection, which has no other statement under way. Each is a flight of its own,
    where they do not go together."""

    def __init__(self, pgconn: PGconn) -> None:
        self._pgconn = pgconn
        self._awaited: deque[Cursor | Key] = deque()
        """Statements, and what is prepared for them, whose answers have not come."""
        self._names: dict[Key, bytes] = {}
        self._count = 0
        self._is_begun = False
        self.behind: Statement | None = None
        """What goes out with the next ones, and is done when they are. Nobody asks what becomes of
        it."""
        self.prepares = False
        """The server remembers statements, and how they are done."""

    @contextmanager
    def together(self, meanwhile: Meanwhile = nothing) -> Generator[None]:
        """What is sent within goes out together; `meanwhile` is called when it has left. Raises
        what the first that failed did."""
        self._pgconn.enter_pipeline_mode()
        self._is_begun = True
        try:
            yield
        except BaseException:
            with suppress(psycopg.Error):
                self._land()
            raise
        self._land(meanwhile)

    def send(self, statement: str, values: Values, *, prepare: bool) -> Cursor:
        if self._is_begun:
            return self._launch(statement, values, prepare)
        with self.together():
            return self._launch(statement, values, prepare)

    def _launch(self, statement: str, values: Values, prepare: bool) -> Cursor:
        text, names = _translated(statement)
        given = [values[name] for name in names] if isinstance(values, Mapping) else values
        types, formats, data = zip(*map(_dumped, given), strict=True) if given else ((), (), ())
        if prepare and self.prepares:
            name = self._prepared((text, types))
            self._pgconn.send_query_prepared(name, data, formats, Format.BINARY)
        else:
            self._pgconn.send_query_params(text, data, types, formats, Format.BINARY)
        cursor = Cursor(self)
        self._awaited.append(cursor)
        return cursor

    def _prepared(self, key: Key) -> bytes:
        name = self._names.get(key)
        if name is None:
            self._count += 1
            name = self._names[key] = b"wf_%d" % self._count
            self._pgconn.send_prepare(name, *key)
            self._awaited.append(key)
        return name

    def wait_for(self, cursor: Cursor) -> None:
        """Raises what became of it, or of a statement before it."""
        self._pgconn.send_flush_request()
        while self._awaited and cursor.result is None:
            self._check(self._next())

    def _land(self, meanwhile: Meanwhile = nothing) -> None:
        """All has been sent: wait for it."""
        self._is_begun = False
        self._pgconn.pipeline_sync()
        behind, self.behind = self.behind, None
        if behind is not None:
            self._launch(*behind, prepare=True)
            self._pgconn.pipeline_sync()
        while self._pgconn.flush():
            self._exchange()
        meanwhile()
        failed = self._rest()
        if behind is not None:
            self._rest()
        self._pgconn.exit_pipeline_mode()
        if failed is not None:
            self._check(failed)

    def _rest(self) -> PGresult | None:
        """All answers up to the next end of a transaction; the first that says of a failure."""
        failed: PGresult | None = None
        while (result := self._next()).status != ExecStatus.PIPELINE_SYNC:
            if failed is None and result.status not in _GOOD:
                failed = result
        return failed

    def _check(self, result: PGresult) -> None:
        if result.status not in _GOOD:
            error = error_from_result(result)
            raise error if error.sqlstate else psycopg.OperationalError(str(error))

    def _next(self) -> PGresult:
        """The next answer, given to who awaits it. Where that cannot be had, the connection is of
        no use any more."""
        pgconn = self._pgconn
        try:
            while True:
                if pgconn.is_busy():
                    self._exchange()
                elif (result := pgconn.get_result()) is not None:
                    break
                elif pgconn.status == ConnStatus.BAD:
                    raise psycopg.OperationalError(pgconn.error_message.decode(errors="replace"))
        except BaseException:
            pgconn.finish()
            raise
        if result.status != ExecStatus.PIPELINE_SYNC:
            awaited, is_good = self._awaited.popleft(), result.status in _GOOD
            if isinstance(awaited, Cursor):
                awaited.result = result if is_good else None
            elif not is_good:
                del self._names[awaited]
        return result

    def _exchange(self) -> None:
        """Wait until something comes, and send what the socket had no room for."""
        socket = select.poll()
        is_full = self._pgconn.flush()
        socket.register(self._pgconn.socket, select.POLLIN | (select.POLLOUT if is_full else 0))
        socket.poll()
        self._pgconn.consume_input()


@lru_cache(TEXTS)
def _translated(statement: str) -> tuple[bytes, Sequence[str]]:
    """With places as Postgres has them, and the names of those that are named."""
    names: list[str] = []
    count = 0

    def place(found: re.Match[str]) -> str:
        nonlocal count
        name = found[1]
        if name is None:
            count += 1
            return f"${count}"
        if name not in names:
            names.append(name)
        return f"${names.index(name) + 1}"

    return _PLACE.sub(place, statement).encode(), names


def _dumped(value: Any) -> tuple[int, Format, bytes | None]:
    """Type, format, bytes."""
    for kind in type(value).__mro__:
        if kind in _KINDS:
            oid, coded, dump = _KINDS[kind]
            return oid, coded, dump(value)
    raise TypeError(f"{type(value).__name__} is nothing that a statement is given")


def _text(value: str) -> bytes:
    """Of whatever type the server takes it for."""
    if "\0" in value:
        raise psycopg.DataError("no text of Postgres has a NUL")
    return value.encode()


_KINDS: Final[dict[type, tuple[int, Format, Callable[[Any], bytes | None]]]] = {
    type(None): (0, Format.TEXT, lambda _: None),
    bool: (16, Format.BINARY, lambda value: b"\1" if value else b"\0"),
    int: (20, Format.BINARY, _int8),
    str: (0, Format.TEXT, _text),
    bytes: (17, Format.BINARY, bytes),
    **{kind: (oid, Format.BINARY, bytes) for kind, oid in ARRAYS.items()},
}
