"""Tasks that print and log, and one that forgets an await."""

from __future__ import annotations

import logging

import wf

log = logging.getLogger("tests.quiet")


@wf.step
async def double(n: int) -> int:
    log.info("in the step")
    return 2 * n


@wf.task
async def talks(n: int) -> int:
    print("printed first")
    log.info("logged first")
    first = await double(n)
    await wf.wait.for_(milliseconds=30)
    print("printed last")
    log.warning("logged %s", "last")
    return await double(first)


@wf.task
async def forgets(n: int) -> int:
    double(n)  # type: ignore[unused-coroutine]
    return n
