"""Wake-ups on Postgres: NOTIFY travels behind the transaction that it tells of, in the same write;
one thread LISTENs, and one tells what had to wait, a connection each.

NOTIFY is never part of a transaction that writes events: its commit takes a lock of the whole
server. What comes too soon after the last one waits for the next, with all that many commits have
to tell meanwhile. All of it is a hint: where a pooler or an outage swallows it, polling finds what
there is.
"""

from __future__ import annotations

import logging
import os
import secrets
import select
import socket
import time
from collections.abc import Callable
from threading import Event, Lock, Thread, current_thread
from typing import Final

import psycopg

from wf.history.errors import Error
from wf.history.postgres_flight import Statement
from wf.history.postgres_pool import Connection, Pool, send

CHANNEL: Final = "wf"
NOTIFY: Final = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"
"""Who listens is told at once: a hint need not be durable, so that its commit waits for no disk."""
NOTIFY_EVERY_S: Final = 0.002
"""At most 500 NOTIFYs a second from one process: their commits go through one lock of the whole
server."""
RETRY_S: Final = 1.0
STOP_S: Final = 1.0
"""How long `close` waits for a thread: one that is just connecting is left behind."""

_log = logging.getLogger("wf.history")


class Wakes:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._me = secrets.token_hex(4)
        self._statement: Statement = (NOTIFY, [CHANNEL, self._me])
        self._warned = False
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._listeners: dict[object, Callable[[], None]] = {}
        self._listening: Thread | None = None
        self._notifying: Thread | None = None
        self._told = Event()
        self._sent_at = 0.0
        self._closed = Event()
        self._stop: socket.socket | None = None

    def _here(self) -> None:
        if self._pid != os.getpid():
            self._begin()

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        self._here()
        key = object()
        with self._lock:
            self._listeners[key] = wake
            if self._listening is None and not self._closed.is_set():
                self._listening = _start(self._listen)

        def stop() -> None:
            with self._lock:
                self._listeners.pop(key, None)

        return stop

    def aboard(self) -> Statement | None:
        """For a transaction to take along, behind its end. None: it is too soon after the last."""
        self._here()
        with self._lock:
            now = time.monotonic()
            if now < self._sent_at + NOTIFY_EVERY_S:
                return None
            self._sent_at = now
        return self._statement

    def hint(self, *, is_sent: bool = False) -> None:
        """`is_sent`: other processes are told already."""
        self._here()
        self._wake()
        if is_sent:
            return
        self._told.set()
        if self._notifying is None:
            with self._lock:
                if self._notifying is None and not self._closed.is_set():
                    self._notifying = _start(self._notify)

    def close(self) -> None:
        if self._pid != os.getpid():
            return
        self._closed.set()
        self._told.set()
        with self._lock:
            if self._stop is not None:
                self._stop.shutdown(socket.SHUT_WR)
        for thread in (self._listening, self._notifying):
            if thread is not None and thread is not current_thread():
                thread.join(STOP_S)

    def _wake(self) -> None:
        with self._lock:
            listeners = list(self._listeners.values())
        for wake in listeners:
            try:
                wake()
            except Exception:
                _log.exception("a listener failed; the commit that it was told of stands")

    def _listen(self) -> None:
        self._connected(self._listen_on)

    def _listen_on(self, connection: Connection) -> None:
        connection.execute(f"LISTEN {CHANNEL}")
        if not connection.flight.prepares and not self._warned:
            self._warned = True
            _log.warning("a pooler stands before Postgres: wake-ups may be lost, wf polls instead")
        stopped, stop = socket.socketpair()
        with stopped, stop:
            with self._lock:
                self._stop = stop
            try:
                self._wake()  # what was told while we did not listen
                while not self._closed.is_set():
                    select.select([connection.fileno(), stopped], [], [])
                    notices = list(connection.notifies(timeout=0))
                    if any(notice.payload != self._me for notice in notices):
                        self._wake()
            finally:
                with self._lock:
                    self._stop = None

    def _notify(self) -> None:
        self._connected(self._notify_on)

    def _notify_on(self, connection: Connection) -> None:
        while not self._closed.is_set():
            self._told.wait()
            while (statement := self.aboard()) is None:
                self._closed.wait(NOTIFY_EVERY_S)
            self._told.clear()
            send(connection, *statement)

    def _connected(self, work: Callable[[Connection], None]) -> None:
        """Do it, on a new connection whenever one was lost."""
        while not self._closed.is_set():
            try:
                with self._pool.connect() as connection:
                    work(connection)
            except (Error, psycopg.Error):
                self._closed.wait(RETRY_S)


def _start(work: Callable[[], None]) -> Thread:
    thread = Thread(target=work, name=f"wf-postgres{work.__name__}", daemon=True)
    thread.start()
    return thread
