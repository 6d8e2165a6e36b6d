"""A workflow as somebody would write it, to be tested with wf's own tools."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import wf


@dataclass(frozen=True)
class Order:
    book: str
    cents: int


@wf.step
async def reserve(book: str) -> str:
    return f"copy of {book}"


@wf.step(retry=wf.Retry(max_attempts=3, min_delay="1m", jitter=False))
def charge(cents: int) -> str:
    return f"paid {cents}"


@wf.step
async def post(copy: str) -> str:
    await asyncio.sleep(3_600)
    return f"{copy} is on its way"


@wf.task
async def pack(copy: str) -> str:
    await wf.wait.for_(hours=2)
    return await post(copy)


@wf.task
async def buy(order: Order) -> str:
    copy = await reserve(order.book)
    if order.cents > 10_000:
        token = await wf.wait.create_token(bool, timeout="7d", tags=["approval"])
        try:
            if not await wf.wait.for_token(token):
                return "refused"
        except wf.TokenTimedOut:
            return "nobody looked"
    await charge(order.cents)
    await wf.wait.for_(days=30)
    return await pack(copy)


@wf.task
async def listen(word: str) -> str:
    said = await wf.wait.for_message(word, str)
    return f"{word} {said}"
