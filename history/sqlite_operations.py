"""What people do to runs that are there, as rows of a SQLite store."""

from __future__ import annotations

from collections.abc import Sequence

from wf.history.sqlite_debounce import PUT_OFF, START_AT
from wf.history.sqlite_rows import Transaction, mark


def reschedule(tx: Transaction, run_id: bytes, at: int) -> bool:
    """False: it is not delayed (any more)."""
    if not tx.db.execute(PUT_OFF, (at, run_id)).rowcount:
        return False
    tx.db.execute(START_AT, (at, run_id))
    tx.told = True
    return True


def unblock(tx: Transaction, run_ids: Sequence[bytes]) -> set[bytes]:
    """Mark those that are parked; a claim does the rest."""
    parked = {row[0] for row in tx.rows("SELECT run_id FROM blocked WHERE run_id IN", run_ids)}
    if parked:
        mark(tx, sorted(parked))
    return parked
