"""The slots of queues on Postgres, given out by claims: statements whose answers are read, within
the transaction of a worker's group. The theory is in `queues`."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from operator import itemgetter
from typing import Any

from msgspec import Struct

from wf.history import postgres_sql_queues as sql
from wf.history import postgres_sql_workers as workers
from wf.history.lanes import (
    PAGE_LANES,
    STIRS,
    Allotment,
    Head,
    Lane,
    QueueNow,
    Waiting,
    Window,
    allot,
    room_of,
)
from wf.history.postgres_arrays import byteas, int8s, table, texts
from wf.history.postgres_flight import Cursor
from wf.history.postgres_pool import Connection, send
from wf.history.queues import Limits


class Looking(Struct):
    """One claim that looks at queues. `values`: of its statements, by name."""

    connection: Connection
    values: dict[str, Any]
    queues: dict[str, QueueNow] = {}
    """Those that are locked."""
    keys: set[tuple[str, str]] = set()
    """Stirred ones of them: (queue, key)."""
    is_for_all: set[str] = set()
    waiting: dict[str, Waiting] = {}
    again: bool = False
    told: bool = False

    # -- before the counts

    def look(self) -> bool:
        """Take the stirs of queues that nobody else has locked. False: there are none at all."""
        rows = self._send(sql.STIRRED).fetchall()
        if not rows:
            return False
        self._lock({row[2] for row in rows})
        mine = [row for row in rows if row[2] in self.queues]
        self.again = len(mine) < len(rows) or len(rows) == STIRS
        self.keys = {(row[2], row[3]) for row in mine}
        self.is_for_all = {row[2] for row in mine if not row[1]}
        if mine:
            send(self.connection, sql.EATEN, [int8s([row[0] for row in mine])])
            self._set_lanes(self.keys)
        return True

    def look_under(self) -> None:
        """The same for the descendants of one run; stirs are left to others."""
        rows = self._send(sql.UNDER).fetchall()
        self._lock({row[0] for row in rows})
        mine = [row for row in rows if row[0] in self.queues]
        self.again = len(mine) < len(rows)
        heads: dict[tuple[str, str, str], list[Head]] = {}
        for queue, key, task, *head in mine:
            heads.setdefault((queue, task, key), []).append(Head(*head))
        keys = sorted({(queue, key) for queue, _, key in heads})
        counts = {row[:2]: row[2:] for row in self._send(sql.KEYS, **_pairs(keys)).fetchall()}
        lanes: dict[str, list[Lane]] = {name: [] for name in self.queues}
        for (queue, task, key), found in heads.items():
            held, *window = counts[queue, key]
            known = _window(self.queues[queue], *window)
            lanes[queue].append(Lane(task, key, 0, found, held, known, asked=len(found) + 1))
        self.waiting = {name: _Few(few) for name, few in lanes.items()}

    def _lock(self, names: Iterable[str]) -> None:
        if not names:
            return
        for name, paused, turn, *limits in self._send(sql.LOCKED, queues=texts(sorted(names))):
            queue = QueueNow(self.values["environment"], name, Limits(*limits), paused, turn)
            self.queues[name] = queue

    # -- the counts, and what follows from them

    def admit(self, limit: int) -> list[Cursor]:
        """Give out free slots, `limit` at most in all; answers the claims of their runs. The
        counts follow the locks."""
        if not self.queues:
            return []
        names = sorted(self.queues)
        for name, held, count, oldest in self._send(sql.COUNTED, queues=texts(names)).fetchall():
            queue = self.queues[name]
            queue.held = held
            if queue.limits.rate_limit is not None:
                per_ms = queue.limits.rate_ms
                queue.window = Window(queue.limits.rate_limit, per_ms, count, oldest)
        room = max(room_of(queue, limit) for queue in self.queues.values())
        if not self.waiting:
            pages = self.lanes(names, 0, PAGE_LANES + room) if room else {}
            for name in names:
                self.waiting[name] = _Lanes(self, self.queues[name], pages.get(name, []))
        allotted: dict[str, Allotment] = {}
        for name in names:
            answer = allot(self.queues[name], self.waiting[name], limit, self.values["now"])
            limit -= len(answer.chosen)
            allotted[name] = answer
        return self._settle(allotted)

    def lanes(self, names: Sequence[str], skip: int, count: int) -> dict[str, list[Lane]]:
        """The open lanes of each queue, best first."""
        rows = self._send(sql.LANES, queues=texts(names), skip=skip, count=count).fetchall()
        found: dict[str, list[Lane]] = {}
        for (name, task, key), group in groupby(rows, itemgetter(0, 1, 2)):
            lane = list(group)
            served, held, counted, oldest = lane[0][3:7]
            heads = [Head(*row[7:]) for row in lane if row[10] is not None]
            window = _window(self.queues[name], counted, oldest)
            found.setdefault(name, []).append(Lane(task, key, served, heads, held, window))
        return found

    def heads(self, name: str, lane: Lane, skip: int, count: int) -> list[Head]:
        place = {"queue": name, "key": lane.key, "task": lane.task}
        return [Head(*row) for row in self._send(sql.HEADS, **place, skip=skip, count=count)]

    # -- what is written

    def _settle(self, allotted: dict[str, Allotment]) -> list[Cursor]:
        claims = self._take(allotted)
        environment = self.values["environment"]
        touched = {
            (name, key) for name, one in allotted.items() for key in one.served.keys() | one.empty
        }
        self._set_lanes(touched)
        full = [(environment, name, key) for name, one in allotted.items() for key in one.full]
        if full:
            send(self.connection, sql.CLOSED, table("ttt", full))
        stirs = [
            (environment, "", name, key, at)
            for name, one in allotted.items()
            for key, at in one.opens.items()
        ]
        for name, one in allotted.items():
            if one.left is not None:
                self.again = self.told = True
                if self.values["root"] is None:
                    stirs.append((environment, one.left.task, name, one.left.key, 0))
        if stirs:
            send(self.connection, sql.STIR, table("tttti", stirs))
        names = texts(sorted(allotted))
        roomy = sorted(self.is_for_all & {name for name, one in allotted.items() if one.has_room})
        if roomy:
            self._send(sql.OTHERS, roomy=texts(roomy))
            self.told = True
        if any(one.chosen for one in allotted.values()):
            self._send(sql.FORGOTTEN, queues=names)
        if self.values["root"] is not None:
            self._send(sql.STILL, queues=names)
        return claims

    def _take(self, allotted: dict[str, Allotment]) -> list[Cursor]:
        environment = self.values["environment"]
        chosen = [one for answer in allotted.values() for one in answer.chosen]
        if not chosen:
            return []
        ids = byteas([one.head.run_id for one in chosen])
        turns = [(environment, name, one.turn) for name, one in allotted.items() if one.chosen]
        send(self.connection, sql.TURNS, table("tti", turns))
        served = [
            (environment, name, key, turn)
            for name, one in allotted.items()
            for key, turn in one.served.items()
        ]
        send(self.connection, sql.SERVED, table("ttti", served))
        claim = self._send(workers.CLAIM_CHOSEN, chosen=ids)
        self._send(sql.MISSED, chosen=ids)
        rated = {
            name
            for name in allotted
            if (limits := self.queues[name].limits).rate_limit is not None
            or limits.key_rate_limit is not None
        }
        starting = [
            one.head.run_id for name in rated for one in allotted[name].chosen if one.head.rank
        ]
        if starting:
            self._send(sql.STARTS, starting=byteas(starting))
            self._send(sql.STARTED, queues=texts(sorted(rated)))
        return [claim]

    def _set_lanes(self, keys: Iterable[tuple[str, str]]) -> None:
        ordered = sorted(keys)
        if ordered:
            self._send(sql.SET_LANES, **_pairs(ordered))

    def _send(self, statement: str, **more: Any) -> Cursor:
        return send(self.connection, statement, self.values | more)


class _Lanes(Struct):
    """A `Waiting`: the open lanes of a queue, the first page of which was read with others."""

    looking: Looking
    queue: QueueNow
    first: list[Lane]

    def lanes(self, skip: int, count: int) -> list[Lane]:
        if not skip:
            return self.first
        found = self.looking.lanes([self.queue.name], skip, count)
        return found.get(self.queue.name, [])

    def heads(self, lane: Lane, skip: int, count: int) -> list[Head]:
        return self.looking.heads(self.queue.name, lane, skip, count)


class _Few(Struct):
    """A `Waiting`: lanes that were read whole."""

    all: list[Lane]

    def lanes(self, skip: int, count: int) -> list[Lane]:
        return self.all if not skip else []

    def heads(self, lane: Lane, skip: int, count: int) -> list[Head]:
        return []


def _pairs(keys: Sequence[tuple[str, str]]) -> dict[str, Any]:
    queues, of_them = table("tt", keys)
    return {"queues": queues, "keys": of_them}


def _window(queue: QueueNow, count: int, oldest: int | None) -> Window | None:
    """First starts of a key."""
    limits = queue.limits
    if limits.key_rate_limit is None:
        return None
    return Window(limits.key_rate_limit, limits.key_rate_ms, count, oldest)
