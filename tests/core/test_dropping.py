"""P7: a body that is dropped from memory runs its cleanup at once, and no operation with it."""

from __future__ import annotations

import asyncio
import gc
import subprocess
import sys
import weakref
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

from tests.core.script import Script
from tests.core.stage import Stage
from wf.engine.core import execution as execution_module
from wf.engine.core.decisions import RunStep
from wf.engine.core.execution import CLOSE_ROUNDS, Execution
from wf.engine.core.operation import Dropped, Gen, Operation
from wf.engine.core.runnable import Runnable, step, task
from wf.engine.core.waits import wait
from wf.history.events import Event, Kind

ROOT = Path(__file__).resolve().parent.parent.parent
really_run: list[str] = []


@step
async def note(what: str) -> str:
    really_run.append(what)
    return what


@step
def plain_note(what: str) -> str:
    really_run.append(what)
    return what


def is_live(execution: Execution) -> bool:
    return execution in execution_module._live  # pyright: ignore[reportPrivateUsage]


def drop_in_flight(body: Runnable[..., Any]) -> Stage:
    """Start it and drop it, while it waits for what it has asked for; nothing may be recorded."""
    stage = Stage(body, script=Script(took=lambda step, arguments, attempt: 1_000)).start()
    assert is_live(stage.execution)
    asked = stage.execution.ordinal
    really_run.clear()
    stage.close()
    assert really_run == []
    assert stage.execution.ordinal == asked
    assert len(stage.decisions) == 1
    return stage


def test_p7_finally_blocks_run_when_the_body_is_dropped() -> None:
    seen: list[str] = []

    @task
    async def body() -> None:
        try:
            await note("a")
        finally:
            seen.append("finally")

    stage = drop_in_flight(body)
    assert set(seen) == {"finally"}  # the twins of paranoid mode too
    assert not is_live(stage.execution)


@pytest.mark.parametrize("cleanup", ["step", "timer", "sleep", "child", "token", "task"])
def test_p7_an_operation_in_a_finally_block_raises_and_records_nothing(cleanup: str) -> None:
    raised: list[type[BaseException]] = []

    async def clean() -> None:
        operations: dict[str, Any] = {
            "step": lambda: note("cleanup"),
            "timer": lambda: wait.for_(1),
            "sleep": lambda: asyncio.sleep(1),
            "child": lambda: body.trigger_and_wait(),
            "token": lambda: wait.create_token(),
            "task": lambda: asyncio.create_task(note("cleanup")),
        }
        await operations[cleanup]()

    @task
    async def body() -> None:
        try:
            await note("a")
        finally:
            try:
                await clean()
            except BaseException as error:
                raised.append(type(error))
                raise

    stage = drop_in_flight(body)
    assert set(raised) == {Dropped}
    assert not is_live(stage.execution)


def test_p7_tasks_that_nobody_awaits_are_dropped_too() -> None:
    seen: list[str] = []

    async def beside(what: str) -> None:
        try:
            await note(what)
        finally:
            seen.append(what)

    @task
    async def body() -> None:
        kept = [asyncio.create_task(beside(what)) for what in "abc"]
        await note("main")
        await asyncio.gather(*kept)

    stage = drop_in_flight(body)
    assert [seen[n : n + 3] for n in range(0, len(seen), 3)] == [["a", "b", "c"]] * (len(seen) // 3)
    assert not is_live(stage.execution)


def test_p7_tasks_left_over_at_the_end_of_a_run_are_dropped_with_it() -> None:
    seen: list[str] = []

    async def beside() -> None:
        try:
            await note("beside")
        finally:
            seen.append("dropped")
            await note("cleanup")

    @task
    async def body() -> str:
        kept = asyncio.create_task(beside())
        await asyncio.sleep(0)
        return str(kept.done())

    stage = Stage(body).play()
    assert stage.output == "False"
    assert [type(one).__name__ for one in stage.decisions[0]] == ["RunStep", "CancelStep", "End"]
    assert set(seen) == {"dropped"}
    assert not is_live(stage.execution)


def swallows_everything() -> Runnable[[], None]:
    @task
    async def body() -> None:
        while True:
            try:
                await note("again")
            except BaseException:  # noqa: S112
                continue

    return body


def swallows_and_sleeps() -> Runnable[[], None]:
    @task
    async def body() -> None:
        while True:
            try:
                await note("again")
            except BaseException:
                await asyncio.sleep(0)

    return body


def swallows_and_makes_tasks() -> Runnable[[], None]:
    async def again() -> None:
        while True:
            try:
                await note("again")
            except asyncio.CancelledError:
                continue

    @task
    async def body() -> None:
        await again()

    return body


@pytest.mark.parametrize("make", [swallows_everything, swallows_and_sleeps])
def test_p7_a_body_that_swallows_every_throw_is_let_go_with_a_logged_error(
    make: Any, caplog: pytest.LogCaptureFixture
) -> None:
    stage = drop_in_flight(make())
    assert "does not end when it is dropped" in caplog.text
    assert is_live(stage.execution), "the collector must not find it"
    assert CLOSE_ROUNDS == 100


def test_p7_a_body_that_swallows_cancels_only_ends_by_the_refusal() -> None:
    stage = drop_in_flight(swallows_and_makes_tasks())
    assert not is_live(stage.execution)


def test_p7_a_step_that_was_canceled_before_does_not_keep_the_body() -> None:
    @task
    async def body() -> None:
        async with asyncio.timeout(1):
            await note("a")

    stage = Stage(
        body, script=Script(took=lambda step, arguments, attempt: 5_000, stops=False)
    ).start()
    stage.advance()  # the time-out: the cancel waits for the step to end
    assert stage.execution.open
    stage.close()
    assert not is_live(stage.execution)


def test_p7_the_collector_does_not_find_a_body_that_is_under_way() -> None:
    seen: list[str] = []

    @task
    async def body() -> None:
        try:
            await note("a")
        finally:
            seen.append("finally")
            await plain_note("for real")

    stage = Stage(body, paranoid=False).start()
    reference = weakref.ref(stage.execution)
    really_run.clear()
    del stage
    gc.collect()
    assert (seen, really_run) == ([], [])
    execution = reference()
    assert execution is not None
    execution.close()
    assert (seen, really_run) == (["finally"], [])


AT_EXIT = """
from wf.engine.core.runnable import step, task
from tests.core.stage import Stage

@step
def release(what: str) -> None:
    print("a step ran at the exit")

@step
async def work() -> None: ...

@task
async def body() -> None:
    try:
        await work()
    finally:
        await release("it")

stage = Stage(body, paranoid=False).start()
"""


def test_p7_at_the_exit_of_the_interpreter_no_step_runs() -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_EXIT], cwd=ROOT, capture_output=True, check=True, text=True
    )
    assert "a step ran" not in done.stdout


def test_a_dropped_body_is_built_again_as_if_nothing_had_been() -> None:
    @task
    async def body() -> str:
        try:
            return await note("a")
        finally:
            await note("b")

    stage = Stage(body).start()
    stage.advance()
    stage.close()
    other = stage.cut(len(stage.events)).play()
    assert other.output == "a"
    assert [one.step for ds in other.decisions for one in ds if isinstance(one, RunStep)] == []
    call = note("c")
    assert isinstance(call, Coroutine)
    assert isinstance(call, Operation)
    call.close()


def test_a_body_that_is_dropped_or_has_ended_leaves_the_collector_nothing() -> None:
    """A worker drops bodies by the thousand, and its collector rarely looks at what is old. (What
    asyncio itself ties in a knot is left to it: a gather, a group.)"""

    @task
    async def patient() -> None:
        await note("a")
        await wait.for_(days=1)

    @task
    def yielding() -> Gen[None]:
        yield note("a")

    @task
    async def quick() -> int:
        return 1

    gc.collect()
    gc.disable()
    try:
        for body in (patient, yielding, quick):
            stage = Stage(body, paranoid=False)
            execution = Execution(body, stage.run)
            execution.apply(Event(1, Kind.STARTED, 0, stage.now, "3.11"))
            gone = weakref.ref(execution.loop), weakref.ref(execution)
            execution.close()
            del execution
            assert [known() for known in gone] == [None, None]
    finally:
        gc.enable()


@step
async def moment() -> None: ...


def test_a_task_that_waits_for_what_nobody_holds_is_the_bodys_and_not_the_collectors() -> None:
    seen: list[str] = []

    async def waiting() -> None:
        try:
            await asyncio.get_running_loop().create_future()
        finally:
            seen.append("over")

    @task
    async def body() -> None:
        asyncio.create_task(waiting())  # noqa: RUF006
        await moment()
        await moment()

    stage = Stage(body, paranoid=False).start()
    gc.collect()
    assert seen == []
    stage.close()
    assert seen == ["over"]
