"""What both stores write and read alike: numbers in columns, and rows as objects."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from enum import IntEnum
from hashlib import blake2b
from typing import Any, Final

from wf.history.blobs import Blobs
from wf.history.events import STORED, Event, Failure, Status
from wf.history.limits import CANCEL_PRIORITY
from wf.history.model import NewRun, Run, Token


class DueKind(IntEnum):
    """What becomes due: `due.kind`. A run or a token has one row at most."""

    RESUME = 0
    """A run that waits goes on."""
    START = 1
    """A delayed run may start."""
    TTL = 2
    """A queued run that has not started expires."""
    TOKEN = 3
    """A token times out."""


TOKEN_STATUS: Final = {"WAITING": 0, "COMPLETED": 1, "CANCELED": 3, "TIMED_OUT": 5}
"""The number in `tokens.status`; the same as those of runs."""
TOKEN_NAME: Final = {number: name for name, number in TOKEN_STATUS.items()}
RUN_STATUS: Final = {number: status for status, number in STORED.items()}
_RUNS_ENDED: Final = " ".join(f"WHEN {number} THEN '{name}'" for number, name in RUN_STATUS.items())
STATUS_NAME: Final = f"CASE {{}} {_RUNS_ENDED} ELSE '' END"
"""The name of a run's status, in SQL; of a live one ""."""

NEVER_BEGAN: Final = {
    Status.CANCELED: Failure("RunCanceled", "canceled before it began", code="WF3022").encode(),
    Status.EXPIRED: Failure("RunExpired", "did not start within its ttl", code="WF3023").encode(),
}
"""`failure` of a run that ended without ever having begun."""

RUN_COLUMNS: Final = (
    "id, environment, task, payload, created_at, chapter, attempt, parent_id, root_id, tags, "
    "queue, key, priority, start_at, ttl_ms, idempotency_key, version, options, batch_id, "
    "schedule_id"
)
"""What `run_of` reads, in its order."""
RUN_WIDTH: Final = RUN_COLUMNS.count(",") + 1

EVENT_COLUMNS: Final = (
    "seq, kind, coalesce(ordinal, 0), at, name, coalesce(digest, 0), coalesce(attempt, 0), "
    "coalesce(took, 0), data"
)
"""The fields of an Event. What a claim writes has no numbers: NULL takes no bytes on Postgres."""

NO_OPTIONS: Final = b"{}"


def event_row(run_id: bytes, chapter: int, event: Event, blobs: Blobs) -> tuple[Any, ...]:
    """What both stores write of it. A large value goes to the blobs."""
    return (
        run_id, chapter, event.seq, int(event.kind), event.ordinal, event.at, event.name,
        event.digest, event.attempt, event.took, blobs.put(run_id, event.data),
    )  # fmt: skip


MARK_PRIORITY: Final = (
    f"CASE WHEN r.canceled_at IS NULL THEN coalesce(r.priority, 0) ELSE {CANCEL_PRIORITY} END"
)
"""What stands in a mark of the run `r`."""


def columns(alias: str, names: str = RUN_COLUMNS) -> str:
    """The names, each of that table."""
    return ", ".join(f"{alias}.{name}" for name in names.split(", "))


def run_of(row: Sequence[Any]) -> Run:
    """A run as a worker gets it, from RUN_COLUMNS (further columns are ignored). What its trigger
    did not say may be NULL."""
    (
        run_id, environment, task, payload, created_at, chapter, attempt, parent_id, root_id,
        tags, queue, key, priority, start_at, ttl_ms, idempotency_key, version, options, batch_id,
        schedule_id,
    ) = row[:RUN_WIDTH]  # fmt: skip
    return Run(
        run_id, environment, task, payload, created_at, chapter, attempt or 1, parent_id, root_id,
        json.loads(tags) if tags not in (None, "[]") else [],
        queue, key, priority or 0, start_at or 0, ttl_ms or 0, idempotency_key or "",
        version or "", options or NO_OPTIONS, batch_id, schedule_id,
    )  # fmt: skip


def new_run_row(run: NewRun, blobs: Blobs) -> tuple[Any, ...]:
    """A row for NEW_RUN_COLUMNS. A large payload is left in `blobs`."""
    return (
        run.id,
        run.environment,
        run.task,
        blobs.put(run.id, run.payload),
        run.created_at,
        run.parent_id,
        run.root_id,
        tags_json(run.tags),
        run.queue,
        run.key,
        run.priority,
        run.start_at,
        run.ttl_ms,
        run.idempotency_key,
        run.version,
        run.options,
        run.batch_id,
        run.schedule_id,
    )


NEW_RUN_COLUMNS: Final = (
    "id, environment, task, payload, created_at, parent_id, root_id, tags, queue, key, priority, "
    "start_at, ttl_ms, idempotency_key, version, options, batch_id, schedule_id"
)
NEW_RUN_USUAL: Final[dict[str, Any]] = {
    **dict.fromkeys(("parent_id", "root_id", "batch_id", "schedule_id")),
    **dict.fromkeys(("queue", "key", "idempotency_key", "version"), ""),
    **dict.fromkeys(("priority", "start_at", "ttl_ms"), 0),
    "tags": "[]",
    "options": NO_OPTIONS,
}
"""What most runs have there."""
NEW_RUN_WIDTH: Final = NEW_RUN_COLUMNS.count(",") + 1

GOES_ON_WAITING: Final = """EXISTS (SELECT 1 FROM gathers g WHERE g.run_id = i.run_id
 AND g.chapter = i.chapter AND g.ordinal = i.ordinal AND g.missing > 0
 AND NOT (g.eager AND i.name <> 'COMPLETED'))"""
"""Of an inbox row `i`: its operation waits for others beside it, so that it wakes nobody."""

TOKEN_COLUMNS: Final = (
    "id, environment, created_at, status, timeout_at, run_id, tags, schema, data, ended_at"
)


def token_of(row: Sequence[Any]) -> Token:
    """A token, from TOKEN_COLUMNS."""
    token_id, environment, created_at, status, timeout_at, run_id, tags, schema, data, ended = row
    return Token(
        token_id,
        environment,
        created_at,
        TOKEN_NAME[status],
        timeout_at,
        run_id,
        json.loads(tags),
        schema,
        data,
        ended,
    )


def tags_json(tags: Sequence[str]) -> str:
    return json.dumps(list(tags), ensure_ascii=False) if tags else "[]"


def tag_rows(runs: Iterable[NewRun]) -> list[tuple[str, bytes, bytes]]:
    """What `tags` has of these runs: environment, tag in UTF-8, run."""
    return [(run.environment, tag.encode(), run.id) for run in runs for tag in run.tags]


def digest_of(run: NewRun) -> bytes:
    """What `idempotency.digest` holds, to tell whether a key is used again with another payload."""
    return run.payload_digest or payload_digest(run.payload)


def payload_digest(payload: bytes) -> bytes:
    return blake2b(payload, digest_size=16).digest()
