"""Following a run from outside: its changes, and the chunks of its streams, as they come.

A feed looks into the store; who follows it is woken by hints, and looks now and then without one,
for hints are not the truth. The async way takes a thread only for the look itself.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol, TypeVar

from wf.client.views import ChunkView, EventView, RunView, chunk_view, event_view
from wf.history.errors import StoreUnavailable
from wf.history.store import Store

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LOOK_SECONDS: Final = 0.02
"""Hints that come so soon after one another are one: a busy store gives hundreds a second."""
POLL_SECONDS: Final = (0.05, 1.0)
"""Between looks without a hint: from, to."""


class Feed(Protocol[T_co]):
    """What can be followed. `is_over`: nothing new will come."""

    is_over: bool

    def look(self) -> Sequence[T_co]:
        """What is new since the last look. Raises StoreUnavailable, and NotFound."""
        ...


class RunChanges:
    """A run as it is, then whenever its status, metadata, tags or output are others; over when it
    has ended."""

    def __init__(self, retrieve: Callable[[], RunView]) -> None:
        self._retrieve = retrieve
        self._seen: Any = None
        self.is_over = False

    def look(self) -> Sequence[RunView]:
        run = self._retrieve()
        told = (run.status, run.metadata, run.tags, run.output, run.blocked, run.attempt)
        is_new, self._seen = told != self._seen, told
        self.is_over = run.status.ended
        return [run] if is_new else []


class Chunks:
    """The chunks of a stream that follow `after`; over when the run has ended and all are read."""

    def __init__(
        self, store: Store, run_id: bytes, name: str, after: int, retrieve: Callable[[], RunView]
    ) -> None:
        self._store = store
        self._run_id = run_id
        self._name = name
        self._after = after
        self._retrieve = retrieve
        self._has_ended = False
        self.is_over = False

    def look(self) -> Sequence[ChunkView]:
        found = self._store.read_stream(self._run_id, self._name, self._after)
        if found:
            self._after = found[-1].seq
        elif self._has_ended:
            self.is_over = True
        else:
            self._has_ended = self._retrieve().status.ended
            return self.look() if self._has_ended else []
        return [chunk_view(chunk) for chunk in found]


class HistoryRows:
    """The rows of a run's history; over when it has ended and all are read."""

    def __init__(self, store: Store, run_id: bytes, retrieve: Callable[[], RunView]) -> None:
        self._store = store
        self._run_id = run_id
        self._retrieve = retrieve
        self._last = (0, 0)
        self.is_over = False

    def look(self) -> Sequence[EventView]:
        has_ended = self._retrieve().status.ended
        found = self._store.history(self._run_id, after=self._last)
        if found:
            self._last = found[-1][0], found[-1][1].seq
        self.is_over = has_ended
        return [event_view(chapter, event) for chapter, event in found]


def follow(store: Store, feed: Feed[T]) -> Generator[T]:
    """All that comes, until the feed is over. A database that is away is waited for."""
    changed = threading.Event()
    unlisten = store.listen(changed.set)
    delay = POLL_SECONDS[0]
    try:
        while not feed.is_over:
            changed.clear()
            found = _look(feed)
            yield from found
            if found or feed.is_over:
                delay = POLL_SECONDS[0]
            elif changed.wait(delay):
                time.sleep(LOOK_SECONDS)
            else:
                delay = min(2 * delay, POLL_SECONDS[1])
    finally:
        unlisten()


async def follow_async(store: Store, feed: Feed[T]) -> AsyncGenerator[T]:
    """`follow`, for code that is async."""
    loop, changed = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody follows any more
            loop.call_soon_threadsafe(changed.set)

    unlisten = store.listen(wake)
    delay = POLL_SECONDS[0]
    try:
        while not feed.is_over:
            changed.clear()
            found = await asyncio.to_thread(_look, feed)
            for item in found:
                yield item
            if found or feed.is_over:
                delay = POLL_SECONDS[0]
                continue
            try:
                await asyncio.wait_for(changed.wait(), delay)
            except TimeoutError:
                delay = min(2 * delay, POLL_SECONDS[1])
            else:
                await asyncio.sleep(LOOK_SECONDS)
    finally:
        unlisten()


def _look(feed: Feed[T]) -> Sequence[T]:
    try:
        return feed.look()
    except StoreUnavailable:
        return []
