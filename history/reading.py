"""A run as people read it, on both stores: its row, with what the hot tables say of it.

The status of a live run is not stored, it follows from the hot tables: owned, ready, due.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, Final

from wf.history.events import Kind, Status
from wf.history.model import Blocked, Reason, Run
from wf.history.notes import first_metadata
from wf.history.rows import (
    EVENT_COLUMNS,
    RUN_STATUS,
    RUN_WIDTH,
    STATUS_NAME,
    DueKind,
    columns,
    run_of,
)

_EXECUTING: Final = -1
_QUEUED: Final = -2
_PENDING: Final = -3
_DELAYED: Final = -4
_WAITING: Final = -5
_STATUS: Final = {
    **RUN_STATUS,
    _EXECUTING: Status.EXECUTING,
    _QUEUED: Status.QUEUED,
    _PENDING: Status.PENDING_VERSION,
    _DELAYED: Status.DELAYED,
    _WAITING: Status.WAITING,
}
STATUS_NUMBER: Final = {status: number for number, status in _STATUS.items()}

_BEGAN: Final = "(s.run_id IS NOT NULL)"
DERIVED: Final = f"""CASE
 WHEN r.status <> 0 THEN r.status
 WHEN o.run_id IS NOT NULL THEN {_EXECUTING}
 WHEN m.run_id IS NOT NULL AND (m.reason = {Reason.NEW.value} OR NOT {_BEGAN}) THEN
  CASE WHEN k.task IS NULL THEN {_PENDING} ELSE {_QUEUED} END
 WHEN d.kind = {DueKind.START.value} THEN {_DELAYED}
 ELSE {_WAITING} END"""
"""The number in STATUS_NUMBER of a run of `RUNS`."""

_FROM: Final = """FROM runs r
LEFT JOIN owned o ON o.run_id = r.id
LEFT JOIN workers w ON w.id = o.worker
LEFT JOIN ready m ON m.run_id = r.id
LEFT JOIN due d ON d.id = r.id
LEFT JOIN runnables k ON k.environment = r.environment AND k.task = r.task
LEFT JOIN events s ON s.run_id = r.id AND s.chapter = 1 AND s.seq = 1
LEFT JOIN blocked b ON b.run_id = r.id
LEFT JOIN notes n ON n.run_id = r.id"""

RUNS: Final = f"""SELECT {columns("r")}, {DERIVED},
 CASE WHEN {_BEGAN} THEN s.at END, r.ended_at,
 CASE WHEN d.kind IN ({DueKind.RESUME.value}, {DueKind.START.value}) THEN d.at END,
 r.output, r.failure, o.worker, w.beat, b.reason, b.detail, b.since, b.next, n.metadata, n.tags,
 CASE WHEN r.chapter > 1 THEN (SELECT g.data FROM events g WHERE g.run_id = r.id
  AND g.chapter = r.chapter AND g.seq = 1 AND g.kind = {Kind.STARTED.value}) END, r.origin_id,
 CASE WHEN {_BEGAN} THEN s.took END
{_FROM}"""

ENDS: Final = f"""SELECT {columns("r")}, r.status, r.ended_at, r.output, r.failure
FROM runs r WHERE r.status <> 0 AND"""
"""Of runs that have ended only what they were born with, and their ends."""

IDS: Final = f"SELECT r.id {_FROM}"
"""The same rows, of which only the id is read."""

_END: Final = f"""SELECT r.id AS run_id, r.chapter, 1 + coalesce((SELECT max(e.seq) FROM events e
 WHERE e.run_id = r.id AND e.chapter = r.chapter), 0) AS seq, {Kind.ENDED.value}, 0, r.ended_at,
 {STATUS_NAME.format("r.status")}, 0, 0, 0, r.failure
FROM runs r WHERE r.status <> 0"""


def history_sql(where: str) -> str:
    """The events of runs, and behind those of a run that has ended, its end. The parameters of
    `where` are given twice."""
    return f"""SELECT run_id, chapter, {EVENT_COLUMNS} FROM events WHERE {where}
UNION ALL SELECT * FROM ({_END}) e WHERE {where} ORDER BY chapter, seq"""


def read_end(row: Sequence[Any]) -> Run:
    """A run, from a row of `ENDS`."""
    run = run_of(row)
    status, run.ended_at, run.output, run.failure = row[RUN_WIDTH:]
    run.status = _STATUS[status]
    return run


def read_run(row: Sequence[Any]) -> Run:
    """A run, from a row of `RUNS`."""
    run = run_of(row)
    (
        status, run.started_at, run.ended_at, run.due_at, run.output, run.failure, run.worker,
        run.worker_beat, reason, detail, since, following, metadata, added, run.restarted_with,
        run.origin_id, forked_at,
    ) = row[RUN_WIDTH:]  # fmt: skip
    run.status = _STATUS[status]
    run.forked_at = forked_at or 0
    if reason is not None:
        run.blocked = Blocked(reason, detail, since, following)
    run.metadata = metadata if metadata is not None else first_metadata(run.options)
    if added is not None:
        run.added_tags = json.loads(added)
    return run
