"""Queues: how many runs may have work under way at once, and how many may start in a time.

*Words.* A run is *gated* where it has a queue. It holds a *slot* while it is owned: a row of
`owned` with a queue's name. A *lane* is what waits in a queue under one key and for one task; runs
without a key have the key "", which `per_key_limit` does not bind.

*Stirs.* A row of `stirs` says: something may start here. One is written in the transaction in which
a gated run gets a mark and has no owner (addressed to its task), or gives its slot back (to
anybody: task ""), or the queue is resumed or changed. A worker looks at a queue only where it finds
a stir; so what a claim costs grows with what happens, and not with what waits. Stirs have no unique
key: who writes one waits for nobody.

*Lanes.* Under the lock of the queue's row the worker makes the stirred lanes what their marks say,
counts the slots in statements that follow the lock, and gives free ones to the best lanes. A lane
whose key is full is closed: whoever gives that key back stirs it again. So nobody walks over full
keys twice. Everything that gives out a slot holds that lock; to give one back needs none.

*Order.* Runs that were canceled (`runs.canceled_at`: their marks have the highest priority), also
where the queue is paused; runs that come back from a wait before new ones; then the higher
priority, then the key that was served longest ago, then the older run. Time is counted in turns: a
queue's `turn` rises with each slot that it gives out.
"""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Final, Protocol

from msgspec import Struct
from msgspec.structs import asdict

from wf.history.limits import MAX_LIST


class Limits(Struct, frozen=True):
    """What is set up for a queue. None: unlimited."""

    concurrency_limit: int | None = None
    """Slots, over all keys."""
    per_key_limit: int = 1
    """Slots of one key."""
    rate_limit: int | None = None
    """First starts within any `rate_ms`, over all keys. What comes back from a wait is free."""
    rate_ms: int = 0
    key_rate_limit: int | None = None
    """First starts of one key within any `key_rate_ms`."""
    key_rate_ms: int = 0

    @property
    def text(self) -> str:
        """The same for the same limits: to tell whether code says something new."""
        return json.dumps(asdict(self))


class QueueState(Struct):
    """A queue as people see it."""

    environment: str
    name: str
    limits: Limits
    paused: bool
    running: int = 0
    """Slots that are held."""
    waiting: int = 0
    """Runs that would go on if they had one."""


class QueueChange(Struct, frozen=True):
    """By hand: limits stay until the code says something else than it last said."""

    limits: Limits | None = None
    paused: bool | None = None


class QueueStore(Protocol):
    """The part of a store that keeps queues."""

    def declare_queues(self, environment: str, queues: Sequence[tuple[str, Limits]]) -> None:
        """What code says of them. Made where they are missing; changed where the code says
        something else than it last said."""
        ...

    def change_queue(self, environment: str, name: str, change: QueueChange) -> bool:
        """False: there is no such queue."""
        ...

    def list_queues(self, environment: str) -> list[QueueState]:
        """By name."""
        ...

    def get_queue(self, environment: str, name: str) -> QueueState | None: ...
    def queue_of(self, environment: str, task: str) -> str:
        """The queue that the code of workers declares for the task; "": none."""
        ...

    def slot_holders(self, environment: str, name: str, key: str) -> list[bytes]:
        """Runs with this key that hold slots, MAX_LIST at most."""
        ...


# --- rows -----------------------------------------------------------------------------------------

LIMIT_COLUMNS: Final = ", ".join(Limits.__struct_fields__)
LIMIT_WIDTH: Final = len(Limits.__struct_fields__)

_OF_QUEUE: Final = "FROM owned o WHERE o.environment = q.environment AND o.queue = q.name"
HELD: Final = f"SELECT count(*) {_OF_QUEUE}"
MOST_OF_A_KEY: Final = f"""SELECT coalesce(max(k.n), 0) FROM (
 SELECT count(*) AS n {_OF_QUEUE} AND o.key <> '' GROUP BY o.key) k"""
"""Slots of the key that holds most."""

STIR_DUE: Final = (
    "SELECT min(s.at) AS at FROM stirs s WHERE s.environment = :environment AND s.task = ''"
    " AND s.at > 0"
)
"""When a rate lets the next run start."""
STIR_OF_ROOT: Final = """EXISTS (SELECT 1 FROM ready m JOIN runs r ON r.id = m.run_id
 WHERE m.environment = s.environment AND m.queue = s.queue AND m.queue <> ''
 AND m.owner IS NULL AND :root IN (r.id, r.root_id))"""
"""… of a run and its descendants."""

_SELECT: Final = f"""SELECT q.environment, q.name, q.paused, ({HELD}), (SELECT count(*) FROM ready m
 WHERE m.environment = q.environment AND m.queue = q.name AND m.queue <> '' AND m.owner IS NULL),
 {", ".join(f"q.{name}" for name in Limits.__struct_fields__)} FROM queues q"""


def limits_row(limits: Limits) -> tuple[Any, ...]:
    """For LIMIT_COLUMNS."""
    return tuple(getattr(limits, name) for name in Limits.__struct_fields__)


class QueueLooks:
    """The reading half, one text for both stores."""

    @abstractmethod
    def _query(self, sql: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]: ...

    def list_queues(self, environment: str) -> list[QueueState]:
        """By name."""
        rows = self._query(f"{_SELECT} WHERE q.environment = ? ORDER BY q.name", [environment])
        return [_state_of(row) for row in rows]

    def get_queue(self, environment: str, name: str) -> QueueState | None:
        where = "WHERE q.environment = ? AND q.name = ?"
        rows = self._query(f"{_SELECT} {where}", [environment, name])
        return _state_of(rows[0]) if rows else None

    def queue_of(self, environment: str, task: str) -> str:
        """The queue that the code of workers declares for the task; "": none."""
        sql = "SELECT queue FROM runnables WHERE environment = ? AND task = ?"
        rows = self._query(sql, [environment, task])
        return str(rows[0][0]) if rows else ""

    def slot_holders(self, environment: str, name: str, key: str) -> list[bytes]:
        """Runs with this key that hold slots, MAX_LIST at most."""
        sql = "SELECT run_id FROM owned WHERE environment = ? AND queue = ? AND key = ? LIMIT ?"
        return [bytes(row[0]) for row in self._query(sql, [environment, name, key, MAX_LIST])]


def _state_of(row: Sequence[Any]) -> QueueState:
    environment, name, paused, running, waiting, *limits = row
    return QueueState(environment, name, Limits(*limits), bool(paused), running, waiting)
