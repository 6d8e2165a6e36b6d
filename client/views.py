"""What people and programs see of runs and tokens: plain objects, `to_json()` for the command
line."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Final, cast

from wf.engine.core.durations import from_ms
from wf.history import ends, store
from wf.history.blobs import is_reference, size_of
from wf.history.events import MOMENTS_FROM_MS, Event, Failure, Kind, Status
from wf.history.ids import show
from wf.history.notes import Chunk
from wf.history.sealing import is_sealed, why_sealed


@dataclass(frozen=True, slots=True)
class RunErrorView:
    """Why a run did not complete."""

    type: str
    message: str
    traceback: str
    code: str


@dataclass(frozen=True, slots=True)
class BlockedView:
    """Why a run cannot go on, since when, and the next command."""

    reason: str
    detail: str
    since: datetime
    next: str


@dataclass(frozen=True, slots=True)
class RunView:
    """A run, as it was when it was read. Times are aware UTC; payload, metadata and output plain
    JSON values."""

    id: str
    task: str
    status: Status
    tags: tuple[str, ...]
    created_at: datetime
    started_at: datetime | None
    ended_at: datetime | None
    due_at: datetime | None
    attempt: int
    payload: Any
    metadata: dict[str, Any]
    output: Any
    error: RunErrorView | None
    parent: str | None
    root: str
    batch: str | None
    schedule: str | None
    replayed_from: str | None
    forked_from: str | None
    """The run whose history it shares, up to the fact `forked_at`."""
    forked_at: int | None
    environment: str
    queue: str
    concurrency_key: str
    priority: int
    idempotency_key: str
    version: str
    blocked: BlockedView | None
    worker_seen_at: datetime | None
    """While a worker has it: when that one last gave a sign of life (some seconds ago is usual)."""

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: moments as ISO 8601."""
        return {name: plain_json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class TokenView:
    """A token, as it was when it was read. `status`: WAITING, COMPLETED, TIMED_OUT or CANCELED."""

    id: str
    status: str
    created_at: datetime
    timeout_at: datetime | None
    ended_at: datetime | None
    run: str | None
    tags: tuple[str, ...]
    data: Any
    environment: str

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: moments as ISO 8601."""
        return {name: plain_json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class EventView:
    """A row of a run's history. `kind`: a word like STEP_FINISHED; `ordinal`: the operation that it
    is about (0: none); `data`: a result, an error or an id, by the kind."""

    chapter: int
    seq: int
    kind: str
    ordinal: int
    at: datetime
    name: str
    attempt: int
    took_ms: int
    """Of a step that ended."""
    delay_ms: int
    """Of an attempt that is tried again: its back-off. Of a timer: how long it was to wait."""
    data: Any

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: moments as ISO 8601."""
        return {name: plain_json(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class ChunkView:
    """A chunk of a stream. `seq` counts from 1: go on after it with `after=seq`."""

    seq: int
    at: datetime
    data: Any

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types: moments as ISO 8601."""
        return {name: plain_json(value) for name, value in asdict(self).items()}


def chunk_view(chunk: Chunk) -> ChunkView:
    return ChunkView(chunk.seq, from_ms(chunk.at), _value(chunk.data))


def run_view(run: store.Run) -> RunView:
    failure = _failure(run.failure)
    blocked = run.blocked
    return RunView(
        id=show("run", run.id),
        task=run.task,
        status=run.status,
        tags=(*run.tags, *run.added_tags),
        created_at=from_ms(run.created_at),
        started_at=_moment(run.started_at),
        ended_at=_moment(run.ended_at),
        due_at=_moment(run.due_at),
        attempt=run.attempt,
        payload=_value(run.payload if run.restarted_with is None else run.restarted_with),
        metadata=_value(run.metadata),
        output=_value(run.output),
        error=RunErrorView(failure.type, failure.message, failure.traceback, failure.code)
        if failure is not None
        else None,
        parent=show("run", run.parent_id) if run.parent_id else None,
        root=show("run", run.root_id or run.id),
        batch=show("batch", run.batch_id) if run.batch_id else None,
        schedule=show("schedule", run.schedule_id) if run.schedule_id else None,
        replayed_from=show("run", run.origin_id) if run.origin_id and not run.forked_at else None,
        forked_from=show("run", run.origin_id) if run.origin_id and run.forked_at else None,
        forked_at=run.forked_at or None,
        environment=run.environment,
        queue=run.queue or run.task,
        concurrency_key=run.key,
        priority=run.priority,
        idempotency_key=run.idempotency_key,
        version=run.version,
        blocked=BlockedView(blocked.reason, blocked.detail, from_ms(blocked.since), blocked.next)
        if blocked is not None
        else None,
        worker_seen_at=_moment(run.worker_beat),
    )


def token_view(token: store.Token) -> TokenView:
    return TokenView(
        id=show("token", token.id),
        status=token.status,
        created_at=from_ms(token.created_at),
        timeout_at=_moment(token.timeout_at),
        ended_at=_moment(token.ended_at),
        run=show("run", token.run_id) if token.run_id else None,
        tags=tuple(token.tags),
        data=_value(token.data),
        environment=token.environment,
    )


_STEPS_ENDED: Final = frozenset({Kind.STEP_FINISHED, Kind.STEP_FAILED})
_TRIED_AGAIN: Final = frozenset({Kind.STEP_ATTEMPT_FAILED, Kind.ATTEMPT_FAILED})
IDS: Final[dict[int, str]] = {
    Kind.CHILD_TRIGGERED: "run",
    Kind.CHILD_AWAITED: "run",
    Kind.CHILD_STARTED: "run",
    Kind.TOKEN_CREATED: "token",
    Kind.TOKEN_AWAITED: "token",
    Kind.BATCH_TRIGGERED: "batch",
    Kind.BATCH_AWAITED: "batch",
    Kind.MESSAGE_SENT: "run",
    Kind.HOOKED: "run",
    Kind.FORKED: "run",
}
"""Rows whose data is an id."""


def event_view(chapter: int, event: Event) -> EventView:
    kind = Kind(event.kind)
    data = event.data
    if kind is Kind.BATCH_ENDED and not (is_sealed(data) or is_reference(data)):
        shown: Any = ends.shown(data)
    else:
        shown = show(IDS[kind], data) if kind in IDS and data is not None else _value(data)
    delay = event.took if kind in _TRIED_AGAIN else 0
    if kind == Kind.TIMER_FIRED and event.digest < MOMENTS_FROM_MS:
        delay = event.digest
    return EventView(
        chapter=chapter,
        seq=event.seq,
        kind=Kind(kind).name,
        ordinal=event.ordinal,
        at=from_ms(event.at),
        name=event.name,
        attempt=event.attempt,
        took_ms=event.took if kind in _STEPS_ENDED else 0,
        delay_ms=delay,
        data=shown,
    )


def _moment(ms: int | None) -> datetime | None:
    return from_ms(ms) if ms else None


def _value(data: bytes | None) -> Any:
    """What cannot be opened here says so, and keeps nobody from seeing the rest; so does what is
    too large to be read with others."""
    if is_reference(data):
        return {"wf.large": f"{size_of(data):,} bytes: `retrieve` reads it"}
    if is_sealed(data):
        return {"wf.sealed": f"it {why_sealed(data)}"}
    return json.loads(data) if data is not None else None


def _failure(data: bytes | None) -> Failure | None:
    if is_sealed(data):
        return Failure("Sealed", f"it {why_sealed(data)}", code="WF2013")
    if is_reference(data):
        return Failure("Large", f"{size_of(data):,} bytes: `retrieve` reads it")
    return Failure.decode(data) if data is not None else None


def plain_json(value: Any) -> Any:
    match value:
        case datetime():
            return value.isoformat()
        case dict():
            return {key: plain_json(item) for key, item in cast("dict[str, Any]", value).items()}
        case tuple():
            return [plain_json(item) for item in cast("tuple[Any, ...]", value)]
        case _:
            return value
