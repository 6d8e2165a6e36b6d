"""What in a body waits for time: durable timers, and steps that wait for their next attempt."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from heapq import heapify, heappop, heappush
from typing import TYPE_CHECKING

from msgspec import Struct

from wf.history.events import Event, Kind

if TYPE_CHECKING:
    from wf.engine.core.operation import OperationFuture


def _nothing() -> None: ...


class Timer(Struct):
    """`kind`: of the fact that it is due. One that `is_fixed` means a moment, others a while."""

    due: int
    digest: int
    fire: Callable[[], None] = _nothing
    kind: Kind = Kind.TIMER_FIRED
    is_fixed: bool = False


class Timers:
    """`operations`: those under way, of which those with a `retry_at` wait for an attempt."""

    def __init__(self, operations: Mapping[int, OperationFuture]) -> None:
        self._operations = operations
        self._timers: dict[int, Timer] = {}
        self._due: list[tuple[int, int]] = []

    def open(
        self,
        ordinal: int,
        due: int,
        digest: int,
        fire: Callable[[], None] = _nothing,
        *,
        kind: Kind = Kind.TIMER_FIRED,
        is_fixed: bool = False,
    ) -> None:
        self._timers[ordinal] = Timer(due, digest, fire, kind, is_fixed)
        heappush(self._due, (due, ordinal))

    def shift(self, ms: int) -> None:
        """Time that does not count has passed: a while ends so much later."""
        for timer in self._timers.values():
            if not timer.is_fixed:
                timer.due += ms
        self._due = [one for one in self._due if one[1] not in self._timers]
        self._due += [(timer.due, ordinal) for ordinal, timer in self._timers.items()]
        heapify(self._due)

    def retry(self, ordinal: int, due: int) -> None:
        """The step's next attempt is due then."""
        heappush(self._due, (due, ordinal))

    def drop(self, ordinal: int) -> None:
        self._timers.pop(ordinal, None)

    def fire(self, ordinal: int) -> bool:
        """Its time has come. False: there is no such timer any more."""
        timer = self._timers.pop(ordinal, None)
        if timer is not None:
            timer.fire()
        return timer is not None

    def clear(self) -> None:
        self._timers.clear()

    def next_due(self) -> int:
        """When the next timer or retry is due (ms); 0: nothing is waited for by time."""
        while self._due:
            due, ordinal = self._due[0]
            if ordinal in self._timers or self._is_retry(ordinal, due):
                return due
            heappop(self._due)
        return 0

    def take_due(self, now: int) -> tuple[list[int], Event | None]:
        """What is due at `now`: steps to try again, and the fact of the first timer that is due, to
        be applied before the next is asked for. Its seq and time are the worker's to fill in."""
        retries: list[int] = []
        while self._due:
            due, ordinal = self._due[0]
            timer = self._timers.get(ordinal)
            is_retry = timer is None and self._is_retry(ordinal, due)
            if (timer is not None or is_retry) and due > now:
                break
            if timer is not None:
                return retries, Event(0, timer.kind, ordinal, now, digest=timer.digest)
            heappop(self._due)
            if is_retry:
                retries.append(ordinal)
        return retries, None

    def _is_retry(self, ordinal: int, due: int) -> bool:
        future = self._operations.get(ordinal)
        return future is not None and future.retry_at == due
