"""What people do to runs that are there, as rows of a SQLite store."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wf.history.blobs import OWNED, REFERENCE_LENGTH, Blobs
from wf.history.events import Event
from wf.history.forking import event_rows, origin_gone
from wf.history.model import NewRun, Reason
from wf.history.pruning import DOOMED, OF_A_RUN, Doomed, still_going
from wf.history.sqlite_debounce import PUT_OFF, START_AT
from wf.history.sqlite_rows import INSERT_EVENTS, make_runs, mark
from wf.history.sqlite_transaction import Transaction

_CHILDREN: Final = "SELECT id, parent_id FROM runs WHERE parent_id IN"
_FORKED: Final = """SELECT r.id FROM runs f JOIN runs r ON f.origin_id IN (r.id, r.parent_id)
WHERE f.status = 0 AND f.origin_id IS NOT NULL AND r.id IN"""
_FORGET: Final = """DELETE FROM idempotency
WHERE environment = ? AND task = ? AND key = ? AND run_id = ?"""
_INHERIT: Final = f"""INSERT INTO blobs (owner, reference, data)
SELECT i.run_id, b.reference, b.data FROM blobs b CROSS JOIN inbox i
ON i.data = b.reference AND length(i.data) = {REFERENCE_LENGTH} WHERE b.owner IN"""
"""What somebody has yet to read stays with him. (CROSS JOIN says the order.)"""
_UNTAG: Final = "DELETE FROM tags WHERE environment = ? AND tag = ? AND run_id = ?"


def prune(tx: Transaction, run_ids: Sequence[bytes]) -> list[bytes]:
    """Remove ended runs with all that is theirs; answers which."""
    found = {row[0]: Doomed(*row) for row in tx.rows(f"{DOOMED} IN", run_ids)}
    ids = [run_id for run_id in run_ids if run_id in found]
    forked = {row[0] for row in tx.rows(_FORKED, ids)}
    going = still_going(ids, tx.rows(_CHILDREN, ids), forked)
    doomed = [found[run_id] for run_id in going]
    owners = [*going, *(row[0] for row in tx.rows(f"{OWNED} IN", going))]
    tx.execute(_INHERIT, owners, "ON CONFLICT DO NOTHING")
    tx.execute("DELETE FROM blobs WHERE owner IN", owners)
    for table in OF_A_RUN:
        tx.execute(f"DELETE FROM {table} WHERE run_id IN", going)
    tx.db.executemany(
        _FORGET,
        [(one.environment, one.task, one.idempotency_key, one.id)
         for one in doomed if one.idempotency_key],
    )  # fmt: skip
    tx.db.executemany(_UNTAG, [row for one in doomed for row in one.tags])
    tx.execute("DELETE FROM runs WHERE id IN", going)
    return going


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


def fork(tx: Transaction, run: NewRun, events: Sequence[Event]) -> None:
    """Make a run that has a history already. Raises NotFound."""
    there = {
        row[0] for row in tx.rows("SELECT id FROM runs WHERE id IN", [run.id, run.origin_id or b""])
    }
    if run.origin_id not in there:
        raise origin_gone(run)
    if run.id in there:
        return
    make_runs(tx, [run])
    blobs = Blobs()
    tx.db.executemany(INSERT_EVENTS, event_rows(run, events, blobs))
    tx.put(blobs)
    tx.db.execute(f"UPDATE ready SET reason = {Reason.RESUME.value} WHERE run_id = ?", (run.id,))
