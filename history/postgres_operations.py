"""What people do to runs that are there, on Postgres. Locks are taken in the order of
`postgres_sql`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from wf.history import blobs, pruning
from wf.history import postgres_sql as sql
from wf.history.cold import chunks
from wf.history.events import Event
from wf.history.forking import event_rows, origin_gone, referred
from wf.history.model import NewRun, Reason
from wf.history.postgres_arrays import byteas, int8s, table
from wf.history.postgres_debounce import PUT_OFF, UNTAG
from wf.history.postgres_pool import Connection, send
from wf.history.postgres_rows import EVENT_KINDS, insert_runs, put, take_keys, transaction
from wf.history.pruning import OF_A_RUN, Doomed, still_going
from wf.history.store import in_rows

PARKED: Final = f"""WITH parked AS (
 SELECT run_id AS id FROM blocked WHERE run_id = ANY (%s::bytea[]))
SELECT {sql.note("woken", "parked")}, (SELECT array_agg(id) FROM parked)"""
"""Notes them for MARK."""


LOCK: Final = """SELECT count(*) FROM (
 SELECT id FROM runs WHERE id = ANY (%s::bytea[]) ORDER BY id FOR UPDATE) locked"""
"""Before runs are removed: a replay that refers to one of them waits, and does not find it."""

DOOM: Final = f"{sql.looked_up(pruning.DOOMED)} = ANY (%s::bytea[])"

CHILDREN: Final = "SELECT id, parent_id FROM runs WHERE parent_id = ANY (%s::bytea[])"

FORKED: Final = """SELECT r.id FROM runs r WHERE r.id = ANY (%s::bytea[])
 AND ((SELECT 1 FROM runs f WHERE f.origin_id = r.id AND f.status = 0 LIMIT 1) = 1
  OR (SELECT 1 FROM runs f WHERE f.origin_id = r.parent_id AND f.status = 0 LIMIT 1) = 1)"""
"""Live runs replay it, or are forks of it or of the run that triggered it. (With EXISTS all runs
that are live would be read, and hashed.)"""

HOLD: Final = """SELECT r.id FROM runs r WHERE r.id = ANY (%s::bytea[])
ORDER BY r.id FOR KEY SHARE"""
"""Nobody removes these until the fork that refers to them is there."""

SHARED: Final = f"{sql.EVENTS} ON CONFLICT DO NOTHING"

BEGUN: Final = f"UPDATE ready SET reason = {int(Reason.RESUME)} WHERE run_id = %s"

REMOVE: Final = "DELETE FROM runs WHERE id = ANY (%s::bytea[])"


FORGET: Final = """DELETE FROM idempotency k USING
 unnest(%s::text[], %s::text[], %s::text[], %s::bytea[]) AS a(environment, task, key, run_id)
WHERE k.environment = ANY (ARRAY[a.environment]) AND k.task = a.task AND k.key = a.key
 AND k.run_id = a.run_id"""
TOKENS: Final = f"{blobs.OWNED} = ANY (%s::bytea[]) ORDER BY id || '' FOR UPDATE"
"""Locked: who begins to wait for one of them now waits, and does not find it."""
INHERIT: Final = f"""INSERT INTO blobs (owner, reference, data)
SELECT i.run_id, b.reference, b.data FROM blobs b CROSS JOIN LATERAL (
 SELECT run_id FROM inbox WHERE data = b.reference AND length(data) = {blobs.REFERENCE_LENGTH}
 OFFSET 0) i
WHERE b.owner = ANY (%s::bytea[]) ON CONFLICT DO NOTHING"""
"""What somebody has yet to read stays with him."""
UNBLOB: Final = "DELETE FROM blobs WHERE owner = ANY (%s::bytea[])"
OF_RUNS: Final = [f"DELETE FROM {table} WHERE run_id = ANY (%s::bytea[])" for table in OF_A_RUN]


def prune(connection: Connection, run_ids: Sequence[bytes]) -> list[bytes]:
    """Remove ended runs with all that is theirs; answers which."""
    asked = byteas(in_rows(run_ids))
    with transaction(connection):
        send(connection, LOCK, [asked])
        rows = send(connection, DOOM, [asked])
        children = send(connection, CHILDREN, [asked])
        forked = send(connection, FORKED, [asked])
        found = {bytes(row[0]): Doomed(bytes(row[0]), *row[1:]) for row in rows.fetchall()}
        pairs = [(bytes(child), bytes(parent)) for child, parent in children.fetchall()]
        forks = {bytes(row[0]) for row in forked.fetchall()}
        going = still_going([one for one in run_ids if one in found], pairs, forks)
        doomed = [found[run_id] for run_id in going]
        ids = byteas(in_rows(going))
        keys = [(o.environment, o.task, o.idempotency_key, o.id) for o in doomed]
        send(connection, FORGET, table("tttb", [row for row in keys if row[2]]))
        tokens = send(connection, TOKENS, [ids]).fetchall() if going else []
        owners = byteas(in_rows([*going, *(bytes(row[0]) for row in tokens)]))
        send(connection, INHERIT, [owners])
        send(connection, UNBLOB, [owners])
        for statement in OF_RUNS:
            send(connection, statement, [ids])
        send(connection, UNTAG, table("tbb", [row for one in doomed for row in one.tags]))
        send(connection, REMOVE, [ids])
    return going


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


def fork(connection: Connection, run: NewRun, events: Sequence[Event]) -> None:
    """Make a run that has a history already. May be done twice. Raises NotFound."""
    with transaction(connection):
        held = send(connection, HOLD, [byteas(in_rows(referred(run, events)))])
        if run.origin_id not in {bytes(row[0]) for row in held.fetchall()}:
            raise origin_gone(run)
        insert_runs(connection, [run], take_keys(connection, [run]))
        values = blobs.Blobs()
        for part in chunks(event_rows(run, events, values)):
            send(connection, SHARED, table(EVENT_KINDS, part))
        put(connection, values)
        send(connection, BEGUN, [run.id])
