"""Tasks in queues: they leave marks in a file, by which tests see what was at work at once."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import wf

MARKS = "WF_TEST_MARKS"


def mark(line: str) -> None:
    with Path(os.environ[MARKS]).open("a", encoding="utf-8") as file:
        file.write(f"{line}\n")


def most_at_once(lines: list[str], prefix: str = "") -> int:
    """Of "+ name" and "- name" lines, how many names were there at the same time."""
    there: set[str] = set()
    most = 0
    for line in lines:
        sign, name = line.split(" ", 1)
        if not name.startswith(prefix):
            continue
        (there.add if sign == "+" else there.discard)(name)
        most = max(most, len(there))
    return most


@wf.step
async def work(name: str) -> None:
    mark(f"+ {name}")
    await asyncio.sleep(0.02)
    mark(f"- {name}")


@wf.task
async def job(name: str) -> str:
    await work(name)
    return name


@wf.task(queue=wf.Queue(concurrency_limit=2))
async def capped(name: str) -> str:
    await work(name)
    return name


@wf.task(queue=wf.Queue("line", concurrency_limit=1))
async def inner(name: str) -> str:
    await work(name)
    return name


@wf.task(queue="line")
async def outer(name: str) -> str:
    """Awaits a child in the only slot that it holds itself."""
    await work(name)
    return await inner.trigger_and_wait(f"{name} inner")


@wf.step(queue=wf.Queue("vendor", concurrency_limit=2))
async def call_vendor(name: str) -> str:
    mark(f"+ {name}")
    await asyncio.sleep(0.02)
    mark(f"- {name}")
    return name


@wf.task
async def fan_out(count: int) -> list[str]:
    return await asyncio.gather(*(call_vendor(f"call {n}") for n in range(count)))


@wf.step(retry=wf.Retry(min_delay="10ms"))
async def give_back(name: str) -> None:
    step = wf.current().step
    assert step is not None
    if step.attempt == 1:
        raise ConnectionError("not yet")
    mark(f"back {name}")


@wf.task(queue="line")
async def booked(name: str) -> None:
    try:
        await wf.wait.for_(days=1)
    finally:
        await give_back(name)
