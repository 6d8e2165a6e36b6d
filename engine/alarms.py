"""When owned runs want to be looked at again: one time per run, the earliest."""

from __future__ import annotations

from heapq import heapify, heappop, heappush
from typing import Final

NEVER: Final = 1 << 62
SLACK: Final = 1_000
"""Entries of runs that are gone, above as many as there are alarms: then they are cleared away.
Timers may be days ahead, and most are given up long before."""


class Alarms:
    def __init__(self) -> None:
        self._at: dict[bytes, int] = {}
        self._heap: list[tuple[int, bytes]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def set(self, run_id: bytes, at: int) -> None:
        """Ring at this time, or earlier where that was asked for: the run looks for itself."""
        known = self._at.get(run_id)
        if known is not None and known <= at:
            return
        self._at[run_id] = at
        heappush(self._heap, (at, run_id))
        if len(self._heap) > 2 * len(self._at) + SLACK:
            self._heap = [(at, run_id) for run_id, at in self._at.items()]
            heapify(self._heap)

    def forget(self, run_id: bytes) -> None:
        self._at.pop(run_id, None)

    @property
    def next(self) -> int:
        """When the next one rings; NEVER: none does."""
        heap = self._heap
        while heap and self._at.get(heap[0][1]) != heap[0][0]:
            heappop(heap)
        return heap[0][0] if heap else NEVER

    def ring(self, now: int) -> bytes | None:
        """A run whose alarm rings now; it is no longer set."""
        if self.next > now:
            return None
        run_id = heappop(self._heap)[1]
        del self._at[run_id]
        return run_id

    def clear(self) -> None:
        self._at.clear()
        self._heap.clear()
