"""A transaction on a SQLite file, and what every part of it may leave: stirs of queues."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, Protocol

from msgspec import Struct

from wf.history.blobs import PUT, Blobs

_SIZES: Final = (1, 8, 64, 500)
"""Lengths of `IN (…)`: few different texts, so that each is prepared once. The rest is padded, but
not to many times what it is: every place costs a look-up."""
_LISTS: Final = {size: f"({', '.join('?' * size)})" for size in _SIZES}

MARKED: Final = "RETURNING environment, task, queue, key, owner"
OWNED: Final = "RETURNING run_id, environment, queue, key"
UNROUTE: Final = "UPDATE ready SET owner = NULL WHERE"
"""What `stir_marks` and `give_back_slots` read."""


class Statements(Protocol):
    """What a connection does for us."""

    def execute(self, sql: str, parameters: Any = ..., /) -> sqlite3.Cursor: ...
    def executemany(self, sql: str, parameters: Iterable[Any], /) -> sqlite3.Cursor: ...


class Transaction(Struct):
    db: Statements
    now: int
    told: bool = False
    """Marks were made or runs ended: others want to know."""
    marked: bool = False
    """There is something to claim that was not there before."""

    def rows(self, before: str, ids: Iterable[bytes], after: str = "") -> Iterator[Any]:
        """All rows of `before (ids) after`, a list at a time."""
        for texts, part in _lists(ids):
            yield from self.db.execute(f"{before} {texts} {after}", part)

    def execute(self, before: str, ids: Iterable[bytes], after: str = "") -> None:
        for texts, part in _lists(ids):
            self.db.execute(f"{before} {texts} {after}", part)

    def put(self, blobs: Blobs) -> None:
        if blobs.rows:
            self.db.executemany(PUT, blobs.rows)


def _lists(ids: Iterable[bytes]) -> Iterator[tuple[str, Sequence[bytes]]]:
    rest = list(ids)
    while rest:
        size = next((size for size in _SIZES if size >= len(rest)), _SIZES[-1])
        if size == _SIZES[-1] and 2 * len(rest) < size:
            size = _SIZES[-2]
        part, rest = rest[:size], rest[size:]
        yield _LISTS[size], part + part[-1:] * (size - len(part))


def stir_marks(tx: Transaction, marks: Iterable[Sequence[Any]]) -> None:
    """Of these marks (MARKED), those that are for all and in a queue want slots."""
    stir(tx, (row[:4] for row in marks if row[2] and row[4] is None))


def give_back_slots(tx: Transaction, owned: Iterable[Sequence[Any]]) -> None:
    """These runs (OWNED) are owned no more: what they held is free, for any task."""
    stir(tx, ((row[1], "", row[2], row[3]) for row in owned if row[2] is not None))


def stir(tx: Transaction, lanes: Iterable[Sequence[str]]) -> None:
    """Something may start in these (environment, task or "", queue, key)."""
    rows = sorted({tuple(lane) for lane in lanes})
    if rows:
        tx.db.executemany(
            "INSERT INTO stirs (environment, task, queue, key) VALUES (?, ?, ?, ?)", rows
        )
        tx.told = tx.marked = True
