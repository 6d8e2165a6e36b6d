"""Time in tests: it stands still until somebody moves it."""

from __future__ import annotations

from typing import Final

from wf.engine.clock import Clock

BEGINNING: Final = 1_750_000_000_000
"""Where virtual time begins unless told otherwise: a day in June 2025."""


class VirtualClock:
    """A `Clock` that is moved by hand. Milliseconds since the epoch."""

    def __init__(self, at_ms: int = BEGINNING) -> None:
        self._now = at_ms

    def now(self) -> int:
        return self._now

    def sync(self, database_ms: int) -> None:
        """A virtual clock follows nobody."""

    def monotonic(self) -> int:
        return self._now

    def seconds(self) -> float:
        return self._now / 1_000

    def advance(self, ms: int) -> None:
        assert ms >= 0, "time does not step back"
        self._now += ms

    def advance_to(self, at_ms: int) -> None:
        self._now = max(self._now, at_ms)


class SkewedClock:
    """A worker's clock that may be wrong: it jumps, until it is synced with the database's."""

    def __init__(self, truth: Clock) -> None:
        self._truth = truth
        self._offset = 0
        self._last = 0

    def now(self) -> int:
        self._last = max(self._last, self._truth.now() + self._offset)
        return self._last

    def sync(self, database_ms: int) -> None:
        self._offset = database_ms - self._truth.now()

    def monotonic(self) -> int:
        return self._truth.monotonic()

    def jump(self, ms: int) -> None:
        """Forwards or backwards; what it shows never steps back."""
        self._offset += ms
