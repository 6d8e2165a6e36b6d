"""The loop under a body: asyncio's own tools work on it, and what is not durable is refused."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import pytest

from tests.core.script import Script
from tests.core.stage import Stage, check_replays, play
from wf.engine.core.loop import BodyLoop
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.history.errors import NotDeterministic
from wf.history.events import Kind

# --- P17 ----------------------------------------------------------------------------------------

REFUSED = sorted(
    name
    for name in vars(asyncio.AbstractEventLoop)
    if not name.startswith("_") and vars(BodyLoop)[name].__qualname__.startswith("_refuse")
)


@step
async def note(what: str) -> str:
    return what


@step(retry=Retry(max_attempts=1))
async def fail(what: str) -> None:
    raise ValueError(what)


def in_body(act: Callable[[], Any]) -> Stage:
    """Do something in a body. No step is asked for."""

    @task
    async def body() -> None:
        found = act()
        if isinstance(found, Awaitable):
            await found

    return Stage(body).play()


@pytest.mark.parametrize("name", REFUSED)
def test_p17_the_loop_refuses_what_is_not_durable(name: str) -> None:
    stage = in_body(lambda: getattr(asyncio.get_running_loop(), name)())
    assert stage.failure.type == "NotDeterministic"
    assert f"loop.{name}" in stage.failure.message
    assert stage.failure.code == "WF1002"


def test_p17_every_method_of_asyncios_loop_is_either_there_or_refused() -> None:
    """One that AbstractEventLoop itself answers raises a bare NotImplementedError."""
    there = {name for name in vars(asyncio.AbstractEventLoop) if not name.startswith("_")}
    assert there - set(vars(BodyLoop)) == set()
    assert len(REFUSED) > 30


class Protocol(asyncio.Protocol):
    pass


@pytest.mark.parametrize(
    ("act", "line"),
    [
        (lambda: asyncio.to_thread(print), "@wf.step def"),
        (lambda: asyncio.open_connection("127.0.0.1", 9), "@wf.step async def"),
        (lambda: asyncio.start_server(print, "127.0.0.1", 0), "@wf.step async def"),
        (lambda: asyncio.create_subprocess_exec("true"), "@wf.step async def"),
        (lambda: asyncio.create_subprocess_shell("true"), "@wf.step async def"),
        (lambda: asyncio.get_running_loop().getaddrinfo("localhost", 80), "@wf.step async def"),
        (lambda: asyncio.get_running_loop().add_signal_handler(signal.SIGINT, print), "@wf.step"),
        (lambda: asyncio.get_running_loop().run_in_executor(None, print), "@wf.step def"),
        (lambda: asyncio.get_running_loop().create_connection(Protocol), "@wf.step async def"),
    ],
)
def test_p17_io_in_a_body_raises_with_the_step_to_write(act: Callable[[], Any], line: str) -> None:
    stage = in_body(act)
    assert stage.failure.type == "NotDeterministic"
    assert line in stage.failure.message


def test_p17_the_step_to_write_does_it() -> None:
    @step
    def work(n: int) -> int:
        return n + 1

    @task
    async def body() -> int:
        with pytest.raises(NotDeterministic):
            await asyncio.to_thread(lambda: 1)
        return await work(1)

    assert play(body).output == 2


def test_another_loop_cannot_be_run_inside_a_body() -> None:
    async def nothing() -> None: ...

    coroutine = nothing()
    stage = in_body(lambda: asyncio.run(coroutine))
    coroutine.close()
    assert stage.failure.type == "RuntimeError"


# --- asyncio in bodies: live == replay (play checks it) -----------------------------------------


def by_value(step: str, arguments: Any, attempt: int) -> int:
    """ "3-a" takes 3 ms."""
    return int(str(arguments)[0]) if str(arguments)[0].isdigit() else 1


def run(body: Any, payload: Any = None, **world: Any) -> Any:
    return play(body, payload, Script(took=by_value, **world)).output


def test_gather_keeps_the_order_of_its_arguments() -> None:
    @task
    async def body() -> list[str]:
        return list(await asyncio.gather(note("3-a"), note("1-b"), note("2-c")))

    assert run(body) == ["3-a", "1-b", "2-c"]


def test_a_task_group_runs_side_by_side_and_cancels_the_others_when_one_fails() -> None:
    @task
    async def body() -> list[str]:
        seen: list[str] = []

        async def follow(what: str) -> None:
            try:
                seen.append(await note(what))
            except asyncio.CancelledError:
                seen.append(f"canceled {what}")
                raise

        try:
            async with asyncio.TaskGroup() as group:
                for what in ("1-a", "5-b", "3-c"):
                    group.create_task(follow(what))
                group.create_task(fail("2-no"))
        except ExceptionGroup as errors:
            seen.append(type(errors.exceptions[0]).__name__)
        return seen

    first, *canceled, error = run(body)
    assert (first, error) == ("1-a", "StepFailed")
    assert sorted(canceled) == ["canceled 3-c", "canceled 5-b"]


def test_wait_answers_the_first_and_the_rest_can_be_canceled() -> None:
    @task
    async def body() -> list[str]:
        tasks = [asyncio.create_task(note(what)) for what in ("3-a", "1-b", "2-c")]
        done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for one in pending:
            one.cancel()
        ends = await asyncio.gather(*pending, return_exceptions=True)
        return [one.result() for one in done] + [type(end).__name__ for end in ends]

    assert run(body) == ["1-b", "CancelledError", "CancelledError"]


def test_as_completed_yields_them_as_they_end() -> None:
    @task
    async def body() -> list[str]:
        calls = [note(what) for what in ("3-a", "1-b", "2-c")]
        return [await one for one in asyncio.as_completed(calls)]

    assert run(body) == ["1-b", "2-c", "3-a"]


def test_a_time_limit_is_a_durable_timer() -> None:
    @task
    async def body() -> list[str]:
        seen: list[str] = []
        for limit in (0.002, 0.009):
            try:
                async with asyncio.timeout(limit):
                    seen.append(await note("5-a"))
            except TimeoutError:
                seen.append("timeout")
            try:
                seen.append(await asyncio.wait_for(note("5-b"), limit))
            except TimeoutError:
                seen.append("timeout")
        return seen

    stage = play(body, script=Script(took=by_value))
    assert stage.output == ["timeout", "timeout", "5-a", "5-b"]
    assert stage.kinds.count(Kind.TIMER_FIRED) == 2


def test_queues_events_locks_and_semaphores_work() -> None:
    @task
    async def body() -> list[str]:
        queue: asyncio.Queue[str] = asyncio.Queue(maxsize=1)
        event, lock, semaphore = asyncio.Event(), asyncio.Lock(), asyncio.Semaphore(2)
        seen: list[str] = []

        async def produce() -> None:
            for what in ("2-a", "1-b"):
                await queue.put(await note(what))
            event.set()

        async def use(what: str) -> None:
            await event.wait()
            async with semaphore:
                await note(what)
                async with lock:
                    seen.append(await note(what))

        async with asyncio.TaskGroup() as group:
            group.create_task(produce())
            for what in ("3-x", "1-y", "1-z"):
                group.create_task(use(what))
            seen += [await queue.get(), await queue.get()]
        return seen

    assert run(body) == ["2-a", "1-b", "1-y", "3-x", "1-z"]


def test_conditions_and_barriers_work() -> None:
    @task
    async def body() -> list[str]:
        condition, barrier, seen = asyncio.Condition(), asyncio.Barrier(2), list[str]()

        async def wait_for(what: str) -> None:
            async with condition:
                await condition.wait()
                seen.append(what)
            await barrier.wait()

        waiting = [asyncio.create_task(wait_for(what)) for what in "ab"]
        await note("1-go")
        async with condition:
            condition.notify_all()
        await asyncio.gather(*waiting)
        return seen

    assert run(body) == ["a", "b"]


def test_shield_lets_the_step_go_on() -> None:
    @task
    async def body() -> str:
        task = asyncio.create_task(note("5-a"))
        try:
            await asyncio.wait_for(asyncio.shield(task), 0.002)
        except TimeoutError:
            return await task
        return "in time"

    assert run(body) == "5-a"


def test_names_of_tasks_count_per_run() -> None:
    @task
    async def body() -> list[str]:
        async def name() -> str:
            current = asyncio.current_task()
            assert current is not None
            return current.get_name()

        return [await name(), *(await asyncio.gather(name(), name()))]

    assert run(body) == run(body)


def test_call_later_and_futures_work_and_a_canceled_timer_leaves_no_row() -> None:
    @task
    async def body() -> str:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[str] = loop.create_future()
        loop.call_later(0.005, future.set_result, "late")
        handle = loop.call_later(0.002, future.set_result, "early")
        assert handle.when() - loop.time() == pytest.approx(0.002, abs=1e-6)
        handle.cancel()
        assert handle.cancelled()
        return await future

    stage = play(body)
    assert stage.output == "late"
    assert stage.kinds.count(Kind.TIMER_FIRED) == 1


def test_what_nobody_takes_is_logged_once() -> None:
    def broken() -> None:
        raise ValueError("in a callback")

    @task
    async def body() -> None:
        asyncio.get_running_loop().call_soon(broken)
        await note("1-a")

    stage = play(body)
    assert stage.logs == ["a callback raised: ValueError('in a callback')"]


def test_sys_exit_in_a_body_ends_its_run_and_nothing_else() -> None:
    @task
    async def body() -> None:
        await note("1-a")
        sys.exit(3)

    assert play(body).failure.type == "SystemExit"


# --- anyio, under many libraries ----------------------------------------------------------------


def test_anyio_task_groups_and_time_limits_work() -> None:
    @task
    async def body() -> list[str]:
        seen: list[str] = []

        async def follow(what: str) -> None:
            seen.append(await note(what))

        async with anyio.create_task_group() as group:
            group.start_soon(follow, "2-a")
            group.start_soon(follow, "1-b")
        with anyio.move_on_after(0.004) as scope:
            await anyio.sleep(1)
        seen.append(str(scope.cancelled_caught))
        return seen

    assert run(body) == ["1-b", "2-a", "True"]


def test_p9_an_anyio_scope_that_cancels_a_step_in_flight_waits_for_its_end() -> None:
    """anyio asks again and again, without an end, until its tasks have gone: that is no work."""

    @task
    async def body() -> list[str]:
        with anyio.move_on_after(0.002) as scope:
            await note("9-a")
        return [str(scope.cancelled_caught), await note("1-b")]

    stage = Stage(body, script=Script(took=by_value, stops=False)).play()
    assert stage.output == ["True", "1-b"]
    assert stage.events[-1].at - stage.events[0].at == 10
    check_replays(stage)


def test_p9_an_anyio_group_that_aborts_with_steps_in_flight_ends_by_its_own_failure() -> None:
    @task
    async def body() -> list[str]:
        try:
            async with anyio.create_task_group() as group:
                group.start_soon(note, "9-a")
                group.start_soon(note, "7-b")
                await fail("1-no")
        except BaseExceptionGroup as errors:
            return [type(error).__name__ for error in errors.exceptions]
        return []

    stage = Stage(body, script=Script(took=by_value, stops=False)).play()
    assert stage.output == ["StepFailed"]
    check_replays(stage)
