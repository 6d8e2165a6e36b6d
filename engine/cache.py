"""Bodies of runs that wait, kept while there is room: a miss is a replay."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from wf.engine.body import Body
from wf.engine.room import weight
from wf.history.model import Claimed, Reason


class Cache:
    """The `size` that were put here last, as many as weigh `limit` bytes; the others are closed."""

    def __init__(self, size: int, limit: int, close: Callable[[Body], None]) -> None:
        self._size = size
        self._limit = limit
        self._close = close
        self._bodies: OrderedDict[bytes, Body] = OrderedDict()
        self._weight = 0

    def keep(self, body: Body) -> None:
        self._bodies[body.run.id] = body
        self._weight += weight(body)
        while len(self._bodies) > self._size or self._weight > self._limit:
            _, oldest = self._bodies.popitem(last=False)
            self._weight -= weight(oldest)
            self._close(oldest)

    def look(self, run_id: bytes) -> Body | None:
        return self._bodies.get(run_id)

    def fits(self, claimed: Claimed) -> bool:
        """The run's body is here, and nothing was written since."""
        kept = self._bodies.get(claimed.run.id)
        return (
            kept is not None
            and claimed.reason is Reason.RESUME
            and (kept.run.chapter, kept.seq) == (claimed.run.chapter, claimed.seq)
        )

    def take(self, claimed: Claimed) -> Body | None:
        """The run's body, out of the cache. One that does not fit is closed."""
        fits = self.fits(claimed)
        kept = self._bodies.pop(claimed.run.id, None)
        self._weight -= weight(kept) if kept is not None else 0
        if kept is not None and not fits:
            self._close(kept)
            return None
        return kept

    def clear(self) -> None:
        for body in self._bodies.values():
            self._close(body)
        self._bodies.clear()
        self._weight = 0
