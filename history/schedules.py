"""Schedules: rows, and how they change.

Whoever changes a schedule (a scheduler that fires it, a person who pauses it) reads it, works out
the next state, and writes that state where `revision` is still the one that was read: a `Move`. The
runs that the change makes are in the same transaction. So of several schedulers that meet one
instant, one moves the schedule on, and its run exists once; the run's id follows from schedule and
instant, too.

A schedule that is paused has no `due_at`, and is in no index by time.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Final, Literal, Protocol

from msgspec import Struct

if TYPE_CHECKING:
    from wf.history.model import NewRun

Overlap = Literal["skip", "allow", "queue", "cancel_previous"]
CatchUp = Literal["last", "none", "all"]
Nonexistent = Literal["shift_forward", "skip"]
Ambiguous = Literal["earlier", "later", "both"]

MAX_SKIPS: Final = 50
"""Skipped slots are kept as so many ranges, the latest: enough for a look, and the row stays
small."""


class Skip(Struct, frozen=True):
    """Slots that did not fire, from the first to the last of them. `reason`: overlap, catch_up or
    paused. `count` 0: so many that nobody counted."""

    first: int
    last: int
    count: int
    reason: str


class Schedule(Struct):
    """A schedule as stored. Times are ms since the epoch."""

    id: bytes
    environment: str
    task: str
    cron: str
    timezone: str
    created_at: int
    next_at: int
    """The next slot; of a paused one: the first that it missed."""
    due_at: int | None
    """When a scheduler looks at it: `next_at`, or earlier while slots are queued."""
    last_at: int | None = None
    """The slot that fired last."""
    overlap: Overlap = "skip"
    catch_up: CatchUp = "last"
    nonexistent: Nonexistent = "shift_forward"
    ambiguous: Ambiguous = "earlier"
    external_id: str = ""
    deduplication_key: str | None = None
    options: bytes = b"{}"
    """Checked trigger options of its runs, as JSON."""
    active: bool = True
    declared: bool = False
    """By a decorator: it fires only where a worker knows the task."""
    run_id: bytes | None = None
    """The run that it started last."""
    queued: list[int] = []
    """Slots that wait for the end of that run."""
    skipped: list[Skip] = []
    """The latest MAX_SKIPS, oldest first."""
    revision: int = 0
    is_running: bool = False
    """That run has not ended. Read, never written."""


class Move(Struct):
    """The next state of a schedule, and the runs that come with it. `schedule.revision` is the one
    that was read; the move happens where it still holds."""

    schedule: Schedule
    runs: Sequence[NewRun] = ()
    cancels: Sequence[bytes] = ()


class ScheduleStore(Protocol):
    """The part of a store that keeps schedules."""

    def add_schedules(self, schedules: Sequence[Schedule]) -> None:
        """Those whose id and deduplication key are not there yet."""
        ...

    def move_schedules(self, moves: Sequence[Move], now: int) -> list[bool]:
        """Each happens or does not, all in one transaction: False where somebody else was
        earlier, or the schedule is gone. After an unknown outcome: read again."""
        ...

    def drop_schedules(self, ids: Sequence[bytes]) -> None:
        """Their runs stay."""
        ...

    def get_schedules(self, ids: Sequence[bytes]) -> dict[bytes, Schedule]: ...
    def schedule_of_key(self, environment: str, key: str) -> Schedule | None: ...
    def list_schedules(
        self, environment: str, *, task: str = "", external_id: str = "", limit: int = 1_000
    ) -> list[Schedule]:
        """Oldest first."""
        ...

    def declared_schedules(self, environment: str) -> list[Schedule]: ...
    def due_schedules(
        self, environment: str, tasks: Sequence[str], now: int, limit: int
    ) -> list[Schedule]:
        """The earliest first. `tasks`: those that the caller knows, for declared ones."""
        ...

    def next_schedule_at(self, environment: str, tasks: Sequence[str]) -> int | None:
        """The earliest time at which a schedule is due, past ones included."""
        ...


# --- rows -----------------------------------------------------------------------------------------

_COLUMNS: Final = tuple(name for name in Schedule.__struct_fields__ if name != "is_running")
_FIXED: Final = frozenset({"id", "environment", "created_at", "revision"})
_CHANGES: Final = tuple(name for name in _COLUMNS if name not in _FIXED)

INSERT: Final = (
    f"INSERT INTO schedules ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' * len(_COLUMNS))})"
    " ON CONFLICT DO NOTHING"
)
MOVE: Final = (
    f"UPDATE schedules SET {', '.join(f'{name} = ?' for name in _CHANGES)},"
    " revision = revision + 1 WHERE id = ? AND revision = ?"
)
DROP: Final = "DELETE FROM schedules WHERE id = ?"
_SELECT: Final = (  # no EXISTS: Postgres may answer that by a walk over all runs
    f"SELECT {', '.join(f's.{name}' for name in _COLUMNS)},"
    " coalesce((SELECT r.status FROM runs r WHERE r.id = s.run_id), 1) = 0 FROM schedules s"
)


def row_of(schedule: Schedule) -> list[Any]:
    """For INSERT."""
    return [_stored(schedule, name) for name in _COLUMNS]


def move_of(schedule: Schedule) -> list[Any]:
    """For MOVE."""
    changes = [_stored(schedule, name) for name in _CHANGES]
    return [*changes, schedule.id, schedule.revision]


def _stored(schedule: Schedule, name: str) -> Any:
    match name:
        case "queued":
            return json.dumps(schedule.queued)
        case "skipped":
            kept = schedule.skipped[-MAX_SKIPS:]
            return json.dumps([[one.first, one.last, one.count, one.reason] for one in kept])
        case _:
            return getattr(schedule, name)


def _schedule_of(row: Sequence[Any]) -> Schedule:
    named: dict[str, Any] = dict(zip((*_COLUMNS, "is_running"), row, strict=True))
    for name in ("active", "declared", "is_running"):
        named[name] = bool(named[name])
    named["queued"] = json.loads(named["queued"])
    named["skipped"] = [Skip(*one) for one in json.loads(named["skipped"])]
    return Schedule(**named)


class ScheduleLooks:
    """The reading half, one text for both stores."""

    @abstractmethod
    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    def _schedules(self, where: str, values: Sequence[Any]) -> list[Schedule]:
        return [_schedule_of(row) for row in self._query(f"{_SELECT} WHERE {where}", values)]

    def get_schedules(self, ids: Sequence[bytes]) -> dict[bytes, Schedule]:
        """By id; those that are not there are left out."""
        found = [one for id in ids for one in self._schedules("s.id = ?", [id])]
        return {schedule.id: schedule for schedule in found}

    def schedule_of_key(self, environment: str, key: str) -> Schedule | None:
        where = "s.environment = ? AND s.deduplication_key = ?"
        return next(iter(self._schedules(where, [environment, key])), None)

    def list_schedules(
        self, environment: str, *, task: str = "", external_id: str = "", limit: int = 1_000
    ) -> list[Schedule]:
        """Oldest first."""
        where, values = ["s.environment = ?"], [environment]
        for name, value in (("task", task), ("external_id", external_id)):
            if value:
                where.append(f"s.{name} = ?")
                values.append(value)
        return self._schedules(
            f"{' AND '.join(where)} ORDER BY s.created_at, s.id LIMIT ?", [*values, limit]
        )

    def declared_schedules(self, environment: str) -> list[Schedule]:
        return self._schedules("s.environment = ? AND s.declared", [environment])

    def due_schedules(
        self, environment: str, tasks: Sequence[str], now: int, limit: int
    ) -> list[Schedule]:
        """The earliest first."""
        rows = self._query(due_now(tasks), [environment, now, *tasks, limit])
        return [_schedule_of(row) for row in rows]

    def next_schedule_at(self, environment: str, tasks: Sequence[str]) -> int | None:
        rows = self._query(due_next(tasks), [environment, *tasks])
        return rows[0][0] if rows else None


def due_now(tasks: Sequence[str]) -> str:
    """(environment, now, *tasks, limit)"""
    where = f"s.environment = ? AND s.due_at <= ? AND {_may_fire(tasks)}"
    return f"{_SELECT} WHERE {where} ORDER BY s.due_at, s.id LIMIT ?"


def due_next(tasks: Sequence[str]) -> str:
    """(environment, *tasks)"""
    return (
        "SELECT s.due_at FROM schedules s WHERE s.environment = ? AND s.due_at IS NOT NULL"
        f" AND {_may_fire(tasks)} ORDER BY s.due_at LIMIT 1"
    )


def _may_fire(tasks: Sequence[str]) -> str:
    """A declared schedule whose task is gone from the code stands still."""
    if not tasks:
        return "NOT s.declared"
    return f"(NOT s.declared OR s.task IN ({', '.join('?' * len(tasks))}))"
