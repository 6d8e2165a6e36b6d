"""What a simulation reads of its store behind everybody's back."""

from __future__ import annotations

from typing import Any, Final

from wf.history.checks import CHECKS
from wf.history.sqlite import SQLiteStore

_LIMITS: Final = [check for check in CHECKS if check.invariant == "I11"]


class Tables:
    """The tables of `store`: no call of it is counted, delayed or lost."""

    def __init__(self, store: SQLiteStore) -> None:
        self._query = store._query  # pyright: ignore[reportPrivateUsage]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        return self._query(sql, ())

    def ids(self, sql: str) -> list[bytes]:
        return [row[0] for row in self.rows(sql)]

    def overfull(self) -> list[str]:
        """Queues whose slots are more than their limits."""
        return [str(one) for check in _LIMITS for one in check.breaches(self._query)]

    def live_runs(self) -> list[bytes]:
        return self.ids("SELECT id FROM runs WHERE status = 0 ORDER BY id")
