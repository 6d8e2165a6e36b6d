"""Looks: what people read. One text for both stores; a store lends its `_query`.

The status of a live run is not stored, it follows from the hot tables: owned, ready, due. Nothing
here imports SQLAlchemy, because `wf run` looks, and has to start fast.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Final, TypeVar

from wf.history.events import STORED, Event, Kind, Status
from wf.history.limits import INSERT_ROWS, LEASE_MS, MAX_CHUNKS, MAX_LIST
from wf.history.model import Blocked, Reason, Run, RunFilter, Token, WorkerInfo
from wf.history.notes import Chunk, first_metadata
from wf.history.rows import (
    RUN_STATUS,
    RUN_WIDTH,
    TOKEN_COLUMNS,
    TOKEN_STATUS,
    DueKind,
    columns,
    run_of,
    token_of,
)
from wf.history.schedules import ScheduleLooks

_T = TypeVar("_T")

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
_NUMBER: Final = {status: number for number, status in _STATUS.items()}

_BEGAN: Final = f"(s.run_id IS NOT NULL AND s.kind <> {Kind.ENDED.value})"
_DERIVED: Final = f"""CASE
 WHEN r.status <> 0 THEN r.status
 WHEN o.run_id IS NOT NULL THEN {_EXECUTING}
 WHEN m.run_id IS NOT NULL AND (m.reason = {Reason.NEW.value} OR NOT {_BEGAN}) THEN
  CASE WHEN k.task IS NULL THEN {_PENDING} ELSE {_QUEUED} END
 WHEN d.kind = {DueKind.START.value} THEN {_DELAYED}
 ELSE {_WAITING} END"""

RUNS: Final = f"""SELECT {columns("r")}, {_DERIVED},
 CASE WHEN {_BEGAN} THEN s.at END, r.ended_at,
 CASE WHEN d.kind IN ({DueKind.RESUME.value}, {DueKind.START.value}) THEN d.at END,
 r.output, r.failure, o.worker, w.beat, b.reason, b.detail, b.since, b.next, n.metadata, n.tags,
 CASE WHEN r.chapter > 1 THEN (SELECT g.data FROM events g WHERE g.run_id = r.id
  AND g.chapter = r.chapter AND g.seq = 1 AND g.kind = {Kind.STARTED.value}) END
FROM runs r
LEFT JOIN owned o ON o.run_id = r.id
LEFT JOIN workers w ON w.id = o.worker
LEFT JOIN ready m ON m.run_id = r.id
LEFT JOIN due d ON d.id = r.id
LEFT JOIN runnables k ON k.environment = r.environment AND k.task = r.task
LEFT JOIN events s ON s.run_id = r.id AND s.chapter = 1 AND s.seq = 1
LEFT JOIN blocked b ON b.run_id = r.id
LEFT JOIN notes n ON n.run_id = r.id"""

_EVENTS: Final = "seq, kind, ordinal, at, name, digest, attempt, took, data"


class Looks(ScheduleLooks, ABC):
    """The reading half of a Store. SQL is written with `?`, and has no other `?` or `%` in it."""

    _HAS_TAG: ClassVar[str]
    """The condition that a column (`{}`), a JSON array of texts, holds `?`."""

    @abstractmethod
    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
        """All rows, in one snapshot."""

    @abstractmethod
    def _any_of(self, run_ids: Sequence[bytes]) -> tuple[str, list[Any]]:
        """What follows a column that is one of these, and its parameters."""

    @abstractmethod
    def now(self) -> int: ...

    def has_worker(self, environment: str, task: str) -> bool:
        """Does a worker that beats know this task?"""
        found = self._query(
            "SELECT tasks FROM workers WHERE environment = ? AND beat > ?",
            (environment, self.now() - LEASE_MS),
        )
        return any(task in json.loads(tasks) for (tasks,) in found)

    def workers(self, environment: str) -> list[tuple[int, WorkerInfo]]:
        """Who works there, by id."""
        sql = "SELECT id, host, pid, tasks, code FROM workers WHERE environment = ? ORDER BY id"
        return [
            (int(id), WorkerInfo(host, int(pid), json.loads(tasks), code))
            for id, host, pid, tasks, code in self._query(sql, (environment,))
        ]

    def get_runs(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        """The runs of these ids; unknown ones are left out."""
        found: dict[bytes, Run] = {}
        for part in chunks(list(dict.fromkeys(run_ids))):
            condition, values = self._any_of(part)
            for row in self._query(f"{RUNS} WHERE r.id {condition}", values):
                found[row[0]] = _full(row)
        return found

    def live(self, run_ids: Sequence[bytes]) -> set[bytes]:
        """Those of these runs that have not ended."""
        found: set[bytes] = set()
        for part in chunks(run_ids):
            condition, values = self._any_of(part)
            sql = f"SELECT id FROM runs WHERE id {condition} AND status = 0"
            found.update(row[0] for row in self._query(sql, values))
        return found

    def list_runs(self, filter: RunFilter) -> list[Run]:
        """One page, newest first."""
        where = ["r.environment = ?"]
        values: list[Any] = [filter.environment]

        def narrow(condition: str, value: Any) -> None:
            where.append(condition)
            values.append(value)

        if filter.before is not None:
            narrow("r.id < ?", filter.before)
        if filter.since:
            narrow("r.created_at >= ?", filter.since)
        if filter.task:
            narrow("r.task = ?", filter.task)
        if filter.parent_id is not None:
            narrow("r.parent_id = ?", filter.parent_id)
        if filter.root_id is not None:
            narrow("r.root_id = ?", filter.root_id)
        if filter.batch_id is not None:
            narrow("r.batch_id = ?", filter.batch_id)
        if filter.schedule_id is not None:
            narrow("r.schedule_id = ?", filter.schedule_id)
        if filter.tag:
            has_tag = " OR ".join(self._HAS_TAG.format(tags) for tags in ("r.tags", "n.tags"))
            narrow(f"({has_tag})", filter.tag)
            values.append(filter.tag)
        if filter.status:
            where.append(f"({_DERIVED}) IN ({marks(filter.status)})")
            values += [_NUMBER[status] for status in filter.status]
            if not any(status in STORED for status in filter.status):
                where.append("r.status = 0")
        sql = f"{RUNS} WHERE {' AND '.join(where)} ORDER BY r.id DESC LIMIT ?"
        return [_full(row) for row in self._query(sql, [*values, min(filter.limit, MAX_LIST)])]

    def get_token(self, token_id: bytes) -> Token | None:
        rows = self._query(f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?", [token_id])
        return token_of(rows[0]) if rows else None

    def list_tokens(
        self, environment: str, *, status: str = "", run_id: bytes | None = None, limit: int = 50
    ) -> list[Token]:
        """Newest first."""
        where = ["environment = ?"]
        values: list[Any] = [environment]
        if status:
            where.append("status = ?")
            values.append(TOKEN_STATUS[status])
        if run_id is not None:
            where.append("run_id = ?")
            values.append(run_id)
        sql = f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE {' AND '.join(where)}"
        rows = self._query(f"{sql} ORDER BY id DESC LIMIT ?", [*values, min(limit, MAX_LIST)])
        return [token_of(row) for row in rows]

    def history(self, run_id: bytes, chapter: int | None = None) -> list[tuple[int, Event]]:
        """(chapter, event), in order; of one chapter, or all."""
        where, values = "run_id = ?", [run_id]
        if chapter is not None:
            where, values = "run_id = ? AND chapter = ?", [run_id, chapter]
        sql = f"SELECT chapter, {_EVENTS} FROM events WHERE {where} ORDER BY chapter, seq"
        return [(row[0], Event(*row[1:])) for row in self._query(sql, values)]

    def read_stream(self, run_id: bytes, name: str, after: int = 0) -> list[Chunk]:
        """The chunks that follow `after`, MAX_CHUNKS at most."""
        sql = (
            "SELECT seq, at, data FROM streams WHERE run_id = ? AND name = ? AND seq > ?"
            " ORDER BY seq LIMIT ?"
        )
        return [Chunk(*row) for row in self._query(sql, [run_id, name, after, MAX_CHUNKS])]

    def load(self, runs: Sequence[tuple[bytes, int]]) -> dict[bytes, list[Event]]:
        """Histories of (run, chapter), in order of seq; of a run without events, an empty list."""
        found: dict[bytes, list[Event]] = {run_id: [] for run_id, _ in runs}
        for part in chunks(runs):
            pairs = " OR ".join(["(run_id = ? AND chapter = ?)"] * len(part))
            sql = f"SELECT run_id, {_EVENTS} FROM events WHERE {pairs} ORDER BY run_id, seq"
            for row in self._query(sql, [value for pair in part for value in pair]):
                found[row[0]].append(Event(*row[1:]))
        return found


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items, as many at a time as one statement takes."""
    for start in range(0, len(items), INSERT_ROWS):
        yield items[start : start + INSERT_ROWS]


def marks(items: Sequence[Any]) -> str:
    """`?, ?, ?`"""
    return ", ".join("?" * len(items))


def _full(row: Sequence[Any]) -> Run:
    run = run_of(row)
    (
        status, run.started_at, run.ended_at, run.due_at, run.output, run.failure, run.worker,
        run.worker_beat, reason, detail, since, following, metadata, added, run.restarted_with,
    ) = row[RUN_WIDTH:]  # fmt: skip
    run.status = _STATUS[status]
    if reason is not None:
        run.blocked = Blocked(reason, detail, since, following)
    run.metadata = metadata if metadata is not None else first_metadata(run.options)
    if added is not None:
        run.added_tags = json.loads(added)
    return run
