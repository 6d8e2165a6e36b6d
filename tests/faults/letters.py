"""Samples with messages, restarts, back-offs and tokens."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import wf
from wf.history.errors import AlreadyEnded, TokenCanceled, TokenTimedOut
from wf.history.events import Kind
from wf.history.messages import NewMessage
from wf.testing.ledger import note
from wf.testing.world import World

RETRY: Final = wf.Retry(max_attempts=3, min_delay="1s", jitter=False)


@wf.step(retry=RETRY)
async def twice(value: int) -> int:
    note()
    return value * 2


@wf.step(retry=wf.Retry(max_attempts=1))
async def fail_first() -> str:
    note()
    if wf.current().run.attempt == 1:
        raise ValueError("first")
    return "second"


MESSAGE_NAMES: Final = ("x", "y", "z")


async def hear(name: str, timeout_ms: int) -> Any:
    try:
        return await wf.wait.for_message(name, int, timeout=timeout_ms / 1_000)
    except wf.MessageTimedOut:
        return "nobody"


STEPS: Final = (twice, fail_first)


@wf.task
async def reader(count: int) -> list[int]:
    return [await wf.wait.for_message("n", int) for _ in range(count)]


@wf.task
async def letters() -> list[Any]:
    """Two to a child, one from outside, one that never comes, and one that comes too late."""
    handle = await reader.trigger(2)
    await handle.send("n", 1)
    await handle.send("n", await twice(1))
    done: list[Any] = [await handle.result(), await wf.wait.for_message("go", int)]
    try:
        await wf.wait.for_message("never", timeout="2s")
    except wf.MessageTimedOut:
        done.append("timed out")
    try:
        await handle.send("n", 3)
    except wf.AlreadyEnded:
        done.append("ended")
    return done


@wf.task
async def restarting(number: int) -> list[Any]:
    """What is sent while nobody asks is read by the next history."""
    await twice(1)
    await wf.wait.create_token(str, tags=["late"])
    got = [await wf.wait.for_message("go", int)]
    if number < 3:
        await wf.restart(number + 1)
    return [number, *got]


@wf.task(retry=RETRY)
async def advised() -> list[Any]:
    """The second attempt keeps what was read, and waits anew for what had not come."""
    first = await wf.wait.for_message("go", int)
    second = asyncio.create_task(wf.wait.for_message("go", int))
    last = await fail_first()
    return [first, await second, await wf.wait.for_message("go", int), last]


@wf.task(retry=wf.Retry(max_attempts=2, min_delay="10m", jitter=False))
async def unhurried() -> list[Any]:
    """A back-off is no time that a time-out counts."""
    async with asyncio.timeout(60):
        last = await fail_first()
        await wf.wait.for_("30s")
    return [last]


def post(world: World) -> None:
    """The messages 1, 2, 3, each once, also after an unknown outcome; to `advised` only one in its
    first attempt."""
    for run in world.runs():
        if run.task not in (letters.id, restarting.id, advised.id) or run.status.ended:
            continue
        unread = world.rows("SELECT data FROM messages WHERE name = 'go' ORDER BY id")
        read = [event.data for event in world.events(run.id, Kind.MESSAGE_RECEIVED)]
        last = max([int(row[0]) for row in unread] + [int(data or b"") for data in read], default=0)
        if last < (1 if run.task == advised.id and run.attempt == 1 else 3):
            message = NewMessage(run.id, "go", str(last + 1).encode())
            world.client.send([message], world.clock.now())


# --- tokens ---------------------------------------------------------------------------------------


@wf.task
async def tokens() -> list[Any]:
    yes = await wf.wait.create_token(str, tags=["complete"], timeout="1h")
    no = await wf.wait.create_token(str, tags=["cancel"])
    late = await wf.wait.create_token(str, tags=["late"], timeout="2s")
    done: list[Any] = [await wf.wait.for_token(yes)]
    try:
        await wf.wait.for_token(no)
    except TokenCanceled:
        done.append("canceled")
    try:
        await wf.wait.for_token(late)
    except TokenTimedOut:
        done.append("timed out")
    return done


def answer(world: World) -> None:
    for token in world.store.list_tokens("dev", status="WAITING"):
        data = b'"yes"' if "complete" in token.tags else None
        if "late" not in token.tags:
            try:
                status = "COMPLETED" if data else "CANCELED"
                world.client.end_token(token.id, status, data, world.clock.now())
            except AlreadyEnded:
                return


def nobody(world: World) -> None:
    """Acts."""
