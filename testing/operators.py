"""The operators of a simulation: they change queues and schedules while runs are under way."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from wf.engine.core.firing import pause, resume
from wf.history.queues import Limits, QueueChange
from wf.history.store import Store
from wf.testing.clients import LOST
from wf.testing.clock import VirtualClock
from wf.testing.tables import Tables


class Operators:
    """All operators of one seed: each method is a call that one of them makes. `store` may fail
    them; `note` writes a line of the trace."""

    def __init__(
        self,
        environment: str,
        store: Store,
        tables: Tables,
        clock: VirtualClock,
        note: Callable[..., None],
    ) -> None:
        self._environment = environment
        self._store = store
        self._tables = tables
        self._clock = clock
        self._note = note

    def change_queue(self, random: Random) -> None:
        """It is paused, resumed, or has other limits."""
        queues = self._tables.rows("SELECT name FROM queues ORDER BY name")
        if not queues:
            return
        name = str(random.choice(queues)[0])
        change = QueueChange(Limits(random.choice([None, 1, 2, 4]), random.randint(1, 2)))
        if random.random() < 0.5:
            change = QueueChange(paused=random.random() < 0.5)
        try:
            self._store.change_queue(self._environment, name, change)
        except LOST:
            return
        self._note("an operator changes the queue", name, change)

    def change_schedule(self, random: Random) -> None:
        """It is paused or resumed, unless somebody else is earlier."""
        now, change = self._clock.now(), random.choice([pause, resume])
        try:
            schedules = self._store.list_schedules(self._environment)
            if not schedules:
                return
            schedule = random.choice(schedules)
            self._store.move_schedules([change(schedule, now)], now)
        except LOST:
            return
        self._note("an operator asks a schedule to", change.__name__, schedule.cron)

    def settle(self, store: Store) -> None:
        """So that all can end: queues go on, schedules do not. `store` fails nobody."""
        for queue in store.list_queues(self._environment):
            store.change_queue(self._environment, queue.name, QueueChange(paused=False))
        now = self._clock.now()
        schedules = store.list_schedules(self._environment)
        store.move_schedules([pause(one, now) for one in schedules], now)
