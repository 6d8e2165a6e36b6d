"""Bodies whose order of operations asyncio would leave to addresses and hashes (pitfall P2).

`python -m tests.core.orders ROUNDS` prints, as JSON, the distinct orders that were seen in so many
executions of each body.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from typing import Any

import anyio

from tests.core.script import Script
from tests.core.stage import Stage, told
from wf.engine.core.runnable import step, task

MANY = 12


@step
async def note(what: str) -> str:
    return what


@step
async def fail() -> None:
    raise RuntimeError("it fails")


@task
async def wait_for_all() -> list[str]:
    """`asyncio.wait` answers sets."""
    tasks = [asyncio.create_task(note(f"{n}"), name=f"{n}") for n in range(MANY)]
    done, _ = await asyncio.wait(tasks)
    return [await note(one.get_name()) for one in done]


@task
async def wait_for_plain_futures() -> list[str]:
    loop = asyncio.get_running_loop()
    futures = [loop.create_future() for _ in range(MANY)]
    for n, future in enumerate(futures):
        loop.call_later((n % 3 + 1) / 1_000, future.set_result, n)
    done, pending = await asyncio.wait(futures, timeout=0.002)
    return [await note(f"{futures.index(one)}") for one in [*done, *pending]]


@task
async def complete_tasks() -> list[str]:
    tasks = [asyncio.create_task(note(f"{n}")) for n in range(MANY)]
    return [await note(await one) for one in asyncio.as_completed(tasks)]


@task
async def complete_operations() -> list[str]:
    """`as_completed` walks a set of the operations that it is given."""
    return [
        await note(await one) for one in asyncio.as_completed([note(f"{n}") for n in range(MANY)])
    ]


@task
async def abort_group() -> list[str]:
    """A TaskGroup's abort walks its set of tasks."""
    seen: list[str] = []

    async def hold(n: int) -> None:
        try:
            await asyncio.sleep(3600)
        finally:
            seen.append(await note(f"{n}"))

    try:
        async with asyncio.TaskGroup() as group:
            for n in range(MANY):
                group.create_task(hold(n))
            await fail()
    except* Exception:
        seen.append("aborted")
    return seen


@task
async def abort_anyio_group() -> list[str]:
    """anyio's scopes walk sets of tasks and of scopes."""
    seen: list[str] = []

    async def hold(n: int) -> None:
        try:
            await anyio.sleep(3600)
        finally:
            seen.append(f"{n}")

    with anyio.move_on_after(1):
        async with anyio.create_task_group() as group:
            for n in range(MANY):
                group.start_soon(hold, n)
    return [await note(what) for what in seen]


BODIES = [
    wait_for_all,
    wait_for_plain_futures,
    complete_tasks,
    complete_operations,
    abort_group,
    abort_anyio_group,
]


def took(step: str, arguments: Any, attempt: int) -> int:
    return 1


def order_of(body: Any) -> str:
    stage = Stage(body, script=Script(took=took), paranoid=False).play()
    decided = [one for decisions in stage.decisions for one in told(decisions)]
    return json.dumps([repr(one) for one in decided])


def orders(rounds: int, disturb: Callable[[int], object]) -> dict[str, list[str]]:
    """The orders of each body in so many executions, with `disturb` before each."""
    seen: dict[str, set[str]] = {body.id: set() for body in BODIES}
    kept: list[object] = []
    for number in range(rounds):
        for body in BODIES:
            kept.append(disturb(number))
            seen[body.id].add(order_of(body))
    return {name: sorted(found) for name, found in seen.items()}


def allocate(number: int) -> object:
    """Other objects in between, so that addresses differ."""
    return [[object() for _ in range(number * 37 % 101)], bytearray(number * 1_009 % 4_096)]


if __name__ == "__main__":
    json.dump(orders(int(sys.argv[1]), allocate), sys.stdout)
