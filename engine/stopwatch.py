"""How long a run was active: the time in which at least one of its steps was in flight."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from msgspec import Struct

from wf.history.events import Event, Kind

_ENDS: Final = frozenset({Kind.STEP_FINISHED, Kind.STEP_FAILED})


class Stopwatch(Struct):
    """`limit_ms`: how long the run may be active; 0: for ever, and then nothing is counted from its
    history."""

    limit_ms: int
    _active_ms: int = 0
    _since: int = 0
    """When the first of the steps in flight was handed out; 0: none is."""

    def recall(self, events: Iterable[Event]) -> None:
        """What the history tells of it (an attempt that a lost worker took with it, or that was
        tried again, left no duration)."""
        if not self.limit_ms:
            return
        total = until = 0
        for event in events:
            if event.kind in _ENDS and event.at > until:
                total += min(event.took, event.at - until)
                until = event.at
        self._active_ms = total

    def start(self, now: int) -> None:
        """A step is on its way."""
        self._since = self._since or now

    def stop(self, now: int) -> None:
        """No step is in flight any more."""
        if self._since:
            self._active_ms += now - self._since
            self._since = 0

    @property
    def rings_at(self) -> int:
        """When the limit is reached, if the run goes on as it does; 0: never."""
        if not self.limit_ms or not self._since:
            return 0
        return self._since + self.limit_ms - self._active_ms
