"""What a simulation reads of its store behind everybody's back."""

from __future__ import annotations

from typing import Any

from wf.history.sqlite import SQLiteStore


class Tables:
    """The tables of `store`: no call of it is counted, delayed or lost."""

    def __init__(self, store: SQLiteStore) -> None:
        self._store = store

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._store._query(sql, ())  # pyright: ignore[reportPrivateUsage]

    def ids(self, sql: str) -> list[bytes]:
        return [row[0] for row in self.rows(sql)]

    def live_runs(self) -> list[bytes]:
        return self.ids("SELECT id FROM runs WHERE status = 0 ORDER BY id")
