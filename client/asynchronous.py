"""AsyncClient: Client for async code, method for method. The work is Client's, in threads; waiting
for a result takes none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping
from datetime import datetime
from typing import Any, ParamSpec, Self, TypeVar, Unpack, overload

from wf.client.asking import asked
from wf.client.client import Client
from wf.client.feeds import follow_async
from wf.client.filters import RunFilters
from wf.client.outside import AsyncHandle, async_batch
from wf.client.prune import Pruned
from wf.client.queues import Queues
from wf.client.runs import SAME
from wf.client.schedules import Schedules
from wf.client.tokens import Tokens
from wf.client.views import ChunkView, EventView, RunView
from wf.engine.core.batches import BatchHandle, Item
from wf.engine.core.durations import Duration
from wf.engine.core.runnable import Runnable
from wf.engine.core.triggers import BatchOptions, TriggerOptions, trigger_options
from wf.history import connections
from wf.history.sealing import Codec
from wf.history.store import Store

P = ParamSpec("P")
T = TypeVar("T")
In = TypeVar("In")


def _threaded(method: Callable[P, T]) -> Callable[P, Coroutine[Any, Any, T]]:
    async def call(*args: P.args, **kwargs: P.kwargs) -> T:
        return await asyncio.to_thread(method, *args, **kwargs)

    return call


class AsyncRuns:
    """`client.runs`, awaitable."""

    def __init__(self, client: Client) -> None:
        runs = client.runs
        self._client = client
        self._store = client.store
        self._runs = runs
        self.list = _threaded(runs.list)
        self.retrieve = _threaded(runs.retrieve)
        self.cancel = _threaded(runs.cancel)
        self.cancel_all = _threaded(runs.cancel_all)
        self.replay_all = _threaded(runs.replay_all)
        self.reschedule = _threaded(runs.reschedule)
        self.unblock = _threaded(runs.unblock)
        self.send = _threaded(runs.send)
        self.why = _threaded(runs.why)
        self.history = _threaded(runs.history)
        self.hooks = _threaded(runs.hooks)
        self.timeline = _threaded(runs.timeline)

    async def replay(self, run_id: str, payload: Any = SAME) -> AsyncHandle[Any]:
        """Start a run anew: a new run of its task, with its options (no delay, no idempotency key)
        and its payload, or with another one. Its `replayed_from` is this run.

        Raises NotFound, PayloadError.
        """
        handle = await asyncio.to_thread(self._runs.replay, run_id, payload)
        return AsyncHandle(self._client, handle)

    async def fork(
        self,
        run_id: str,
        *,
        at: int | None = None,
        payload: Any = SAME,
        results: Mapping[str, Any] | None = None,
    ) -> AsyncHandle[Any]:
        """A new run that shares the history up to the fact `at`, and goes on from there; see
        `Client.runs.fork`.

        Raises NotFound, CannotFork, PayloadError.
        """
        handle = await asyncio.to_thread(
            self._runs.fork, run_id, at=at, payload=payload, results=results
        )
        return AsyncHandle(self._client, handle)

    def subscribe(self, run_id: str) -> AsyncGenerator[RunView]:
        """The run now, then at each change of its status, metadata, tags or output, until it has
        ended. Raises NotFound when it is iterated."""
        return follow_async(self._store, self._runs.changes(run_id))

    def tail(self, run_id: str) -> AsyncGenerator[EventView]:
        """The rows of its history, those to come too, until it has ended. Raises NotFound when it
        is iterated."""
        return follow_async(self._store, self._runs.rows(run_id))

    def stream(self, run_id: str, name: str, *, after: int = 0) -> AsyncGenerator[ChunkView]:
        """The chunks of a stream in order, those to come too, until the run has ended. `after`: the
        `seq` of the last one that was read before. Raises NotFound when it is iterated."""
        return follow_async(self._store, self._runs.chunks(run_id, name, after))


class AsyncTokens:
    """`client.tokens`, awaitable."""

    def __init__(self, tokens: Tokens) -> None:
        self.complete = _threaded(tokens.complete)
        self.cancel = _threaded(tokens.cancel)
        self.retrieve = _threaded(tokens.retrieve)
        self.list = _threaded(tokens.list)


class AsyncSchedules:
    """`client.schedules`, awaitable."""

    def __init__(self, schedules: Schedules) -> None:
        self.create = _threaded(schedules.create)
        self.list = _threaded(schedules.list)
        self.retrieve = _threaded(schedules.retrieve)
        self.update = _threaded(schedules.update)
        self.pause = _threaded(schedules.pause)
        self.resume = _threaded(schedules.resume)
        self.trigger = _threaded(schedules.trigger)
        self.backfill = _threaded(schedules.backfill)
        self.delete = _threaded(schedules.delete)
        self.preview = _threaded(schedules.preview)


class AsyncQueues:
    """`client.queues`, awaitable."""

    def __init__(self, queues: Queues) -> None:
        self.list = _threaded(queues.list)
        self.retrieve = _threaded(queues.retrieve)
        self.pause = _threaded(queues.pause)
        self.resume = _threaded(queues.resume)
        self.set_limit = _threaded(queues.set_limit)


class AsyncClient:
    """`url`: a database. codec: seals values in it; default the project's. `async with client:`
    makes it the ambient one, and lets the database go at the end."""

    def __init__(
        self,
        url: str | None = None,
        *,
        environment: str | None = None,
        store: Store | None = None,
        codec: Codec | None = None,
    ) -> None:
        self._client = Client(url, environment=environment, store=store, codec=codec)
        self.store = self._client.store
        self.environment = self._client.environment
        self.runs = AsyncRuns(self._client)
        self.tokens = AsyncTokens(self._client.tokens)
        self.schedules = AsyncSchedules(self._client.schedules)
        self.queues = AsyncQueues(self._client.queues)

    async def __aenter__(self) -> Self:
        self._client.__enter__()
        return self

    async def __aexit__(self, *error: object) -> None:
        connections.pop(self._client)
        await self.close()

    async def now(self) -> datetime:
        """By the clock of the database: what all times of runs are to be compared with."""
        return await asyncio.to_thread(self._client.now)

    async def prune(
        self,
        older_than: Duration,
        *,
        dry_run: bool = False,
        scrub: bool = False,
        **filters: Unpack[RunFilters],
    ) -> Pruned:
        """Remove runs that are over, as Client.prune does."""
        return await asyncio.to_thread(
            self._client.prune, older_than, dry_run=dry_run, scrub=scrub, **filters
        )

    async def close(self) -> None:
        await asyncio.to_thread(self._client.close)

    @overload
    async def trigger(
        self, task: Runnable[[In], T], payload: In, /, **options: Unpack[TriggerOptions]
    ) -> AsyncHandle[T]: ...
    @overload
    async def trigger(
        self, task: Runnable[[], T], /, **options: Unpack[TriggerOptions]
    ) -> AsyncHandle[T]: ...
    @overload
    async def trigger(
        self, task: Runnable[..., T], payload: Any = None, /, **options: Unpack[TriggerOptions]
    ) -> AsyncHandle[T]: ...
    @overload
    async def trigger(
        self, task: str, payload: Any = None, /, **options: Unpack[TriggerOptions]
    ) -> AsyncHandle[Any]: ...
    async def trigger(self, task: Any, payload: Any = None, /, **options: Any) -> AsyncHandle[Any]:
        """Start a run; a worker takes it up. Raises PayloadError before any run exists."""
        options = await self._with_queue(task, options)
        handle = await self._client.trigger_encoded_async(*asked(task, payload, options))
        return AsyncHandle(self._client, handle)

    @overload
    async def batch_trigger(
        self,
        task: Runnable[[In], T],
        items: Iterable[In | Item[In]],
        /,
        **options: Unpack[BatchOptions],
    ) -> BatchHandle[T]: ...
    @overload
    async def batch_trigger(
        self, task: Runnable[..., T], items: Iterable[Any], /, **options: Unpack[BatchOptions]
    ) -> BatchHandle[T]: ...
    @overload
    async def batch_trigger(
        self, task: str, items: Iterable[Any], /, **options: Unpack[BatchOptions]
    ) -> BatchHandle[Any]: ...
    async def batch_trigger(
        self, task: Any, items: Iterable[Any], /, **options: Any
    ) -> BatchHandle[Any]:
        """Start a run for each item: all, or none. Raises PayloadError, naming the item."""
        options = await self._with_queue(task, options)
        return await async_batch(self._client, task, items, trigger_options(options))

    async def _with_queue(self, task: Any, options: dict[str, Any]) -> dict[str, Any]:
        if not isinstance(task, str):
            return options
        return await asyncio.to_thread(self._client.with_queue, task, options)
