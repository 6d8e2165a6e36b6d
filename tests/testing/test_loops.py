"""The loops of virtual processes, several of them in one thread."""

from __future__ import annotations

import asyncio
from contextlib import closing

from wf.testing.clock import VirtualClock
from wf.testing.runner import VirtualLoop


def test_the_loop_of_another_process_goes_on_while_a_step_is_in_a_call() -> None:
    clock = VirtualClock()
    told: list[str] = []

    async def other_step() -> None:
        told.append("other")

    with closing(VirtualLoop(clock)) as loop, closing(VirtualLoop(clock)) as other:

        async def step() -> None:
            other.create_task(other_step())
            await asyncio.to_thread(other.pump)
            assert asyncio.get_running_loop() is loop
            told.append("step")

        task = loop.create_task(step())
        loop.pump()
        task.result()
    assert told == ["other", "step"]
