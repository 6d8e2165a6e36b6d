"""Tasks for the clients' tests."""

from __future__ import annotations

import asyncio

from pydantic import BaseModel

import wf


class Order(BaseModel):
    id: int
    shop: str = "main"


@wf.step
async def double(n: int) -> int:
    return 2 * n


@wf.task
async def total(order: Order) -> int:
    return await double(order.id)


@wf.task
async def sleeper(hours: int) -> str:
    await wf.wait.for_(hours=hours)
    return "woke"


@wf.task
async def two(n: int, names: list[str]) -> str:
    return f"{n} {','.join(names)}"


@wf.task
async def nothing() -> None:
    return None


@wf.task
async def fails(message: str) -> str:
    raise ValueError(message)


@wf.step
async def hang() -> None:
    await asyncio.sleep(3600)


@wf.step(retry=wf.Retry(max_attempts=2, min_delay="20ms", jitter=False))
async def second_time() -> str:
    step = wf.current().step
    if step is not None and step.attempt == 1:
        raise ConnectionError("not yet")
    return "ok"


@wf.task
async def retried(ms: int) -> None:
    await second_time()
    await wf.wait.for_(milliseconds=ms)
