"""Pages of runs, newest first, on both stores.

A list that asks for a tag, a batch, a parent, what is live, … follows the index that knows these
runs (its *lead*), a page of ids at a time, so that it looks at them and not at the million beside
them. What has no index (a task, an ended status, a value of the metadata) is looked for from the
newest run on, within `since` and `until`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import Any, Final

from msgspec import Struct

from wf.history.events import STORED, Status
from wf.history.hooks import SUFFIX
from wf.history.limits import INSERT_ROWS, MAX_LIST
from wf.history.model import Run, RunFilter
from wf.history.reading import DERIVED, IDS, RUNS, STATUS_NUMBER, read_run
from wf.history.rows import DueKind

_LAST: Final = b"\xff" * 16
_LAST_MS: Final = int.from_bytes(_LAST[:6], "big")


class Lead(Struct):
    """Ids of runs in order, newest first: `sql` with its `values`, then, for each of its parts, the
    bounds (below this one, not below that one) and how many at most."""

    sql: str
    values: Sequence[Any]
    parts: int = 1


class RunLists(ABC):
    """The part of a Store that lists runs."""

    @abstractmethod
    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    @abstractmethod
    def _any_of(self, run_ids: Sequence[bytes]) -> tuple[str, list[Any]]: ...

    @abstractmethod
    def _has_metadata(self, key: str, value: Any) -> tuple[str, list[Any]]:
        """A condition on a row of RUNS, and its parameters."""

    def list_runs(self, filter: RunFilter) -> list[Run]:
        """One page, newest first."""
        return [read_run(row) for row in self._list(RUNS, filter)]

    def list_ended(self, filter: RunFilter, ended_before: int) -> list[bytes]:
        """The ids of one page of runs that had ended before that."""
        rows = self._list(IDS, filter, ["r.status <> 0", "r.ended_at < ?"], [ended_before])
        return [row[0] for row in rows]

    def _list(
        self, select: str, filter: RunFilter, more: Sequence[str] = (), given: Sequence[Any] = ()
    ) -> list[tuple[Any, ...]]:
        limit = min(filter.limit, MAX_LIST)
        before, since = _bounds(filter)
        conditions, values = self._conditions(filter)
        conditions, values = [*conditions, *more], [*values, *given]
        lead = lead_of(filter)
        if lead is None:
            where = " AND ".join(["r.id < ?", "r.id >= ?", *conditions])
            sql = f"{select} WHERE {where} ORDER BY r.id DESC LIMIT ?"
            return self._query(sql, [before, since, *values, limit])
        found: list[tuple[Any, ...]] = []
        for ids in self._pages(lead, before, since, limit):
            condition, listed = self._any_of(ids)
            where = " AND ".join([f"r.id {condition}", *conditions])
            found += self._query(f"{select} WHERE {where} ORDER BY r.id DESC", [*listed, *values])
            if len(found) >= limit:
                break
        return found[:limit]

    def _pages(self, lead: Lead, before: bytes, since: bytes, size: int) -> Iterator[list[bytes]]:
        size = min(max(size, 1), INSERT_ROWS)
        while True:
            bounds = [before, since, size] * lead.parts
            rows = self._query(lead.sql, [*lead.values, *bounds])[:size]
            if rows:
                yield [row[0] for row in rows]
            if len(rows) < size:
                return
            before, size = rows[-1][0], INSERT_ROWS

    def _conditions(self, filter: RunFilter) -> tuple[list[str], list[Any]]:
        where = ["r.environment = ?"]
        values: list[Any] = [filter.environment]
        for column, wanted in (
            ("task", filter.task),
            ("version", filter.version),
            ("parent_id", filter.parent_id),
            ("batch_id", filter.batch_id),
            ("schedule_id", filter.schedule_id),
            ("origin_id", filter.origin_id),
        ):
            if wanted:
                where.append(f"r.{column} = ?")
                values.append(wanted)
        if not (filter.task or filter.parent_id or filter.root_id):
            where.append("replace(r.task, ?, '') = r.task")
            values.append(SUFFIX)
        if filter.tag:
            where.append(
                "EXISTS (SELECT 1 FROM tags t WHERE t.environment = r.environment"
                " AND t.tag = ? AND t.run_id = r.id)"
            )
            values.append(filter.tag.encode())
        for key, value in filter.metadata:
            condition, more = self._has_metadata(key, value)
            where.append(condition)
            values += more
        if filter.status:
            ended = [STORED[status] for status in filter.status if status in STORED]
            live = [STATUS_NUMBER[status] for status in filter.status if status not in STORED]
            stored = [*ended, 0] if live else ended
            where.append(f"r.status IN ({marks(stored)})")  # known before anything is joined
            values += stored
            if live:
                where.append(f"({DERIVED}) IN ({marks([*ended, *live])})")
                values += [*ended, *live]
        return where, values


def _bounds(filter: RunFilter) -> tuple[bytes, bytes]:
    before = oldest(filter.until) if filter.until else _LAST
    return min(before, filter.before or _LAST), oldest(filter.since)


def marks(items: Sequence[Any]) -> str:
    """`?, ?, ?`"""
    return ", ".join("?" * len(items))


def oldest(at_ms: int) -> bytes:
    """No id that was made then, or later, is smaller."""
    return min(max(at_ms, 0), _LAST_MS).to_bytes(6, "big") + bytes(10)


# --- leads ----------------------------------------------------------------------------------------


def _of_column(column: str) -> str:
    return (
        f"WITH found AS MATERIALIZED (SELECT id FROM runs WHERE {column} = ?)"
        " SELECT id FROM found WHERE id < ? AND id >= ? ORDER BY id DESC LIMIT ?"
    )


_TAGGED: Final = (
    "SELECT run_id FROM tags WHERE environment = ? AND tag = ? AND run_id < ? AND run_id >= ?"
    " ORDER BY run_id DESC LIMIT ?"
)
_BELOW: Final = (
    "WITH RECURSIVE below(id) AS (SELECT id FROM runs WHERE id = ?"
    " UNION ALL SELECT r.id FROM below b JOIN runs r ON r.parent_id = b.id)"
    " SELECT id FROM below WHERE id < ? AND id >= ? ORDER BY id DESC LIMIT ?"
)
_OWNED: Final = ("owned", "run_id", "")
_READY: Final = ("ready", "run_id", "")
_DELAYED: Final = ("due", "id", f" AND kind = {DueKind.START.value}")
_WAITING: Final = (
    ("waits", "run_id", ""),
    ("listening", "run_id", ""),
    ("blocked", "run_id", ""),
    ("due", "id", f" AND kind = {DueKind.RESUME.value}"),
    _READY,
)
_PLACES: Final = {
    Status.EXECUTING: (_OWNED,),
    Status.QUEUED: (_READY,),
    Status.PENDING_VERSION: (_READY,),
    Status.DELAYED: (_DELAYED,),
    Status.WAITING: _WAITING,
}
"""Where runs of a live status stand: (table, column, condition). Every live run stands in one of
these (the audit's I5)."""


def lead_of(filter: RunFilter) -> Lead | None:
    """The index that leads to the fewest runs; None: there is none."""
    if filter.root_id is not None:
        return Lead(_BELOW, [filter.root_id])
    for column, wanted in (
        ("parent_id", filter.parent_id),
        ("batch_id", filter.batch_id),
        ("origin_id", filter.origin_id),
        ("schedule_id", filter.schedule_id),
    ):
        if wanted is not None:
            return Lead(_of_column(column), [wanted])
    if filter.tag:
        return Lead(_TAGGED, [filter.environment, filter.tag.encode()])
    if filter.status and not any(status in STORED for status in filter.status):
        places = dict.fromkeys(place for status in filter.status for place in _PLACES[status])
        return Lead(_standing(list(places)), [], len(places))
    return None


def _standing(places: Sequence[tuple[str, str, str]]) -> str:
    each = " UNION ".join(
        f"SELECT id FROM (SELECT DISTINCT {column} AS id FROM {table}"
        f" WHERE {column} < ? AND {column} >= ?{condition}"
        f" ORDER BY {column} DESC LIMIT ?) {table}_{number}"
        for number, (table, column, condition) in enumerate(places)
    )
    return f"SELECT id FROM ({each}) places ORDER BY id DESC"
