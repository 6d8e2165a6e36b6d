"""One timer for all async steps of a loop that have the same limit."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from wf.engine.limits import Limits


async def timed(limits: Limits, ms: int, seconds: float) -> bool:
    """True: it was canceled by its limit."""
    task = asyncio.current_task()
    assert task is not None
    limit = limits.of(ms)
    limit.begin(task, limits.seconds())
    with suppress(asyncio.CancelledError):
        await asyncio.sleep(seconds)
    return limit.end(task)


def test_each_task_has_the_whole_of_its_limit_whatever_became_of_others() -> None:
    async def begin_one_after_the_other() -> tuple[list[bool], float]:
        limits = Limits(asyncio.get_running_loop())
        begun = limits.seconds()
        first = asyncio.create_task(timed(limits, 60, 0.01))
        slow = asyncio.create_task(timed(limits, 60, 10))
        await asyncio.sleep(0.03)
        late = asyncio.create_task(timed(limits, 60, 10))
        assert await asyncio.wait_for(slow, 5)
        assert not late.done()
        ends = [await one for one in (first, slow, late)]
        return ends, limits.seconds() - begun

    ends, seconds = asyncio.run(begin_one_after_the_other())
    assert ends == [False, True, True]
    assert seconds >= 0.03 + 0.06 - 0.005


def test_where_nothing_is_under_way_no_timer_has_to_be() -> None:
    async def end_all() -> None:
        limits = Limits(asyncio.get_running_loop())
        await asyncio.gather(*(timed(limits, 60_000, 0.001) for _ in range(3)))
        timer = limits.of(60_000)._timer  # pyright: ignore[reportPrivateUsage]
        assert timer is not None
        limits.rest()
        assert timer.cancelled()

    asyncio.run(end_all())
