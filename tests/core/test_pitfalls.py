"""The pitfalls of determinism, by their numbers: one test or more for each."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import json
import os
import random
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from tests.core import orders
from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import START_MS, Stage, check_replays, play
from wf.engine import author
from wf.engine.core import execution as execution_module
from wf.engine.core.loop import STEP_BUDGET
from wf.engine.core.mismatch import PYTHON_MINOR
from wf.engine.core.operation import Dropped, current_execution
from wf.engine.core.replay import replay
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait
from wf.history.errors import NonDeterminism, NotDeterministic, StepFailed
from wf.history.events import Kind, Status

ROOT = Path(__file__).resolve().parent.parent.parent
SEEDS = ("0", "1", "4711")


@step
async def note(what: str) -> str:
    return what


@step(retry=Retry(max_attempts=1))
async def fail(what: str) -> None:
    raise ValueError(what)


# --- P1 -----------------------------------------------------------------------------------------


def test_p1_a_body_is_activated_where_no_loop_runs() -> None:
    @task
    async def body() -> str:
        assert asyncio.get_running_loop() is not None
        return await note("a")

    assert play(body).output == "a"
    with pytest.raises(RuntimeError, match="no running event loop"):
        asyncio.get_running_loop()
    assert asyncio.current_task is not None


def test_p1_activated_in_a_running_loop_it_leaves_that_loop_as_it_was() -> None:
    @task
    async def body() -> str:
        return await note("a")

    async def outer() -> None:
        loop, me = asyncio.get_running_loop(), asyncio.current_task()
        hooks = sys.get_asyncgen_hooks()
        assert play(body).output == "a"
        assert asyncio.get_running_loop() is loop
        assert asyncio.current_task() is me
        assert sys.get_asyncgen_hooks() == hooks

    asyncio.run(outer())


# --- P2 -----------------------------------------------------------------------------------------


def test_p2_sets_of_tasks_futures_and_operations_have_one_order_in_60_executions() -> None:
    seen = orders.orders(60, orders.allocate)
    assert {name: len(found) for name, found in seen.items()} == dict.fromkeys(seen, 1)


def test_p2_they_have_the_same_order_in_other_processes_under_other_hash_seeds() -> None:
    here = orders.orders(1, orders.allocate)
    for seed in SEEDS:
        output = subprocess.run(
            [sys.executable, "-m", "tests.core.orders", "2"],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        assert json.loads(output) == here


def test_p2_hashes_differ_between_runs() -> None:
    """asyncio keeps all tasks of a process in one weak set: equal hashes would collide there."""
    hashes: list[int] = []

    @task
    async def body(n: int) -> None:
        hashes.append(hash(asyncio.current_task()))

    @task
    async def other(n: int) -> None:
        hashes.append(hash(asyncio.current_task()))

    play(body, 1)
    play(other, 1)
    assert len(set(hashes)) == 2


# --- P3 -----------------------------------------------------------------------------------------


@task
async def waits_for_a_step() -> str:
    return await asyncio.wait_for(note("a"), 5)


def test_p3_the_history_records_the_minor_of_python() -> None:
    started = play(waits_for_a_step).events[0]
    assert (started.kind, started.name) == (Kind.STARTED, PYTHON_MINOR)
    assert f"{sys.version_info.major}.{sys.version_info.minor}" == PYTHON_MINOR


def test_p3_a_mismatch_on_another_minor_says_so_first() -> None:
    stage = play(waits_for_a_step)
    elsewhere = [stage.events[0].but(name="3.9"), *stage.events[1:]]
    wrong = [elsewhere[0], elsewhere[1].but(name="another-step"), *elsewhere[2:]]
    with pytest.raises(NonDeterminism) as caught:
        replay(waits_for_a_step, stage.run, wrong)
    first, second, *_ = str(caught.value).splitlines()
    assert first.startswith("WF1001 ")
    assert second.startswith(f"  the run began on Python 3.9 and this is {PYTHON_MINOR}")
    replay(waits_for_a_step, stage.run, elsewhere)[0].close()  # the minor alone is no mismatch


# --- P4 -----------------------------------------------------------------------------------------


def test_p4_completions_of_one_moment_are_applied_one_by_one_in_the_recorded_order() -> None:
    @task
    async def body() -> list[str]:
        seen: list[str] = []

        async def follow(what: str) -> None:
            await note(what)
            seen.append(what)
            await note(what + what)
            seen.append(what + what)

        await asyncio.gather(*(follow(what) for what in "abc"))
        return seen

    stage = play(body)
    assert stage.output == ["a", "b", "c", "aa", "bb", "cc"]
    assert all(len(decisions) <= 1 for decisions in stage.decisions[1:])


# --- P5 -----------------------------------------------------------------------------------------


def test_p5_timers_are_whole_milliseconds_and_durations() -> None:
    @task
    async def body() -> list[float]:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        await asyncio.sleep(0.1 + 0.2)
        async with asyncio.timeout(3600):
            await note("a")
        await asyncio.sleep(1 / 3)
        return [round((loop.time() - begun) * 1_000_000)]

    stage = play(body)
    fired = [event for event in stage.events if event.kind == Kind.TIMER_FIRED]
    assert [event.digest for event in fired] == [300, 333]
    assert [event.at - START_MS for event in fired] == [300, 634]
    assert stage.output == [634_000]


# --- P6 -----------------------------------------------------------------------------------------


def test_p6_there_is_no_task_factory_and_eager_start_is_refused() -> None:
    @task
    async def body() -> list[str]:
        loop = asyncio.get_running_loop()
        assert loop.get_task_factory() is None
        told: list[str] = []
        with pytest.raises(NotDeterministic, match="eager_start"):
            getattr(loop, "create_task")(note("a"), eager_start=True)  # noqa: B009
        with pytest.raises(NotDeterministic, match="set_task_factory"):
            loop.set_task_factory(None)
        named = asyncio.create_task(note("b"), name="mine", context=contextvars.Context())
        told.append(named.get_name())
        told.append(await named)
        return told

    assert play(body).output == ["mine", "b"]


# --- P7: test_dropping.py -----------------------------------------------------------------------


# --- P8 -----------------------------------------------------------------------------------------


def test_p8_abandoned_async_generators_are_closed_in_the_order_of_their_beginning() -> None:
    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            for n in range(10):
                yield n
        finally:
            await note(name)

    @task
    async def body() -> None:
        kept: list[Any] = []
        for name in ("a", "b", "c", "d"):
            generator = numbers(name)
            async for _ in generator:
                break
            cycle: list[Any] = [generator]
            cycle.append(cycle)
            if name in "bd":
                kept.append(generator)
        gc.collect()
        await note("body")

    stage = Stage(body, paranoid=False).play()
    assert [event.data for event in stage.events if event.kind == Kind.STEP_FINISHED] == [
        b'"body"',
        b'"a"',
        b'"b"',
        b'"c"',
        b'"d"',
    ]
    check_replays(stage)


def test_p8_a_generator_that_raises_when_it_is_closed_does_not_hide_the_others() -> None:
    async def numbers(name: str) -> AsyncIterator[int]:
        try:
            yield 1
        finally:
            await note(name)
            if name == "a":
                raise ValueError("cleaning up failed")

    @task
    async def body() -> str:
        for name in "ab":
            async for _ in numbers(name):
                break
        return "done"

    stage = play(body)
    assert stage.output == "done"
    assert stage.calls == ["note", "note"]
    assert any("cleaning up failed" in line for line in stage.logs)


# --- P9 -----------------------------------------------------------------------------------------


def test_p9_a_body_that_never_waits_ends_over_its_budget_and_names_its_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert STEP_BUDGET == 1_000_000
    monkeypatch.setattr("wf.engine.core.loop.BodyLoop.drain.__defaults__", (2_000,))

    @task
    async def circle() -> None:
        n = 0
        while n >= 0:
            n += 1
            await asyncio.sleep(0)

    stage = Stage(circle).play()
    assert stage.failure.type == "StepBudgetExceeded"
    assert "the body of circle run_" in stage.failure.message
    check_replays(stage)


# --- P10 ----------------------------------------------------------------------------------------


def test_p10_context_variables_of_the_worker_do_not_reach_a_body() -> None:
    variable = contextvars.ContextVar("variable", default="nothing")

    @task
    async def body() -> list[str]:
        seen = [variable.get()]
        variable.set("the body's")
        seen.append(variable.get())
        await note("a")
        seen.append(variable.get())
        return seen

    variable.set("the worker's")
    assert play(body).output == ["nothing", "the body's", "the body's"]
    assert variable.get() == "the worker's"


# --- P11: sets of strings, by subprocess --------------------------------------------------------


def test_p11_dicts_and_arguments_are_encoded_in_one_order_under_every_hash_seed() -> None:
    program = (
        "from wf.engine.core.values import Shape\n"
        "print(Shape(dict[str, int], 'x').encode({c: 1 for c in 'zyxabc'}).decode())"
    )
    outputs = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=ROOT,
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        ).stdout
        for seed in SEEDS
    }
    assert outputs == {b'{"z":1,"y":1,"x":1,"a":1,"b":1,"c":1}\n'}


# --- P12 ----------------------------------------------------------------------------------------


def test_p12_an_added_random_number_does_not_shift_later_ids() -> None:
    seen: dict[int, list[str]] = {}

    @task
    async def body(draws: int) -> None:
        for _ in range(draws):
            author.random().random()
        token = await wait.create_token(int)
        seen[draws] = [str(author.uuid4()), token.id, str(author.uuid4())]

    for draws in (0, 5):
        play(body, draws)
    assert seen[0] == seen[5]
    assert seen[0][0] != seen[0][2]


def test_p12_chance_in_a_body_is_no_stream_of_the_process() -> None:
    @task
    async def body() -> list[float]:
        return [author.random().random(), author.random().uniform(1, 2)]

    first = play(body).output
    random.seed(1)
    assert play(body).output == first


# --- P13 ----------------------------------------------------------------------------------------


def test_p13_each_raise_of_a_failure_is_a_fresh_exception() -> None:
    errors: list[BaseException] = []

    @task
    async def body() -> int:
        for _ in range(3):
            try:
                await fail("no")
            except StepFailed as error:
                errors.append(error)
        shared = asyncio.ensure_future(fail("no"))
        lengths: set[int] = set()
        for _ in range(5):
            with pytest.raises(StepFailed) as caught:
                await shared
            lengths.add(len(caught.traceback))
        return len(lengths)

    stage = Stage(body, paranoid=False).play()
    assert stage.output <= 2, "the traceback of a stored exception grows with each await"
    assert len({id(error) for error in errors}) == 3


# --- P14 ----------------------------------------------------------------------------------------


def test_p14_except_exception_does_not_swallow_a_cancel_or_a_drop() -> None:
    @task
    async def body() -> str:
        while True:
            try:
                await note("a")
            except Exception:  # noqa: S112
                continue

    canceled = play(body, script=Script(cancel_at=5))
    assert canceled.end is not None
    assert canceled.end.status == Status.CANCELED
    dropped = Stage(body).start()
    dropped.close()
    assert dropped.execution not in execution_module._live  # pyright: ignore[reportPrivateUsage]
    assert not issubclass(Dropped, Exception)


# --- P15 ----------------------------------------------------------------------------------------


def test_p15_a_group_of_one_is_unwrapped_when_it_ends_a_run() -> None:
    @task
    async def body() -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(note("a"))
            group.create_task(fail("the only one"))

    stage = play(body)
    assert stage.failure.type == "ValueError"
    assert stage.failure.message == "the only one"
    assert stage.end is not None
    assert stage.end.failed == 2


# --- P16: the time budget is the worker's: the core reads no clock ------------------------------


def test_p16_the_core_does_not_read_a_clock() -> None:
    """So the budget in time (2 s without an await) is watched where the worker applies facts."""
    core = ROOT / "engine" / "core"
    for path in core.glob("*.py"):
        text = path.read_text()
        for clock in ("time.time", "monotonic", "perf_counter", "datetime.now("):
            assert f"{clock}(" not in text.replace("instance datetime.now(UTC)", ""), path


# --- P17: test_loop.py --------------------------------------------------------------------------


# --- P18 ----------------------------------------------------------------------------------------


class Money(BaseModel):
    cents: int


def test_p18_bodies_use_the_modules_of_the_process_and_import_none_again() -> None:
    before = dict(sys.modules)
    seen: list[Any] = []

    @step
    async def price() -> Money:
        return Money(cents=5)

    @task
    async def body() -> int:
        money = await price()
        seen.append((type(money) is Money, sys.modules[__name__] is before[__name__]))
        return money.cents

    assert play(body).output == 5
    assert set(seen) == {(True, True)}
    assert {name for name in sys.modules if name not in before} == set()
    assert current_execution() is None
    assert Answer().data == b"null"
