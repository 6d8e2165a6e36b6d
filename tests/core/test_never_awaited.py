"""Operations that are called and never awaited."""

from __future__ import annotations

import asyncio
import gc
import inspect
from collections.abc import Callable

import pytest

from tests.core.stage import Stage, play
from wf.engine.core.operation import Gen
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait


@step
async def note(what: str) -> str:
    return what


@task
async def child(n: int) -> int:
    return n


def unawaited(stage: Stage) -> list[str]:
    assert stage.end is not None
    return [one.verb for one in stage.end.never_awaited]


def test_what_was_never_awaited_is_known_with_its_line() -> None:
    @task
    async def body() -> str:
        note("lost")  # type: ignore[unused-coroutine]
        kept = wait.for_(seconds=1)
        child.trigger(3)  # type: ignore[unused-coroutine]
        assert kept
        return await note("taken")

    stage = play(body)
    assert stage.output == "taken"
    assert unawaited(stage) == ["step", "timer", "child"]
    assert stage.end is not None
    place = inspect.getsourcelines(body.fn)[1] + 2
    assert stage.end.never_awaited[0].where == f"{__file__}:{place}"


def test_what_is_awaited_scheduled_or_closed_is_in_order() -> None:
    @task
    async def body() -> list[str]:
        later = note("later")
        running = asyncio.create_task(note("scheduled"))
        closed = note("closed")
        closed.close()
        found = await asyncio.gather(note("a"), note("b"))
        async with asyncio.TaskGroup() as group:
            group.create_task(note("c"))
        return [*found, await running, await later]

    stage = play(body)
    assert stage.output == ["a", "b", "scheduled", "later"]
    assert unawaited(stage) == []


def test_a_generator_that_does_not_yield_one_is_told() -> None:
    @task
    def body() -> Gen[str]:
        note("lost")  # type: ignore[unused-coroutine]
        return (yield from note("taken"))

    assert unawaited(play(body)) == ["step"]


def test_a_body_that_fails_is_not_told_of_more() -> None:
    @task
    async def body() -> None:
        note("lost")  # type: ignore[unused-coroutine]
        raise ValueError("its own")

    stage = play(body)
    assert stage.failure.message == "its own"
    assert unawaited(stage) == []


def drop(call: Callable[[], object]) -> None:
    call()
    gc.collect()


def test_outside_a_body_it_warns_when_it_is_dropped() -> None:
    with pytest.warns(RuntimeWarning, match=r"wf\.client\(\)\.trigger\(task, payload\)") as told:
        drop(lambda: child.trigger(3))
    assert told[0].filename == __file__
    with pytest.warns(RuntimeWarning, match=r"step\.fn\(…\)"):
        drop(lambda: note("x"))


async def test_outside_a_body_in_async_code_it_says_to_await() -> None:
    with pytest.warns(RuntimeWarning, match="write `await` before it"):
        drop(lambda: note("x"))
    assert await note("awaited") == "awaited"
    assert await asyncio.create_task(note("scheduled")) == "scheduled"
