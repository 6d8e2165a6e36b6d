"""A SQLite database in memory, for tests: the real statements, no file, no lock, no disk.

One connection writes and reads, so it is for one thread that does one thing at a time; others wait.
"""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Generator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Final

from wf.history.errors import StoreUnavailable
from wf.history.limits import STATEMENTS
from wf.history.sqlite_database import Database, make_schema, roll_back

WAIT_SECONDS: Final = 30.0
"""For another thread that is in a transaction: longer than any test means to hold one."""


class MemoryDatabase(Database):
    """Empty, with wf's schema. `wf.transaction()` in a step uses the same connection."""

    def __init__(self) -> None:
        self.path = Path(":memory:")
        self._lock = threading.Lock()
        self._holder = 0
        self._db = _connect()
        _template().backup(self._db)

    def empty(self) -> None:
        """As it was in the beginning."""
        _template().backup(self._db)

    @contextmanager
    def write(self) -> Generator[sqlite3.Connection]:
        db = self.hold()
        try:
            with self.errors():
                yield db
                db.execute("COMMIT")
        finally:
            self.let_go(db)

    def hold(self) -> sqlite3.Connection:
        if self._holder == threading.get_ident() or not self._lock.acquire(timeout=WAIT_SECONDS):
            raise StoreUnavailable(
                "the database in memory is in a transaction of this test: end that first"
            )
        self._holder = threading.get_ident()
        self._db.execute("BEGIN")
        return self._db

    def commit_held(self, db: sqlite3.Connection) -> None:
        with self.errors():
            db.execute("COMMIT")

    def let_go(self, db: sqlite3.Connection) -> None:
        roll_back(db)
        self._holder = 0
        self._lock.release()

    def rewrite(self) -> None:
        """Nothing is left in memory of what was removed."""

    @contextmanager
    def read(self) -> Generator[sqlite3.Connection]:
        with self.errors():
            if self._holder == threading.get_ident():
                yield self._db
                return
            with self._lock:
                yield self._db

    def close(self) -> None:
        """It stays as long as somebody has it: processes of a test share it."""


def _connect() -> sqlite3.Connection:
    db = sqlite3.connect(
        ":memory:", isolation_level=None, check_same_thread=False, cached_statements=STATEMENTS
    )
    db.execute("PRAGMA temp_store = MEMORY")
    return db


@cache
def _template() -> sqlite3.Connection:
    db = _connect()
    make_schema(db)
    return db
