"""What people do to runs that are there, as rows of a SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wf.history.rows import DueKind
from wf.history.sqlite_rows import Transaction, mark

_PUT_OFF: Final = f"UPDATE due SET at = ? WHERE id = ? AND kind = {DueKind.START.value}"


def reschedule(tx: Transaction, run_id: bytes, at: int) -> bool:
    """False: it is not delayed (any more)."""
    if not tx.db.execute(_PUT_OFF, (at, run_id)).rowcount:
        return False
    tx.db.execute("UPDATE runs SET start_at = ? WHERE id = ?", (at, run_id))
    tx.told = True
    return True


def unblock(tx: Transaction, run_ids: Sequence[bytes]) -> set[bytes]:
    """Mark those that are parked; a claim does the rest."""
    parked = {row[0] for row in tx.rows("SELECT run_id FROM blocked WHERE run_id IN", run_ids)}
    if parked:
        mark(tx, sorted(parked))
    return parked
