"""Tasks that stand in queues, or are debounced, and who bars one."""

from __future__ import annotations

from typing import Any, Final

import wf
from wf.history.events import Kind, Status
from wf.history.queues import QueueChange
from wf.testing.ledger import note
from wf.testing.world import ENVIRONMENT, World

BRIDGE: Final = wf.Queue("bridge", concurrency_limit=1, rate_limit=wf.Rate(2, per="3s"))
GATE: Final = wf.Queue("gate", concurrency_limit=1)


@wf.step
async def walk(value: int) -> int:
    note(str(value))
    return value


@wf.task(queue=BRIDGE)
async def cross(value: int) -> int:
    await wf.wait.for_("2s")
    return await walk(-value)


@wf.task
async def called(value: int) -> int:
    return await walk(value)


@wf.task(queue=BRIDGE)
async def lined() -> list[Any]:
    """Awaits others in the only slot, which it holds itself; and one that is asked for twice."""
    items = [1, wf.Item(2, concurrency_key="a"), wf.Item(3, concurrency_key="a")]
    together = await cross.batch_trigger_and_wait(items)
    first = await called.trigger(4, debounce=wf.Debounce("k", "25s"))
    last = await called.trigger(5, debounce=wf.Debounce("k", "25s"))
    return [together, first.id == last.id, await first.result()]


@wf.task(queue=GATE)
async def barred() -> str:
    try:
        await wf.wait.for_("1h")
    finally:
        await walk(6)
        await wf.wait.for_("1s")
        await walk(7)
    return "never"


def bar(world: World) -> None:
    """Pauses its queue once it waits, then cancels it."""
    for run in world.runs():
        if run.task != barred.id or run.status is not Status.WAITING:
            continue
        gate = world.store.get_queue(ENVIRONMENT, "gate")
        if gate is not None and not gate.paused:
            world.client.change_queue(ENVIRONMENT, "gate", QueueChange(paused=True))
        elif Kind.CANCEL_REQUESTED not in world.kinds(run.id):
            world.client.cancel([run.id], world.clock.now())


TASKS: Final = (walk, cross, called)
