"""What a worker holds of a step that has ended: nothing."""

from __future__ import annotations

import gc
from collections import Counter
from typing import Any

import wf
from wf.engine.author import StepCallInfo
from wf.engine.steps import StepOrder


@wf.step(timeout="1m")
async def waiting(number: int) -> int:
    return number


@wf.step(timeout="1m")
def plain(number: int) -> int:
    return number


@wf.task
async def both(count: int) -> int:
    return sum([await waiting(n) + await plain(n) for n in range(count)])


async def test_a_step_that_ended_is_freed_without_the_collector(database: str) -> None:
    """Which would have to walk what is alive for it."""
    async with wf.Engine(database, [waiting, plain, both]):
        await both.trigger_and_wait(1)
        gc.collect()
        others = Counter(map(type, gc.get_objects()))
        gc.disable()
        try:
            await both.trigger_and_wait(20)
            kinds: Counter[type[Any]] = Counter(map(type, gc.get_objects()))
            kinds.subtract(others)
        finally:
            gc.enable()
    last_in_each_thread = 2
    assert kinds[StepOrder] <= last_in_each_thread
    assert kinds[StepCallInfo] <= last_in_each_thread
