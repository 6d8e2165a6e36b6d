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


class Limit:
    """Cancels tasks that run for longer, not counting what was spent in a debugger."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: Seconds, limit: float) -> None:
        self._loop = loop
        self._seconds = seconds
        self._limit = limit
        self._due: dict[asyncio.Task[object], float] = {}
        """When each is over: who began first is first."""
        self._timer: asyncio.TimerHandle | None = None
        self._looks = False
        """It is about to: most tasks end before a timer is worth it."""

    @property
    def waits(self) -> bool:
        """A timer is set."""
        return self._timer is not None

    def begin(self, task: asyncio.Task[object], begun: float) -> None:
        self._due[task] = begun - standstill.seconds + self._limit
        if self._timer is None and not self._looks:
            self._looks = True
            self._loop.call_soon(self._look)

    def end(self, task: asyncio.Task[object]) -> bool:
        """It is canceled no more. True: it was."""
        if self._due.pop(task, None) is None:
            task.uncancel()
            return True
        if self._timer is not None and not self._due:
            self._timer.cancel()
            self._timer = None
        return False

    def _look(self) -> None:
        self._looks = False
        self._timer = None
        now = self._seconds() - standstill.seconds
        while self._due:
            task, due = next(iter(self._due.items()))
            if due - now > EARLY_SECONDS:
                self._timer = self._loop.call_later(due - now, self._look)
                return
            del self._due[task]
            task.cancel()
