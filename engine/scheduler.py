"""The scheduler: a part of every worker process. It registers the schedules of the code, and fires
what is due.

Any number of them may work on one store: each reads what is due, works out the next state, and
only one of them writes it (`history.schedules`).
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Final

from wf.engine.alarms import NEVER
from wf.engine.clock import Clock
from wf.engine.core.firing import change, fire
from wf.engine.core.schedules import declared_schedules
from wf.engine.registry import Registry
from wf.history.errors import CodecError, DeclarationError
from wf.history.ids import show
from wf.history.schedules import Move, Schedule
from wf.history.store import Store

log = logging.getLogger("wf.worker")

LOOK_MS: Final = 1_000
"""A schedule that was made, resumed or changed is known after so long: one look at one indexed
time."""
AT_ONCE: Final = 100
"""Schedules fired in one transaction: at nine in the morning there may be thousands."""
WORK_MS: Final = 1_000
"""Of working out what fires, before it is written: the worker's beat waits meanwhile. After a month
without workers, one schedule of every minute takes that long."""


class Scheduler:
    """`tick` does one round, from the worker's thread. Raises StoreUnavailable, with everything
    kept for the next try."""

    def __init__(self, store: Store, registry: Registry, environment: str, clock: Clock) -> None:
        self._store = store
        self._registry = registry
        self._environment = environment
        self._clock = clock
        self._is_registered = False
        self._looked_at = -NEVER
        self._next_at = NEVER
        self._refused: dict[bytes, int] = {}
        """Schedules that cannot be worked out here, by the revision that was told of."""

    def tick(self) -> bool:
        """Fire what is due. True: there may be more."""
        now = self._clock.now()
        if self.wait_ms() > 0:
            return False
        if not self._is_registered:
            self._is_registered = self._register(now)
        self._looked_at = self._clock.monotonic()
        tasks = self._registry.ids
        due_at = self._store.next_schedule_at(self._environment, tasks)
        self._next_at = due_at if due_at is not None else NEVER
        if self._next_at > now:
            return False
        due = self._store.due_schedules(self._environment, tasks, now, AT_ONCE)
        moves = self._moves(due, now)
        if not moves:
            self._next_at = NEVER
            return False
        self._store.move_schedules(moves, now)
        self._next_at = now
        return True

    def wait_ms(self) -> int:
        """After how long to tick again."""
        look = self._looked_at + LOOK_MS - self._clock.monotonic()
        return max(0, min(look, self._next_at - self._clock.now()))

    def _moves(self, due: Iterable[Schedule], now: int) -> list[Move]:
        """Of the first of them, as far as WORK_MS goes."""
        moves: list[Move] = []
        until = self._clock.monotonic() + WORK_MS
        for schedule in due:
            move = self._fired(schedule, now)
            if move is not None:
                moves.append(move)
            if self._clock.monotonic() >= until:
                break
        return moves

    def _fired(self, schedule: Schedule, now: int) -> Move | None:
        try:
            return fire(schedule, now)
        except (CodecError, DeclarationError) as error:
            if self._refused.get(schedule.id) != schedule.revision:
                self._refused[schedule.id] = schedule.revision
                log.error("%s cannot fire here: %s", show("schedule", schedule.id), error)
            return None

    # -- the schedules of the code

    def _register(self, now: int) -> bool:
        """What is declared is there, as it is declared. What is not any more, of tasks that are
        here, is dropped; whoever starts last has the say. False: one of them was just fired or
        changed by somebody else, and is to be looked at again."""
        wanted = {
            schedule.id: schedule
            for runnable in self._registry
            for schedule in declared_schedules(runnable, self._environment, now)
        }
        there = {
            schedule.id: schedule
            for schedule in self._store.declared_schedules(self._environment)
            if schedule.task in self._registry
        }
        missing = [schedule for id, schedule in wanted.items() if id not in there]
        if missing:
            self._store.add_schedules(missing)
        gone = sorted(there.keys() - wanted.keys())
        if gone:
            self._store.drop_schedules(gone)
        changes = (change(there[id], wanted[id], now) for id in wanted.keys() & there.keys())
        moves = [move for move in changes if move is not None]
        return not moves or all(self._store.move_schedules(moves, now))
