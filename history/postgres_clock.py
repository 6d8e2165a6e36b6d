"""The database's clock, carried on for a moment: who triggers one run after the other need not ask
each time how late it is."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final, NamedTuple

CARRIED_S: Final = 1.0
"""How old the last answer may be. Clocks drift apart by less than 0.1 ms in that time, and where
somebody sets the database's, it is noticed as soon."""
STEP_S: Final = 0.01
"""Where this machine's two clocks differ by so much more than before, it was suspended, or one was
set: the answer is too old."""


class _Answer(NamedTuple):
    at_ms: int
    monotonic: float
    wall: float


class CarriedClock:
    """`ask` the database: milliseconds. Never ahead of it, and never behind what it has said."""

    def __init__(self, ask: Callable[[], int]) -> None:
        self._ask = ask
        self._answer: _Answer | None = None

    def now(self) -> int:
        at_ms = self._ask()
        self._answer = _Answer(at_ms, time.monotonic(), time.time())
        return at_ms

    def carried(self) -> int:
        answer = self._answer
        if answer is not None:
            passed = time.monotonic() - answer.monotonic
            if passed < CARRIED_S and abs(time.time() - answer.wall - passed) < STEP_S:
                return answer.at_ms + int(passed * 1_000)
        return self.now()
