"""A task that waits for a person, with children, waits and retries: what a live tree shows."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pydantic import BaseModel

import wf


class Decision(BaseModel):
    approved: bool
    note: str = "fine"


@wf.step(retry=wf.Retry(max_attempts=3, min_delay="300ms", jitter=False))
def flaky(folder: str) -> str:
    tries = Path(folder, "tries")
    tries.touch()
    with tries.open("r+") as file:
        count = len(file.read())
        file.write("x")
    if count < 1:
        raise ConnectionError("the mail server does not answer")
    return "sent"


@wf.step
def quick(folder: str) -> str:
    return "done"


@wf.task
async def helper(folder: str) -> str:
    await wf.wait.for_("400ms")
    return await quick(folder)


@wf.task
async def desk(folder: str) -> str:
    await asyncio.gather(flaky(folder), helper(folder))
    token = await wf.wait.create_token(Decision, timeout="1h", tags=["desk"])
    decision = await wf.wait.for_token(token)
    return f"{decision.approved}: {decision.note}"


@wf.task
async def inbox(name: str) -> str:
    reply = await wf.wait.for_message("reply", dict[str, str], timeout="1h")
    return f"{name}: {reply['text']}"


@wf.task
async def breaks(folder: str) -> str:
    raise ValueError("it broke")
