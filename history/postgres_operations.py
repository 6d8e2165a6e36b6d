"""What people do to runs that are there, on Postgres. Locks are taken in the order of
`postgres_sql`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wf.history import postgres_sql as sql
from wf.history.postgres_arrays import byteas, int8s
from wf.history.postgres_debounce import PUT_OFF
from wf.history.postgres_pool import Connection, send
from wf.history.postgres_rows import transaction
from wf.history.store import in_rows

PARKED: Final = f"""WITH parked AS (
 SELECT run_id AS id FROM blocked WHERE run_id = ANY (%s::bytea[]))
SELECT {sql.note("woken", "parked")}, (SELECT array_agg(id) FROM parked)"""
"""Notes them for MARK."""


def reschedule(connection: Connection, run_id: bytes, at: int) -> bool:
    """False: it is not delayed (any more)."""
    with transaction(connection):
        send(connection, sql.LOCK_RUNS, [byteas([run_id])])
        moved = send(connection, PUT_OFF, [byteas([run_id]), int8s([at])])
    return moved.rowcount > 0


def unblock(connection: Connection, run_ids: Sequence[bytes], now: int) -> set[bytes]:
    """Mark those that are parked; a claim does the rest."""
    with transaction(connection):
        parked = send(connection, PARKED, [byteas(in_rows(run_ids))])
        send(connection, sql.MARK, [now])
    return {bytes(one) for one in parked.fetchall()[0][1] or ()}
