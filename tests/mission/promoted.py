"""Tasks that are under way when their database moves."""

from __future__ import annotations

import asyncio
import threading

import wf
from tests.mission.forked import helper

GATE = threading.Event()
"""While it is not set, a step that has begun does not end."""
BEGUN: list[str] = []
AT_ONCE: list[int] = []
TOLD: list[str] = []
_inside: set[str] = set()


@wf.step
def echo(text: str) -> str:
    return text


@wf.task
async def keeps(text: str) -> str:
    """A large payload, and a large result."""
    got = await echo(text)
    token = await wf.wait.create_token(str)
    return f"{len(got)} {await wf.wait.for_token(token)}"


@wf.step
async def hold(name: str) -> str:
    _inside.add(name)
    BEGUN.append(name)
    AT_ONCE.append(len(_inside))
    try:
        await asyncio.to_thread(GATE.wait)
    finally:
        _inside.discard(name)
    return name


@wf.task(queue=wf.Queue("narrow", concurrency_limit=1))
async def holds(name: str) -> str:
    return await hold(name)


async def tell(event: wf.Canceled) -> None:
    TOLD.append(event.ctx.run.id)


@wf.task(on_cancel=tell)
async def hooked() -> None: ...


@wf.task
async def gathers() -> list[str]:
    return await helper.batch_trigger_and_wait(["a", "b"])


@wf.task
async def ticks(tick: wf.ScheduleTick) -> str:
    wf.stream("log").append("ticked")
    return str(tick.external_id)
