"""The schedules of a watched store: each call goes through its door."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wf.history.schedules import Move, Schedule, ScheduleStore
from wf.testing.door import Door


class WatchedSchedules:
    """A `ScheduleStore` whose calls go through `door`."""

    def __init__(self, inner: ScheduleStore, door: Door) -> None:
        self._schedules = inner
        self.door = door

    def add_schedules(self, schedules: Sequence[Schedule]) -> None:
        self.door("add_schedules", partial(self._schedules.add_schedules, schedules))

    def move_schedules(self, moves: Sequence[Move], now: int) -> list[bool]:
        return self.door("move_schedules", partial(self._schedules.move_schedules, moves, now))

    def drop_schedules(self, ids: Sequence[bytes]) -> None:
        self.door("drop_schedules", partial(self._schedules.drop_schedules, ids))

    def get_schedules(self, ids: Sequence[bytes]) -> dict[bytes, Schedule]:
        return self.door("get_schedules", partial(self._schedules.get_schedules, ids))

    def schedule_of_key(self, environment: str, key: str) -> Schedule | None:
        call = partial(self._schedules.schedule_of_key, environment, key)
        return self.door("schedule_of_key", call)

    def list_schedules(
        self, environment: str, *, task: str = "", external_id: str = "", limit: int = 1_000
    ) -> list[Schedule]:
        def call() -> list[Schedule]:
            return self._schedules.list_schedules(
                environment, task=task, external_id=external_id, limit=limit
            )

        return self.door("list_schedules", call)

    def declared_schedules(self, environment: str) -> list[Schedule]:
        call = partial(self._schedules.declared_schedules, environment)
        return self.door("declared_schedules", call)

    def due_schedules(
        self, environment: str, tasks: Sequence[str], now: int, limit: int
    ) -> list[Schedule]:
        call = partial(self._schedules.due_schedules, environment, tasks, now, limit)
        return self.door("due_schedules", call)

    def next_schedule_at(self, environment: str, tasks: Sequence[str]) -> int | None:
        call = partial(self._schedules.next_schedule_at, environment, tasks)
        return self.door("next_schedule_at", call)
