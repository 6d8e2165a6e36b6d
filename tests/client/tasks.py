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
