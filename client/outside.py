"""`await task.trigger(x)` outside any body: the ambient client does it, without blocking the
loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Any, TypeVar

from wf.client import ambient
from wf.client.asking import batch_asked
from wf.client.batches import Batch, ends_of
from wf.client.client import Client
from wf.client.feeds import follow_async
from wf.client.handles import Handle, output_of
from wf.client.timeline.model import Timeline
from wf.client.views import ChunkView, EventView, RunView
from wf.engine.core.batches import BatchHandle
from wf.engine.core.children import when_outside
from wf.engine.core.handles import RunHandle
from wf.engine.core.runnable import Runnable
from wf.engine.core.triggers import with_defaults
from wf.history.cold import chunks
from wf.history.errors import RunError

T = TypeVar("T")


async def trigger_outside(
    runnable: Runnable[..., Any],
    encode: Callable[[], bytes],
    options: dict[str, Any],
    awaited: bool,
) -> Any:
    client: Client = ambient.client()
    payload = encode()
    handle = await client.trigger_encoded_async(
        runnable.id,
        payload,
        with_defaults(runnable.settings, options),
        runnable.signature.decode_result,
    )
    made = AsyncHandle(client, handle)
    return await made.result() if awaited else made


async def batch_outside(
    runnable: Runnable[..., Any],
    items: Iterable[Any],
    options: dict[str, Any],
    *,
    awaited: bool,
    return_exceptions: bool,
) -> Any:
    client = ambient.client()
    batch = await async_batch(client, runnable, items, options)
    return await batch.results(return_exceptions=return_exceptions) if awaited else batch


async def async_batch(
    client: Client, task: Any, items: Iterable[Any], options: dict[str, Any]
) -> BatchHandle[Any]:
    """`client.batch_trigger` for async code. `options`: checked ones."""
    connection = options.get("connection")
    others = {name: value for name, value in options.items() if name != "connection"}
    return batch_handle(
        client, await client.batch_encoded_async(*batch_asked(task, items, others), connection)
    )


def batch_handle(client: Client, batch: Batch[T]) -> BatchHandle[T]:
    """A batch of the client, for async code."""
    handles = [AsyncHandle(client, handle) for handle in batch]

    async def results(made: BatchHandle[T], return_exceptions: bool) -> list[T]:
        return [
            outcome
            for part in chunks(handles)
            for outcome in await _results(client, part, return_exceptions)
        ]

    return BatchHandle(batch.raw_id, batch.task, batch.decode, handles, results)


async def _results(
    client: Client, handles: Sequence[AsyncHandle[Any]], return_exceptions: bool
) -> list[Any]:
    runs = await asyncio.to_thread(client.store.get_runs, [one.raw_id for one in handles])
    ends = ends_of(client, runs, [handle.raw_id for handle in handles])
    found: list[Any] = []
    try:
        for handle in handles:
            end = ends.get(handle.raw_id)
            run = runs[handle.raw_id] if end is None else await asyncio.wrap_future(end)
            try:
                found.append(output_of(run, handle.decode))
            except RunError as error:
                if not return_exceptions:
                    raise
                found.append(error)
    finally:
        for end in ends.values():
            end.cancel()
    return found


class AsyncHandle(RunHandle[T]):
    """A run that was triggered outside any body. `await handle.result()` waits without a thread of
    its own; bound it with `asyncio.timeout`."""

    __slots__ = ("_client", "_handle")

    def __init__(self, client: Client, handle: Handle[T]) -> None:
        async def send(name: str, data: bytes) -> None:
            await asyncio.to_thread(client.send_encoded, handle.raw_id, name, data)

        async def result(made: RunHandle[T]) -> T:
            run = await asyncio.wrap_future(client.end_of(made.raw_id))
            return output_of(run, handle.decode)

        super().__init__(
            handle.raw_id,
            handle.task,
            handle.decode,
            is_cached=handle.is_cached,
            payload_differs=handle.payload_differs,
            outside=result,
            sends=send,
        )
        self._client = client
        self._handle = handle

    async def retrieve(self) -> RunView:
        """The run as it is now."""
        return await asyncio.to_thread(self._handle.retrieve)

    async def cancel(self) -> None:
        """Ask for cancellation. Raises AlreadyEnded."""
        await asyncio.to_thread(self._handle.cancel)

    async def history(self) -> Sequence[EventView]:
        """All rows of its history, over all chapters."""
        return await asyncio.to_thread(self._handle.history)

    async def timeline(self) -> Timeline:
        """What it and the runs below it did, over time: in a notebook, a picture."""
        return await asyncio.to_thread(self._handle.timeline)

    def subscribe(self) -> AsyncGenerator[RunView]:
        """The run now, then at each change of its status, metadata, tags or output, until it has
        ended."""
        runs = self._client.runs
        return follow_async(self._client.store, runs.changes(self.id))

    def stream(self, name: str, *, after: int = 0) -> AsyncGenerator[ChunkView]:
        """The chunks of a stream in order, those to come too, until the run has ended. `after`: the
        `seq` of the last one that was read before."""
        runs = self._client.runs
        return follow_async(self._client.store, runs.chunks(self.id, name, after))


when_outside(trigger_outside)
