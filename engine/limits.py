"""How long async steps may run: one timer of their loop for all that have the same limit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Final

from wf.engine.debugging import standstill

Seconds = Callable[[], float]
"""A clock that never steps back."""

EARLY_SECONDS: Final = 0.001
"""A timer of asyncio may ring so much before its time."""


class Limits:
    """Of the tasks on `loop`, which has to show the same time as `seconds`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: Seconds = time.monotonic) -> None:
        self.loop = loop
        self.seconds = seconds
        self._limits: dict[int, Limit] = {}

    def of(self, ms: int) -> Limit:
        limit = self._limits.get(ms)
        if limit is None:
            limit = self._limits[ms] = Limit(self.loop, self.seconds, ms / 1_000)
        return limit

    def rest(self) -> None:
        """No timer is set any more where no task is under way."""
        for limit in self._limits.values():
            limit.rest()


class Limit:
    """Cancels tasks that run for longer, not counting what was spent in a debugger."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: Seconds, limit: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._limit = limit
        self._due: dict[asyncio.Task[object], float] = {}
        """When each is over: who began first is first."""
        self._timer: asyncio.TimerHandle | None = None
        """It stays where its task ends, as most do long before: it rings once, for nothing."""

    def begin(self, task: asyncio.Task[object], begun: float) -> None:
        self._due[task] = begun - standstill.seconds + self._limit
        if self._timer is None:
            self._timer = self._loop.call_later(self._limit, self._ring)

    def end(self, task: asyncio.Task[object]) -> bool:
        """It is canceled no more. True: it was."""
        if self._due.pop(task, None) is not None:
            return False
        task.uncancel()
        return True

    def rest(self) -> None:
        if self._timer is not None and not self._due:
            self._timer.cancel()
            self._timer = None

    def _ring(self) -> None:
        self._timer = None
        now = self._seconds() - standstill.seconds
        while self._due:
            task, due = next(iter(self._due.items()))
            if due - now > EARLY_SECONDS:
                self._timer = self._loop.call_later(due - now, self._ring)
                return
            del self._due[task]
            task.cancel()
