"""One task, as it was and as it is deployed: what fits the runs under way, and what does not."""

from __future__ import annotations

import wf
from tests.testing.planted import charge, ship, tell


@wf.task
async def sells() -> None:
    await charge(5)
    await wf.wait.for_(days=1)
    await ship()


@wf.task(id="sells")
async def sells_and_tells() -> None:
    await charge(5)
    await tell("paid")
    await wf.wait.for_(days=1)
    await ship()


@wf.task(id="sells")
async def sells_and_tells_new_buyers() -> None:
    await charge(5)
    if wf.patched("tell"):
        await tell("paid")
    await wf.wait.for_(days=1)
    await ship()
