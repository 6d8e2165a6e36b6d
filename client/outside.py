"""`await task.trigger(x)` outside any body: the ambient client does it, without blocking the
loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from wf.client import ambient
from wf.client.client import Client, Handle, output_of, with_defaults
from wf.engine.core.children import when_outside
from wf.engine.core.handles import RunHandle
from wf.engine.core.runnable import Runnable


async def trigger_outside(
    runnable: Runnable[..., Any],
    encode: Callable[[], bytes],
    options: dict[str, Any],
    awaited: bool,
) -> Any:
    client: Client = ambient.client()
    payload = encode()
    handle = await asyncio.to_thread(
        client.trigger_encoded,
        runnable.id,
        payload,
        with_defaults(runnable, options),
        runnable.signature.decode_result,
    )
    made = run_handle(client, handle)
    return await made.result() if awaited else made


def run_handle(client: Client, handle: Handle[Any]) -> RunHandle[Any]:
    """A handle whose `result()` waits without a thread of its own."""

    async def result(made: RunHandle[Any]) -> Any:
        run = await asyncio.wrap_future(client.end_of(made.raw_id))
        return output_of(run, handle.decode)

    return RunHandle(
        handle.raw_id,
        handle.task,
        handle.decode,
        is_cached=handle.is_cached,
        payload_differs=handle.payload_differs,
        outside=result,
    )


when_outside(trigger_outside)
