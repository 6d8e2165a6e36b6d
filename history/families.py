"""What stands below a run, for people: single children by id, those of batches counted.

A batch may have 100,000 runs: one look tells how many of them ended in which way, and a few are
named.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from wf.history.events import LIVE, STORED, Status
from wf.history.store import Store, query_of


class Members(Struct, frozen=True):
    """The runs of a batch. Times in ms since the epoch."""

    task: str
    begin_ms: int
    ended_ms: int
    """When the last of those that have ended did; 0: none has."""
    ends: Mapping[Status, int]
    """How many ended in which way."""
    live: int


def batches_of(store: Store, run_id: bytes) -> dict[bytes, Members]:
    """The batches that a run started (its body, or a step), by id."""
    found: dict[bytes, Members] = {}
    for batch, task, status, count, begin, ended in query_of(store)(_BATCHES, (run_id,)):
        batch_id, begin = bytes(batch), int(begin)
        known = found.get(batch_id) or Members(task, begin, 0, {}, 0)
        found[batch_id] = Members(
            task,
            min(known.begin_ms, begin),
            max(known.ended_ms, int(ended or 0)),
            known.ends if status == LIVE else {**known.ends, _STATUS[status]: int(count)},
            int(count) if status == LIVE else known.live,
        )
    return found


def members_of(store: Store, run_id: bytes, batch_id: bytes, most: int) -> list[bytes]:
    """A few of a batch: those that did not complete before those that did or live, each in the
    order of the items."""
    return [bytes(row[0]) for row in query_of(store)(_MEMBERS, (run_id, batch_id, most))]


def single_children(store: Store, run_id: bytes, most: int) -> tuple[list[bytes], int]:
    """The latest of those that are in no batch, the oldest first; how many there are besides."""
    query = query_of(store)
    rows = query(_SINGLE, (run_id, most + 1))
    ids = [bytes(row[0]) for row in rows]
    others = int(query(_SINGLE_COUNT, (run_id,))[0][0]) - most if len(ids) > most else 0
    return ids[:most][::-1], others


_STATUS: Final = {number: status for status, number in STORED.items()}
_BELOW: Final = (
    "WITH below AS MATERIALIZED"
    " (SELECT id, task, batch_id, status, created_at, ended_at FROM runs WHERE parent_id = ?) "
)
_BATCHES: Final = (
    f"{_BELOW}SELECT batch_id, min(task), status, count(*), min(created_at), max(ended_at)"
    " FROM below WHERE batch_id IS NOT NULL GROUP BY batch_id, status"
)
_MEMBERS: Final = (
    f"{_BELOW}SELECT id FROM below WHERE batch_id = ? ORDER BY CASE WHEN status IN"
    f" ({LIVE}, {STORED[Status.COMPLETED]}) THEN 1 ELSE 0 END, id LIMIT ?"
)
_SINGLE: Final = f"{_BELOW}SELECT id FROM below WHERE batch_id IS NULL ORDER BY id DESC LIMIT ?"
_SINGLE_COUNT: Final = f"{_BELOW}SELECT count(*) FROM below WHERE batch_id IS NULL"
