"""Looks: what people read. One text for both stores; a store lends its `_query`.

Nothing here imports SQLAlchemy, because `wf run` looks, and has to start fast.
"""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

from wf.history.blobs import GET, whole, whole_event, whole_histories, whole_run
from wf.history.events import Event
from wf.history.limits import INSERT_ROWS, LEASE_MS, MAX_CHUNKS, MAX_LIST
from wf.history.model import Awaited, Run, Token, WorkerInfo
from wf.history.notes import Chunk
from wf.history.pruning import Pruning
from wf.history.queues import QueueLooks
from wf.history.reading import ENDS, RUNS, history_sql, read_end, read_run
from wf.history.rows import EVENT_COLUMNS, TOKEN_COLUMNS, TOKEN_STATUS, token_of
from wf.history.schedules import ScheduleLooks

_T = TypeVar("_T")


class Looks(Pruning, ScheduleLooks, QueueLooks, ABC):
    """The reading half of a Store. SQL is written with `?`, and has no other `?` or `%` in it."""

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
                found[row[0]] = whole_run(read_run(row), self.fetch)
        return found

    def fetch(self, references: Sequence[bytes]) -> dict[bytes, bytes]:
        """The values that these stand for, without those that are gone."""
        found: dict[bytes, bytes] = {}
        for reference in dict.fromkeys(references):
            for (data,) in self._query(GET, [reference]):
                found[reference] = data
        return found

    def ended(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        """Those of these runs that have ended, without what they noted."""
        found: dict[bytes, Run] = {}
        for part in chunks(run_ids):
            condition, values = self._any_of(part)
            for row in self._query(f"{ENDS} r.id {condition}", values):
                found[row[0]] = whole_run(read_end(row), self.fetch)
        return found

    def live(self, run_ids: Sequence[bytes]) -> set[bytes]:
        """Those of these runs that have not ended."""
        found: set[bytes] = set()
        for part in chunks(run_ids):
            condition, values = self._any_of(part)
            sql = f"SELECT id FROM runs WHERE id {condition} AND status = 0"
            found.update(row[0] for row in self._query(sql, values))
        return found

    def awaited(self, run_id: bytes) -> Awaited:
        """What a waiting run waits for, in the order in which it asked."""
        waits = "SELECT target FROM waits WHERE run_id = ? ORDER BY ordinal, place"
        names = "SELECT name FROM listening WHERE run_id = ? ORDER BY name"
        return Awaited(
            [row[0] for row in self._query(waits, [run_id])],
            [row[0] for row in self._query(names, [run_id])],
        )

    def get_token(self, token_id: bytes) -> Token | None:
        rows = self._query(f"SELECT {TOKEN_COLUMNS} FROM tokens WHERE id = ?", [token_id])
        if not rows:
            return None
        token = token_of(rows[0])
        token.data = whole(token.data, self.fetch)
        return token

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

    def history(
        self, run_id: bytes, chapter: int | None = None, after: tuple[int, int] = (0, 0)
    ) -> list[tuple[int, Event]]:
        """(chapter, event), in order; of one chapter, or all; those that follow this chapter and
        seq. The last one of a run that has ended is ENDED."""
        where, values = "run_id = ?", [run_id]
        if chapter is not None:
            where, values = "run_id = ? AND chapter = ?", [run_id, chapter]
        if after != (0, 0):
            where, values = f"{where} AND (chapter, seq) > (?, ?)", [*values, *after]
        return [
            (chapter, whole_event(Event(*columns), self.fetch))
            for _, chapter, *columns in self._query(history_sql(where), values * 2)
        ]

    def read_stream(self, run_id: bytes, name: str, after: int = 0) -> list[Chunk]:
        """The chunks that follow `after`, MAX_CHUNKS at most."""
        sql = (
            "SELECT seq, at, data FROM streams WHERE run_id = ? AND name = ? AND seq > ?"
            " ORDER BY seq LIMIT ?"
        )
        return [Chunk(*row) for row in self._query(sql, [run_id, name, after, MAX_CHUNKS])]

    def load(self, runs: Sequence[tuple[bytes, int]]) -> dict[bytes, list[Event]]:
        """Histories of (run, chapter), in order of seq, as many as LOAD_BYTES hold; of a run
        without events, an empty list."""
        sql = f"SELECT {EVENT_COLUMNS} FROM events WHERE run_id = ? AND chapter = ? ORDER BY seq"
        histories = ((run_id, self._query(sql, (run_id, chapter))) for run_id, chapter in runs)
        return whole_histories(histories, self.fetch)


def chunks(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    """The items, as many at a time as one statement takes."""
    for start in range(0, len(items), INSERT_ROWS):
        yield items[start : start + INSERT_ROWS]
