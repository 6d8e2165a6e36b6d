"""Tasks whose steps trigger, in the ways in which a step can."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import wf

QUICKLY = wf.Retry(max_attempts=3, min_delay="1ms", max_delay="1ms")


def attempt() -> int:
    step = wf.current().step
    assert step is not None
    return step.attempt


@wf.task
async def child(value: int) -> int:
    return value * 2


@wf.task
async def fails(value: int) -> int:
    raise ValueError(f"no {value}")


@wf.step(retry=QUICKLY)
def starts(value: int) -> str:
    """The first two attempts fail after the run was triggered."""
    run_id = child.trigger(value, tags=["from-step"], delay="1ms").id
    if attempt() < 3:
        raise ValueError("again")
    return run_id


@wf.step(retry=QUICKLY)
async def starts_async(value: int) -> list[str]:
    """Awaited, and not awaited."""
    child.trigger(value)
    handle = await child.trigger(value)
    other = await child.trigger(value + 1)
    if attempt() < 3:
        raise ValueError("again")
    return [handle.id, other.id]


@wf.step(retry=QUICKLY)
def starts_in_any_order(value: int) -> list[str]:
    """The second attempt calls in another order, the third one for more."""
    values = [value, value + 1, value] if attempt() == 1 else [value + 1, value, value]
    ids = [child.trigger(one).id for one in values[: attempt() + 1]]
    if attempt() < 3:
        raise ValueError("again")
    return ids


@wf.step(retry=QUICKLY)
def starts_many(count: int) -> list[str]:
    batch = child.batch_trigger(
        [wf.Item(place, tags=[str(place)]) for place in range(count)], tags=["many"]
    )
    if attempt() < 3:
        raise ValueError("again")
    return [batch.id, *(handle.id for handle in batch.handle)]


@wf.step(retry=QUICKLY)
async def starts_many_async(count: int) -> list[str]:
    batch = await child.batch_trigger(range(count))
    if attempt() < 3:
        raise ValueError("again")
    return [batch.id, *(handle.id for handle in batch)]


@wf.step(retry=QUICKLY)
def starts_what_fails(directory: str) -> str:
    """Its second attempt begins when the run of the first has failed."""
    if attempt() == 2:
        for _ in range(2_000):
            if Path(directory, "failed").exists():
                break
            asyncio.run(asyncio.sleep(0.01))
    run_id = fails.trigger(1).id
    if attempt() == 1:
        raise ValueError("again")
    return run_id


@wf.step
def starts_keyed(key: str) -> list[Any]:
    handle = child.trigger(3, idempotency_key=key).handle
    return [handle.id, handle.is_cached]


@wf.task
async def parent(value: int) -> Any:
    return [await starts(value), await starts_async(value)]


@wf.task
async def in_any_order(value: int) -> Any:
    return await starts_in_any_order(value)


@wf.task
async def many(count: int) -> Any:
    return [await starts_many(count), await starts_many_async(count)]


@wf.task
async def of_what_fails(directory: str) -> str:
    return await starts_what_fails(directory)


@wf.task
async def keyed(key: str) -> Any:
    return [await starts_keyed(key), await starts_keyed(key)]


@wf.task
async def twice(value: int) -> list[str]:
    """Two equal steps: two runs."""
    return [await starts(value), await starts(value)]


# --- cut short ------------------------------------------------------------------------------------


@wf.step
async def starts_and_dies(marker: str) -> str:
    """Its worker is killed when the run is there, the first time."""
    child.trigger(1)
    handle = await child.trigger(2)
    await asyncio.to_thread(die_once, marker)
    return handle.id


def die_once(marker: str) -> None:
    if not Path(marker).exists():
        Path(marker).touch()
        os.kill(os.getpid(), 9)


@wf.task
async def dying(marker: str) -> str:
    return await starts_and_dies(marker)


# --- what has no place there ----------------------------------------------------------------------


@wf.step(retry=wf.Retry(max_attempts=1))
def waits_sync(how: str) -> Any:
    match how:
        case "trigger_and_wait":
            return child.trigger_and_wait(1)
        case "call":
            return child(1)
        case "batch_trigger_and_wait":
            return child.batch_trigger_and_wait([1])
        case "result":
            return child.trigger(1).handle.result()
        case "results":
            return child.batch_trigger([1]).handle.results()
        case "timer":
            return wf.wait.for_(1)
        case _:
            return wf.wait.for_message("news")


@wf.step(retry=wf.Retry(max_attempts=1))
async def waits_async(how: str) -> Any:
    match how:
        case "result":
            return await (await child.trigger(1)).result()
        case "results":
            return await (await child.batch_trigger([1])).results()
        case _:
            return await waits_sync.fn(how)


@wf.task
async def refused(how: str) -> list[str]:
    told: list[str] = []
    for step in (waits_sync, waits_async):
        try:
            await step(how)
        except wf.StepFailed as error:
            told.append(f"{error.type}: {error.message}")
    return told


@wf.step(executor="process", retry=wf.Retry(max_attempts=1))
def in_a_process(value: int) -> str:
    return child.trigger(value).id


@wf.step(executor="cluster", retry=wf.Retry(max_attempts=1))
async def in_an_executor(value: int) -> str:
    return (await child.batch_trigger([value])).id


@wf.task
async def elsewhere(value: int) -> list[str]:
    told: list[str] = []
    for step in (in_a_process, in_an_executor):
        try:
            await step(value)
        except wf.StepFailed as error:
            told.append(f"{error.type}: {error.message}")
    return told


@wf.step(retry=QUICKLY)
async def does_not_look(value: int) -> int:
    child.trigger(value)
    return attempt()


@wf.task
async def not_looking(value: int) -> int:
    return await does_not_look(value)


# --- its own transaction --------------------------------------------------------------------------


@wf.step(retry=QUICKLY)
def joins(amount: int) -> str:
    with wf.transaction() as conn:
        conn.execute(f"INSERT INTO orders (amount) VALUES ({amount})")
        run_id = child.trigger(amount, connection=conn).id
    if attempt() < 3:
        raise ValueError("again")
    return run_id


@wf.step(retry=QUICKLY)
async def joins_async(amount: int) -> str:
    async with wf.transaction() as conn:
        made = conn.execute(f"INSERT INTO orders (amount) VALUES ({amount})")
        if hasattr(made, "__await__"):
            await made
        handle = await child.trigger(amount, connection=conn)
    if attempt() < 3:
        raise ValueError("again")
    return handle.id


@wf.step(retry=wf.Retry(max_attempts=1))
def forgets_to_join(amount: int) -> str:
    with wf.transaction() as conn:
        conn.execute(f"INSERT INTO orders (amount) VALUES ({amount})")
        return child.trigger(amount).id


@wf.task
async def joining(amount: int) -> list[str]:
    done = [await joins(amount), await joins_async(amount)]
    try:
        await forgets_to_join(amount)
    except wf.StepFailed as error:
        done.append(error.message)
    return done
