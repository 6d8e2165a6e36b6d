"""The slots of queues in a SQLite store: given out by claims. The theory is in `queues`.

One process writes at a time, so that every transaction has the lock of every queue.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, Final

from msgspec import Struct

from wf.history.lanes import (
    FAIR_TURNS,
    PAGE_HEADS,
    STIRS,
    Allotment,
    Chosen,
    Head,
    Lane,
    QueueNow,
    Window,
    allot,
)
from wf.history.model import Claim, Lease
from wf.history.queues import LIMIT_COLUMNS, Limits
from wf.history.sqlite_transaction import Transaction, stir

_STIRRED: Final = """SELECT id, task, queue, key FROM stirs WHERE environment = ? AND at <= ?
 AND task IN (SELECT '' UNION ALL SELECT value FROM json_each(?)) LIMIT ?"""
_QUEUE: Final = f"""SELECT paused, turn, {LIMIT_COLUMNS} FROM queues
WHERE environment = ? AND name = ?"""
_OF_LANE: Final = "m.environment = ? AND m.queue = ? AND m.key = ?"
_WAITS: Final = "m.queue <> '' AND m.owner IS NULL"
_BEST: Final = "(m.reason = 0), m.priority DESC, m.at, m.run_id"
_HEAD: Final = "(m.reason = 0), -m.priority, m.at, m.run_id"
_NEXT_TASK: Final = f"""SELECT m.task, {_HEAD} FROM ready m
WHERE {_OF_LANE} AND {_WAITS} AND m.task > ? ORDER BY m.task, {_BEST} LIMIT 1"""
_HEADS: Final = f"""SELECT {_HEAD} FROM ready m
WHERE {_OF_LANE} AND {_WAITS} AND m.task = ? ORDER BY {_BEST} LIMIT ? OFFSET ?"""
_LANES: Final = """SELECT rank, -priority, served, at, key, task FROM lanes
WHERE environment = ? AND queue = ? AND task = ? AND at IS NOT NULL
ORDER BY rank, priority DESC, served, at, key LIMIT ?"""
_OPEN: Final = """INSERT INTO lanes
 (environment, queue, key, task, rank, priority, at, served)
VALUES (?, ?, ?, ?, ?, ?, ?, max(?, coalesce((SELECT max(l.served) FROM lanes l
 WHERE l.environment = ?1 AND l.queue = ?2 AND l.key = ?3), 0)))
ON CONFLICT DO UPDATE SET rank = excluded.rank, priority = excluded.priority, at = excluded.at,
 served = excluded.served"""
_CLOSE: Final = "UPDATE lanes SET at = NULL WHERE environment = ? AND queue = ? AND key = ?"
_OTHERS: Final = """SELECT l.task, l.key FROM lanes l
WHERE l.environment = ? AND l.queue = ? AND l.at IS NOT NULL AND l.task > ?
ORDER BY l.task LIMIT 1"""
_IS_STIRRED: Final = """SELECT 1 FROM stirs
WHERE environment = ? AND task = ? AND at = 0 AND queue = ? LIMIT 1"""
_UNDER: Final = f"""SELECT m.queue, m.key, m.task, {_HEAD} FROM ready m
CROSS JOIN runs r ON r.id = m.run_id WHERE m.environment = ? AND {_WAITS} AND ? IN (r.id, r.root_id)
 AND m.task IN (SELECT value FROM json_each(?)) ORDER BY {_BEST}"""
_IDLE_STIRS: Final = """DELETE FROM stirs WHERE environment = ? AND queue = ? AND NOT EXISTS
 (SELECT 1 FROM ready m WHERE m.environment = ?1 AND m.queue = ?2 AND m.queue <> ''
  AND m.owner IS NULL)"""

Slot = tuple[str, str, str]
"""(environment, queue, key)"""
NO_SLOT: Final = (None, None, None)


class Admitted(Struct):
    """What the queues gave out in one claim."""

    slots: dict[bytes, Slot] = {}
    reasons: dict[bytes, int] = {}
    """Of the marks that were taken."""
    again: bool = False


# --- the claim ------------------------------------------------------------------------------------


def stirred(tx: Transaction, lease: Lease, claim: Claim) -> list[tuple[Any, ...]]:
    """The stirs (id, task, queue, key) that are for this worker."""
    tasks = json.dumps(list(claim.tasks))
    return tx.db.execute(_STIRRED, (lease.environment, tx.now, tasks, STIRS)).fetchall()


def admit(
    tx: Transaction, lease: Lease, claim: Claim, limit: int, stirs: Sequence[tuple[Any, ...]]
) -> Admitted:
    """Give free slots of the stirred queues to the best runs, `limit` at most in all."""
    tx.db.executemany("DELETE FROM stirs WHERE id = ?", [row[:1] for row in stirs])
    answer = Admitted(again=len(stirs) == STIRS)
    keys: dict[str, set[str]] = {}
    for _, _, queue, key in stirs:
        keys.setdefault(queue, set()).add(key)
    is_for_all = {queue for _, task, queue, _ in stirs if not task}
    for name in sorted(keys):
        queue = _queue(tx, lease.environment, name)
        if queue is None:
            continue
        _set_lanes(tx, queue, keys[name])
        waiting = _Lanes(tx, queue, claim.tasks)
        allotted = allot(queue, waiting, limit - len(answer.slots), tx.now)
        _settle(tx, queue, allotted, answer)
        if allotted.left is not None:
            stir(tx, [(queue.environment, allotted.left.task, name, allotted.left.key)])
        if allotted.has_room and name in is_for_all:
            _stir_others(tx, queue, claim.tasks)
    return answer


def _stir_others(tx: Transaction, queue: QueueNow, tasks: Sequence[str]) -> None:
    """Workers of other tasks that have open lanes here hear of the room, once."""
    where, task = (queue.environment, queue.name), ""
    while (row := tx.db.execute(_OTHERS, (*where, task)).fetchone()) is not None:
        task, key = row
        is_told = tx.db.execute(_IS_STIRRED, (where[0], task, where[1])).fetchone() is not None
        if task not in tasks and not is_told:
            stir(tx, [(where[0], task, where[1], key)])


def admit_under(tx: Transaction, lease: Lease, claim: Claim, limit: int) -> Admitted:
    """The same for the descendants of one run: what is stirred is left to others, unless nobody
    waits there."""
    answer = Admitted()
    values = (lease.environment, claim.root, json.dumps(list(claim.tasks)))
    found: dict[str, dict[tuple[str, str], list[Head]]] = {}
    for name, key, task, *head in tx.db.execute(_UNDER, values).fetchall():
        found.setdefault(name, {}).setdefault((task, key), []).append(Head(*head))
    for name in sorted(found):
        queue = _queue(tx, lease.environment, name)
        if queue is None:
            continue
        lanes = [
            Lane(task, key, 0, heads, *_of_key(tx, queue, key), asked=len(heads) + 1)
            for (task, key), heads in found[name].items()
        ]
        allotted = allot(queue, _Few(lanes), limit - len(answer.slots), tx.now)
        _settle(tx, queue, allotted, answer)
        tx.db.execute(_IDLE_STIRS, (queue.environment, name))
    return answer


def _queue(tx: Transaction, environment: str, name: str) -> QueueNow | None:
    row = tx.db.execute(_QUEUE, (environment, name)).fetchone()
    if row is None:
        return None
    limits = Limits(*row[2:])
    queue = QueueNow(environment, name, limits, bool(row[0]), row[1])
    if limits.concurrency_limit is not None:
        held = "SELECT count(*) FROM owned WHERE environment = ? AND queue = ?"
        queue.held = tx.db.execute(held, (environment, name)).fetchone()[0]
    if limits.rate_limit is not None:
        where, values = "environment = ? AND queue = ?", (environment, name)
        queue.window = _window(tx, where, values, limits.rate_limit, limits.rate_ms)
    return queue


def _of_key(tx: Transaction, queue: QueueNow, key: str) -> tuple[int, Window | None]:
    """The slots that it holds, and its first starts."""
    if not key:
        return 0, None
    where, values = (
        "environment = ? AND queue = ? AND key = ?",
        (queue.environment, queue.name, key),
    )
    held = tx.db.execute(f"SELECT count(*) FROM owned WHERE {where}", values).fetchone()[0]
    limits = queue.limits
    if limits.key_rate_limit is None:
        return held, None
    return held, _window(tx, where, values, limits.key_rate_limit, limits.key_rate_ms)


def _window(tx: Transaction, where: str, values: Sequence[Any], limit: int, per_ms: int) -> Window:
    latest = f"""SELECT count(*), min(at) FROM (SELECT at FROM starts WHERE {where} AND at > ?
     ORDER BY at DESC LIMIT ?)"""
    count, oldest = tx.db.execute(latest, (*values, tx.now - per_ms, limit)).fetchone()
    return Window(limit, per_ms, count, oldest)


class _Lanes(Struct):
    """A `Waiting`: the open lanes of a queue."""

    tx: Transaction
    queue: QueueNow
    tasks: Sequence[str]

    def lanes(self, skip: int, count: int) -> list[Lane]:
        queue = (self.queue.environment, self.queue.name)
        rows = [
            row
            for task in dict.fromkeys(self.tasks)
            for row in self.tx.db.execute(_LANES, (*queue, task, skip + count))
        ]
        return [
            Lane(task, key, served, self._heads(task, key, 0, PAGE_HEADS), *self._of_key(key))
            for _, _, served, _, key, task in sorted(rows)[skip : skip + count]
        ]

    def heads(self, lane: Lane, skip: int, count: int) -> list[Head]:
        return self._heads(lane.task, lane.key, skip, count)

    def _heads(self, task: str, key: str, skip: int, count: int) -> list[Head]:
        lane = (self.queue.environment, self.queue.name, key, task)
        return [Head(*row) for row in self.tx.db.execute(_HEADS, (*lane, count, skip))]

    def _of_key(self, key: str) -> tuple[int, Window | None]:
        return _of_key(self.tx, self.queue, key)


class _Few(Struct):
    """A `Waiting`: lanes that were read whole."""

    all: list[Lane]

    def lanes(self, skip: int, count: int) -> list[Lane]:
        return self.all[skip : skip + count] if skip else self.all

    def heads(self, lane: Lane, skip: int, count: int) -> list[Head]:
        return list(lane.heads[skip : skip + count])


def _settle(tx: Transaction, queue: QueueNow, allotted: Allotment, answer: Admitted) -> None:
    """Write what was given out."""
    where = (queue.environment, queue.name)
    for chosen in allotted.chosen:
        answer.slots[chosen.head.run_id] = (*where, chosen.key)
    answer.again = answer.again or allotted.left is not None
    if allotted.chosen:
        tx.db.execute(
            "UPDATE queues SET turn = ? WHERE environment = ? AND name = ?",
            (allotted.turn, *where),
        )
        tx.db.executemany(
            "UPDATE lanes SET served = ? WHERE environment = ? AND queue = ? AND key = ?",
            [(turn, *where, key) for key, turn in allotted.served.items()],
        )
        taken = [one.head.run_id for one in allotted.chosen]
        answer.reasons |= dict(
            tx.rows("DELETE FROM ready WHERE run_id IN", taken, "RETURNING run_id, reason")
        )
        _log_starts(tx, queue, allotted.chosen)
    queue.turn = allotted.turn
    _set_lanes(tx, queue, allotted.served.keys() | allotted.empty)
    tx.db.executemany(_CLOSE, [(*where, key) for key in allotted.full])
    tx.db.executemany(
        "INSERT INTO stirs (environment, task, queue, key, at) VALUES (?, '', ?, ?, ?)",
        [(*where, key, at) for key, at in allotted.opens.items()],
    )
    tx.db.execute(
        "DELETE FROM lanes WHERE environment = ? AND queue = ? AND at IS NULL AND served < ?",
        (*where, queue.turn - FAIR_TURNS),
    )


def _log_starts(tx: Transaction, queue: QueueNow, chosen: Sequence[Chosen]) -> None:
    limits, where = queue.limits, (queue.environment, queue.name)
    if limits.rate_limit is None and limits.key_rate_limit is None:
        return
    tx.db.executemany(
        "INSERT INTO starts (environment, queue, key, at) VALUES (?, ?, ?, ?)",
        [(*where, one.key, tx.now) for one in chosen if one.head.rank],
    )
    tx.db.execute(
        "DELETE FROM starts WHERE environment = ? AND queue = ? AND at <= ?",
        (*where, tx.now - max(limits.rate_ms, limits.key_rate_ms)),
    )


def _set_lanes(tx: Transaction, queue: QueueNow, keys: Iterable[str]) -> None:
    """The lanes of these keys say what goes next; those in which nothing waits are closed."""
    for key in sorted(keys):
        lane = (queue.environment, queue.name, key)
        tx.db.execute(_CLOSE, lane)
        task = ""
        while (row := tx.db.execute(_NEXT_TASK, (*lane, task)).fetchone()) is not None:
            task, rank, sunk, at, _ = row
            tx.db.execute(_OPEN, (*lane, task, rank, -sunk, at, queue.turn - FAIR_TURNS))
