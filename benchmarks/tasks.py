"""What the benchmarks run: tasks as a user would write them, with limits and hooks.

`wf worker benchmarks/tasks.py` loads this file; the programs that measure trigger its tasks.
"""

from __future__ import annotations

import asyncio
import os
import time
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

import wf

MARKS: str = "WF_BENCH_MARKS"
"""The variable that names the folder in which `stay` leaves files."""


class Order(BaseModel):
    id: int
    shop: str = "a"


class Receipt(BaseModel):
    order: int
    ok: bool


class Count(BaseModel):
    count: int


class Sleep(BaseModel):
    until: datetime | None = None
    seconds: float = 0


async def tell(failed: wf.Failed) -> None:
    print("failed:", failed.error)


@wf.step(timeout="1m")
async def charge(order: Order) -> Receipt:
    return Receipt(order=order.id, ok=True)


@wf.step(timeout="1m")
async def charge_now(order: Order) -> float:
    """When it began, by the clock that all processes of the machine share."""
    return time.perf_counter()


@wf.task(max_duration="1h", on_failure=tell)
async def one_step(order: Order) -> Receipt:
    return await charge(order)


@wf.task(max_duration="1h", on_failure=tell, queue=wf.Queue("limited", concurrency_limit=1_000))
async def limited(order: Order) -> Receipt:
    return await charge(order)


@wf.task(max_duration="1h", on_failure=tell)
async def many_steps(count: Count) -> int:
    return sum([(await charge(Order(id=number))).ok for number in range(count.count)])


@wf.task(max_duration="1h", on_failure=tell)
async def one_step_now(order: Order) -> float:
    return await charge_now(order)


@wf.task(max_duration="1h", on_failure=tell)
async def many_steps_now(count: Count) -> list[float]:
    return [await charge_now(Order(id=number)) for number in range(count.count)]


@wf.task(max_duration="1h", on_failure=tell)
async def many_children(count: Count) -> int:
    ends = await one_step.batch_trigger_and_wait([Order(id=one) for one in range(count.count)])
    return sum(end.ok for end in ends)


@wf.step
async def clock() -> datetime:
    return datetime.now().astimezone()


@wf.task(max_duration="1h", on_failure=tell)
async def sleeper(sleep: Sleep) -> float:
    """How many ms after its time a step began."""
    moment = sleep.until or wf.now() + timedelta(seconds=sleep.seconds)
    await wf.wait.until(moment)
    return (await clock() - moment).total_seconds() * 1_000


@wf.step
def stay(place: str) -> None:
    """Tell who looks at the folder when it came there, by the clock that all processes of the
    machine share, and stay until somebody puts `place`.over there."""
    mark = Path(os.environ[MARKS]) / place
    mark.with_suffix(f".{os.getpid()}").write_text(str(time.perf_counter()))
    while not mark.with_suffix(".over").exists():
        time.sleep(0.005)


@wf.task(max_duration="2h", on_failure=tell)
async def long(count: Count) -> None:
    for number in range(count.count):
        await charge(Order(id=number))
    await stay("first")
    await stay("second")


@wf.step
async def write(count: int) -> int:
    """Metadata and chunks as fast as they go."""
    words = wf.stream("words")
    for number in range(0, count, 2):
        words.append(f"word {number}")
        wf.metadata.set("progress", number)
    return count


@wf.step
async def write_slowly(a_second: int, seconds: float) -> int:
    """So many rows a second."""
    words = wf.stream("words")
    ends_at = time.monotonic() + seconds
    number = 0
    while time.monotonic() < ends_at:
        words.append(f"word {number}")
        wf.metadata.set("progress", number)
        number += 2
        await asyncio.sleep(2 / a_second)
    return number


class Writing(BaseModel):
    a_second: int = 0
    seconds: float = 0
    count: int = 0


@wf.task(max_duration="1h", on_failure=tell)
async def writer(writing: Writing) -> int:
    if writing.count:
        return await write(writing.count)
    return await write_slowly(writing.a_second, writing.seconds)
