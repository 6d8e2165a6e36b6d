"""Tasks that are generators: `yield from op` is typed, `yield op` works too."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

import pytest
from pydantic import BaseModel

from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import play
from wf.engine.core.operation import Gen, Operation
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait
from wf.history.errors import StepFailed
from wf.history.events import Kind, Status


class Receipt(BaseModel):
    id: str


@step
async def send(to: str) -> Receipt:
    return Receipt(id=f"em_{to}")


@step(retry=Retry(max_attempts=1))
async def fail(what: str) -> None:
    raise ValueError(what)


def test_a_generator_task_runs_like_an_async_one() -> None:
    @task
    def body(user: str) -> Gen[str]:
        receipt = yield from send(user)
        assert isinstance(receipt, Receipt)
        yield from wait.for_(days=1)
        plain = yield send("b")
        token = yield from wait.create_token(int)
        number = yield from wait.for_token(token)
        return f"{receipt.id} {plain.id} {number}"

    stage = play(body, "a", Script(token=lambda n, tags: Answer(7)))
    assert stage.output == "em_a em_b 7"
    assert stage.kinds.count(Kind.TIMER_FIRED) == 1


def test_failures_and_cancels_are_thrown_at_the_yield() -> None:
    @task
    def body() -> Gen[list[str]]:
        seen: list[str] = []
        try:
            yield from fail("no")
        except StepFailed as error:
            seen.append(error.message)
        try:
            yield from wait.for_(days=1)
        except asyncio.CancelledError:
            seen.append("canceled")
        finally:
            seen.append((yield from send("c")).id)
        return seen

    assert play(body, script=Script(cancel_at=50)).output == ["no", "canceled", "em_c"]


def test_helpers_are_generators_of_their_own() -> None:
    def twice(to: str) -> Gen[list[str]]:
        first = yield from send(to)
        second = yield from send(to)
        return [first.id, second.id]

    @task
    def body() -> Gen[list[str]]:
        return (yield from twice("a"))

    assert play(body).output == ["em_a", "em_a"]


def test_tasks_and_gather_work_under_a_generator_too() -> None:
    async def both() -> list[str]:
        return [one.id for one in await asyncio.gather(send("a"), send("b"))]

    @task
    def body() -> Generator[Any, Any, list[str]]:
        return (yield both())

    assert play(body).output == ["em_a", "em_b"]


def test_yielding_something_else_is_a_type_error_at_the_yield() -> None:
    @task
    def body() -> Generator[Any, Any, str]:
        with pytest.raises(TypeError):
            yield 3
        return "refused"

    assert play(body).output == "refused"


def test_an_uncaught_failure_ends_the_run() -> None:
    @task
    def body() -> Gen[None]:
        yield from fail("no")

    stage = play(body)
    assert stage.end is not None
    assert (stage.end.status, stage.failure.type, stage.end.failed) == (
        Status.FAILED,
        "ValueError",
        1,
    )
    assert issubclass(Operation, object)
