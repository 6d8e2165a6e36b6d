"""Samples with hooks: of every end, of a wait, and of one that fails."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import wf
from wf.testing.ledger import note

RETRY: Final = wf.Retry(max_attempts=3, min_delay="1s", jitter=False)


@wf.step(retry=RETRY)
async def hear(event: Any) -> None:
    note()


@wf.step(retry=wf.Retry(max_attempts=1))
async def refuse(event: Any) -> None:
    note()
    raise ConnectionError("the chat is down")


@wf.step(retry=RETRY)
async def prepare() -> int:
    note()
    return 4


HOOKS: Final[dict[str, Any]] = {
    "on_start": hear,
    "on_wait": hear,
    "on_resume": hear,
    "on_success": hear,
    "on_complete": refuse,
}


@wf.task(on_failure=hear, retry=wf.Retry(max_attempts=2, min_delay="1s", jitter=False))
async def fails() -> None:
    await prepare()
    await go_on()


@wf.step(retry=wf.Retry(max_attempts=1))
async def go_on() -> None:
    note()
    raise ValueError("no")


@wf.task(on_cancel=hear, on_start=hear)
async def never() -> None: ...


@wf.task(**HOOKS)
async def hooked() -> list[Any]:
    """A wait, a child that fails, one that is canceled before it begins."""
    done: list[Any] = [await prepare()]
    await wf.wait.for_("1s")
    try:
        await fails()
    except wf.RunFailed as error:
        done.append(error.type)
    try:
        await asyncio.wait_for(never.trigger_and_wait(delay="1d"), 1)
    except TimeoutError:
        done.append("timed out")
    return done


TASKS: Final = (hear, refuse, prepare, fails, go_on, never)
