"""Tasks that are forked."""

from __future__ import annotations

import asyncio

import wf

charged: list[str] = []
"""What the vendor was asked for, by the key that it was given."""


class Refused(Exception):
    pass


@wf.step(retry=wf.Retry(max_attempts=1))
async def charge(amount: int, reference: str) -> dict[str, int]:
    charged.append(wf.current().step.idempotency_key)  # type: ignore[union-attr]
    return {"paid": amount}


@wf.step(retry=wf.Retry(max_attempts=1))
async def ship(paid: int) -> str:
    if paid < 100:
        raise Refused(f"{paid} is too little")
    return f"shipped for {paid}"


@wf.task
async def order(amount: int) -> str:
    """The reference has all of chance and of who it is in it."""
    reference = f"{wf.current().run.id} {wf.uuid4()} {wf.random().random()} {wf.now()}"
    wf.metadata.set("stage", "charging")
    receipt = await charge(amount, reference)
    wf.metadata.increment("charged")
    return await ship(receipt["paid"])


@wf.step
async def told(what: str) -> str:
    return what


@wf.task
async def helper(name: str) -> str:
    return await wf.wait.for_message("go", str) + name


@wf.task
async def family() -> list[str]:
    """Awaits one child that ends, then another; beside them goes one that nobody awaits."""
    aside = await helper.trigger("aside")
    first = await helper.trigger_and_wait("first")
    await told(first)
    second = await helper.trigger_and_wait("second")
    return [aside.id, first, second, str(wf.uuid4())]


@wf.task
async def asking() -> str:
    token = await wf.wait.create_token(str)
    await told(token.id)
    return f"{await wf.wait.for_token(token)} {await told('after')}"


@wf.task
async def slow() -> str:
    """Forked while it waits, it waits as long as the other one still had to."""
    begun = wf.now()
    await told("first")
    await wf.wait.for_(days=1)
    return f"{(wf.now() - begun).days}"


@wf.task
async def pair() -> list[str]:
    return [*await asyncio.gather(helper.trigger_and_wait("a"), helper.trigger_and_wait("b"))]
