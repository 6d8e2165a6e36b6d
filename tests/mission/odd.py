"""Tasks that hand on whatever they are given."""

from __future__ import annotations

from typing import Any

import wf


@wf.step
async def same(value: Any) -> Any:
    return value


@wf.task
async def child(value: Any) -> Any:
    return value


@wf.task
async def through(value: Any) -> list[Any]:
    return await _all_ways(value)


async def _all_ways(value: Any) -> list[Any]:
    """By a step, a child, a message and a token; replayed after each wait."""
    token = await wf.wait.create_token()
    wf.metadata.set("token", token.id)
    told = await wf.wait.for_token(token)
    heard = await wf.wait.for_message("odd")
    stepped = await same(value)
    await wf.wait.for_(seconds=0.001)
    return [value, stepped, await child.trigger_and_wait(value), told, heard]


@wf.task
async def counted(value: str) -> list[int]:
    return [len(each) for each in await _all_ways(value)]


@wf.task
async def numbers(values: list[float]) -> float:
    return sum(values)
