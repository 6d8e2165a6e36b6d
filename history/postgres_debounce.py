"""Debounced triggers on Postgres: their keys are locked as idempotency keys are, by their order,
then the runs that have them. A worker's pass over due times skips what is locked here, and is
not waited for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from wf.history import postgres_sql as sql
from wf.history.blobs import Blobs
from wf.history.borrowed import Plan
from wf.history.debouncing import Held, Push, key_of, settle
from wf.history.model import NewRun, Triggered
from wf.history.postgres_arrays import byteas, int8s, table
from wf.history.rows import DueKind, columns, tags_json
from wf.history.store import in_rows

THERE: Final = "SELECT id FROM runs WHERE id = ANY (%s::bytea[])"

HOLD: Final = """INSERT INTO debounces AS k (environment, task, key, run_id)
SELECT a.environment, a.task, a.key, a.run_id
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[]) AS a(environment, task, key, run_id)
ORDER BY a.environment COLLATE "C", a.task COLLATE "C", a.key COLLATE "C"
ON CONFLICT (environment, task, key) DO UPDATE SET run_id = k.run_id
RETURNING environment, task, key, run_id"""
"""Takes keys that nobody has, and locks them all."""

HELD: Final = f"""SELECT r.id, r.created_at, d.at, coalesce(r.tags, '[]')
FROM runs r JOIN due d ON d.id = ANY (ARRAY[r.id]) AND d.kind = {int(DueKind.START)}
WHERE r.id = ANY (%s::bytea[]) ORDER BY r.id
FOR NO KEY UPDATE OF r FOR UPDATE OF d SKIP LOCKED"""
"""Those runs of keys that are delayed, locked. Follows HOLD. Who cancels or reschedules one has
locked its row, and is waited for; a due time that is locked beside it is over, and its run starts:
waiting for that worker could be waiting for one that waits for our key."""

MOVE: Final = """UPDATE debounces k SET run_id = a.run_id
FROM unnest(%s::text[], %s::text[], %s::text[], %s::bytea[]) AS a(environment, task, key, run_id)
WHERE k.environment = ANY (ARRAY[a.environment]) AND k.task = a.task AND k.key = a.key"""

PUT_OFF: Final = f"""WITH moved AS (
 UPDATE due SET at = a.at FROM unnest(%s::bytea[], %s::int8[]) AS a(id, at)
 WHERE due.id = ANY (ARRAY[a.id]) AND due.kind = {int(DueKind.START)} RETURNING due.id, due.at)
UPDATE runs SET start_at = moved.at FROM moved
 WHERE runs.id = ANY (ARRAY[moved.id]) RETURNING runs.id"""
"""Delayed runs start at other times. Their rows in `runs` are locked."""

_REWRITTEN: Final = "payload, tags, queue, key, priority, ttl_ms, version, options"
REWRITE: Final = f"""UPDATE runs SET ({_REWRITTEN}) = ({sql.said(columns("a", _REWRITTEN))})
FROM unnest(%s::bytea[], %s::bytea[], %s::text[], %s::text[], %s::text[], %s::int8[], %s::int8[],
 %s::text[], %s::bytea[]) AS a(id, {_REWRITTEN})
WHERE runs.id = ANY (ARRAY[a.id])"""

UNTAG: Final = """DELETE FROM tags t USING
 unnest(%s::text[], %s::bytea[], %s::bytea[]) AS a(environment, tag, run_id)
WHERE t.environment = ANY (ARRAY[a.environment]) AND t.tag = a.tag AND t.run_id = a.run_id"""

TAG: Final = """INSERT INTO tags (environment, tag, run_id)
SELECT * FROM unnest(%s::text[], %s::bytea[], %s::bytea[]) ON CONFLICT DO NOTHING"""


def debouncing(runs: Sequence[NewRun]) -> Plan[dict[bytes, tuple[bytes, Triggered]]]:
    """Push the runs of keys that have one. Answers which run each of these is; MADE: to be made, as
    it is then, or a repeat."""
    there = {bytes(row[0]) for row in (yield THERE, [byteas(in_rows(run.id for run in runs))])}
    answers = {run_id: (run_id, Triggered.MADE) for run_id in there}
    runs = [run for run in runs if run.id not in there]
    first = {key_of(run): run.id for run in reversed(runs)}
    rows = yield HOLD, table("tttb", [(*key, run_id) for key, run_id in first.items()])
    holders = {bytes(row[3]): (row[0], row[1], row[2]) for row in rows}
    delayed = yield HELD, [byteas(in_rows(holders))]
    held = {
        holders[bytes(row[0])]: Held(bytes(row[0]), row[1], row[2], json.loads(row[3]))
        for row in delayed
    }
    settled = settle(runs, held)
    moved = [(*key, run_id) for key, run_id in settled.holders.items() if run_id not in holders]
    if moved:
        yield MOVE, table("tttb", moved)
    if settled.pushes:
        pushes = list(settled.pushes.values())
        ids = [push.held.run_id for push in pushes]
        yield PUT_OFF, [byteas(ids), int8s([push.start_at for push in pushes])]
        yield from _rewriting(pushes)
    return answers | settled.answers


def _rewriting(pushes: Sequence[Push]) -> Plan[None]:
    blobs = Blobs()
    rows: list[tuple[Any, ...]] = []
    old: list[tuple[Any, ...]] = []
    new: list[tuple[Any, ...]] = []
    for push in pushes:
        run_id, by = push.held.run_id, push.rewritten
        if by is None:
            continue
        rows.append(
            (run_id, blobs.put(run_id, by.payload), tags_json(by.tags), by.queue, by.key,
             by.priority, by.ttl_ms, by.version, by.options)
        )  # fmt: skip
        if list(by.tags) != push.held.tags:
            old += [(by.environment, tag.encode(), run_id) for tag in push.held.tags]
            new += [(by.environment, tag.encode(), run_id) for tag in by.tags]
    if rows:
        yield REWRITE, table("bbtttiitb", rows)
    for row in blobs.rows:
        yield sql.BLOB, row
    if old:
        yield UNTAG, table("tbb", old)
    if new:
        yield TAG, table("tbb", new)
