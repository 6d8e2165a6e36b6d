"""The worker's clock: the database's time, carried on by this machine's monotonic clock between two
looks."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """Milliseconds since the epoch. Never steps back."""

    def now(self) -> int: ...
    def sync(self, database_ms: int) -> None:
        """The database says that it is so late now."""
        ...

    def monotonic(self) -> int:
        """For intervals of this process (beats, polls): milliseconds that pass whatever the
        database says."""
        ...


class DatabaseClock:
    def __init__(self) -> None:
        self._offset = time.time() * 1_000 - time.monotonic() * 1_000
        self._last = 0

    def now(self) -> int:
        self._last = max(self._last, round(time.monotonic() * 1_000 + self._offset))
        return self._last

    def sync(self, database_ms: int) -> None:
        self._offset = database_ms - time.monotonic() * 1_000

    def monotonic(self) -> int:
        return round(time.monotonic() * 1_000)


class SkippingClock(DatabaseClock):
    """Real time plus what was skipped: `wf run --skip-waits`."""

    def __init__(self) -> None:
        super().__init__()
        self.skipped = 0

    def now(self) -> int:
        return super().now() + self.skipped

    def skip_to(self, at_ms: int) -> None:
        self.skipped += max(0, at_ms - self.now())
