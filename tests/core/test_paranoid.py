"""Paranoid mode: it finds what would park a run days later, and is silent on good bodies."""

from __future__ import annotations

import asyncio
import datetime as dt
import itertools
import os
import random
import time
import uuid
from contextlib import nullcontext
from typing import Any

import pytest

from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import Stage, play
from wf.engine import author
from wf.engine.core.execution import Execution
from wf.engine.core.paranoid import Paranoid
from wf.engine.core.runnable import Runnable, step, task
from wf.engine.core.waits import wait
from wf.history.errors import NonDeterminism


@step
async def note(what: Any) -> Any:
    return what


@task
async def child(n: int) -> int:
    return n


calls = itertools.count()
memo: dict[str, int] = {}


@task
async def reads_a_clock() -> None:
    await note(time.perf_counter_ns())


@task
async def reads_the_date() -> None:
    await note(dt.datetime.now(dt.UTC).isoformat())


@task
async def draws_lots() -> None:
    await note(random.random())


@task
async def makes_an_id() -> None:
    await note(str(uuid.uuid4()))


@task
async def counts_in_a_global() -> None:
    await note(next(calls))


@task
async def remembers_in_a_global() -> None:
    if "seen" not in memo:
        memo["seen"] = 1
        await note("first")
    await note("second")


@task
async def asks_the_environment() -> None:
    os.environ["WF_TEST_TURN"] = str(int(os.environ.get("WF_TEST_TURN", "0")) + 1)
    await note(os.environ["WF_TEST_TURN"])


@task
async def waits_for_chance() -> None:
    await asyncio.sleep(random.random() + 0.5)
    await note("a")


@task
async def returns_chance() -> float:
    await note("a")
    return random.random()


@task
async def depends_on_an_address() -> None:
    await note(id(object()) if next(calls) % 2 else 0)


BAD = [
    reads_a_clock,
    reads_the_date,
    draws_lots,
    makes_an_id,
    counts_in_a_global,
    remembers_in_a_global,
    asks_the_environment,
    waits_for_chance,
    returns_chance,
    depends_on_an_address,
]


@pytest.mark.parametrize("body", BAD, ids=lambda body: body.id)
def test_it_finds_what_differs_when_the_body_runs_again(body: Runnable[[], Any]) -> None:
    memo.clear()
    stage = Stage(body)
    with pytest.raises(NonDeterminism) as caught:
        stage.play()
    stage.execution.close()
    assert caught.value.code == "WF1001"
    assert str(caught.value).startswith(f"WF1001 {body.id} run_")


def test_the_message_names_both_decisions_and_what_to_use_instead() -> None:
    stage = Stage(draws_lots)
    with pytest.raises(NonDeterminism) as caught:
        stage.play()
    stage.execution.close()
    message = str(caught.value)
    assert "decides differently when it runs again on the same facts" in message
    assert message.count("operation 1: step note(") == 2
    assert "use wf.now(), wf.random(), wf.uuid4(), or move it into `@wf.step`" in message
    assert caught.value.ordinal == 1


@task
async def good(n: int) -> list[Any]:
    seen: list[Any] = [author.now().isoformat(), author.random().random(), str(author.uuid4())]
    if author.patched("change"):
        seen.append(await note("patched"))
    handle = await child.trigger(n, tags=["a"])
    seen.append(handle.id)
    seen.append(await child.trigger_and_wait(n, idempotency_key="k"))
    token = await wait.create_token(int, timeout="1d")
    seen.append(token.id)
    seen.append(await wait.for_token(token))
    seen += await asyncio.gather(note("b"), note("c"), handle.result())
    author.logger.warning("halfway %s", n)
    async with asyncio.timeout(5):
        await asyncio.sleep(0.5)
    for step_number in range(10):
        seen.append(await note(step_number))
    return seen


def test_it_is_silent_on_good_bodies() -> None:
    script = Script(
        child=lambda task, payload: Answer(payload, 20), token=lambda n, tags: Answer(9, 30)
    )
    stage = play(good, 4, script)
    assert len(stage.output) == 21
    assert stage.logs == ["halfway 4"]


def test_it_is_silent_on_failures_whose_words_hold_an_address() -> None:
    class Opaque:
        pass

    kept: list[Opaque] = []

    @task
    async def body() -> None:
        await note("a")
        kept.append(Opaque())
        raise ValueError(f"no {kept[-1]!r}")

    assert play(body).failure.type == "ValueError"


def test_a_run_costs_at_most_twice_its_operations_in_second_bodies() -> None:
    """It is built again at activations 1, 2, 4, 8, … and at the end."""
    asked = 0
    number = Execution.number

    def counting(self: Execution, *args: Any) -> int:
        nonlocal asked
        asked += 1
        return number(self, *args)

    @task
    async def body() -> None:
        for n in range(64):
            await note(n)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Execution, "number", counting)
        Stage(body).play()
    live = 64
    assert asked - live <= 4 * live


def test_a_second_body_is_built_from_a_history_in_the_middle() -> None:
    script = Script(
        child=lambda task, payload: Answer(payload, 20), token=lambda n, tags: Answer(9, 30)
    )
    whole = Stage(good, b"4", script).play()
    for length in (1, 4, 8):
        twin = Paranoid(good, whole.run, whole.events[:length], nullcontext)
        twin.close()
    assert whole.cut(len(whole.events) - 3).play().output == whole.output


def test_what_a_second_body_prints_does_not_come_out(capsys: pytest.CaptureFixture[str]) -> None:
    from wf.engine.silence import silent

    @task
    async def body() -> None:
        print("once")
        await note("a")

    stage = Stage(body, paranoid=False).start()
    twin = Paranoid(body, stage.run, stage.events, silent)
    twin.close()
    stage.play()
    assert capsys.readouterr().out == "once\n"
