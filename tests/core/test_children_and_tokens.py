"""Child runs and tokens: their ids, their ends, their cancels."""

from __future__ import annotations

import asyncio
import json

import pytest
from pydantic import BaseModel

from tests.core.answers import Answer
from tests.core.script import Script
from tests.core.stage import START_MS, Stage, play
from wf.engine.core.children import ChildCall
from wf.engine.core.decisions import CancelRun, CreateToken, TriggerChild
from wf.engine.core.handles import RunHandle
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait
from wf.history.errors import (
    DeclarationError,
    PayloadError,
    RunCanceled,
    RunError,
    RunExpired,
    RunFailed,
    RunTimedOut,
    TokenCanceled,
    TokenTimedOut,
)
from wf.history.events import Kind, Status


class Order(BaseModel):
    id: str
    amount: int = 0


class Receipt(BaseModel):
    text: str


@task
async def ship(order: Order) -> Receipt:
    return Receipt(text=order.id)


@step
async def note(what: str) -> str:
    return what


def shipped(task: str, order: dict[str, object]) -> Answer:
    return Answer({"text": f"{task} {order['id']}"}, 5)


def test_a_child_that_is_awaited_gives_its_output_as_the_annotation_says() -> None:
    @task
    async def body() -> list[str]:
        first = await ship(Order(id="a"))
        second = await ship.trigger_and_wait(Order(id="b"), tags=["x"])
        third = await ship.options(tags=["y"])(Order(id="c"))
        return [type(first).__name__, first.text, second.text, third.text]

    stage = play(body, script=Script(child=shipped))
    assert stage.output == ["Receipt", "ship a", "ship b", "ship c"]
    assert stage.kinds[1:3] == [Kind.CHILD_TRIGGERED, Kind.CHILD_ENDED]


def test_a_child_that_is_triggered_does_not_hold_the_body() -> None:
    @task
    async def body() -> list[str]:
        handle = await ship.trigger(Order(id="a"))
        assert isinstance(handle, RunHandle)
        before = await note("before")
        return [before, (await handle.result()).text, handle.id]

    stage = play(body, script=Script(child=shipped))
    assert stage.output[:2] == ["before", "ship a"]
    assert stage.output[2].startswith("run_")
    assert stage.kinds == [
        Kind.STARTED,
        Kind.CHILD_TRIGGERED,
        Kind.STEP_FINISHED,
        Kind.CHILD_AWAITED,
        Kind.CHILD_ENDED,
    ]


def test_the_ids_of_children_and_tokens_derive_from_run_and_ordinal() -> None:
    @task
    async def body() -> list[str]:
        await note("a")
        handle = await ship.trigger(Order(id="a"))
        token = await wait.create_token(int)
        return [handle.id, token.id]

    first, second = play(body), play(body)
    assert first.output == second.output
    ids = [
        one.child_id if isinstance(one, TriggerChild) else one.token_id
        for ds in first.decisions
        for one in ds
        if isinstance(one, TriggerChild | CreateToken)
    ]
    assert len(set(ids)) == 2


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("FAILED", RunFailed),
        ("CANCELED", RunCanceled),
        ("EXPIRED", RunExpired),
        ("TIMED_OUT", RunTimedOut),
    ],
)
def test_a_child_that_ends_badly_raises_by_its_status(status: str, error: type[RunError]) -> None:
    seen: list[RunError] = []

    @task
    async def body() -> str:
        with pytest.raises(error) as caught:
            await ship(Order(id="a"))
        seen.append(caught.value)
        return caught.value.run_id

    cause = ValueError("no stock") if status == "FAILED" else None
    stage = play(body, script=Script(child=lambda task, order: Answer(None, 5, status, cause)))
    assert stage.output.startswith("run_")
    if status == "FAILED":
        assert (seen[0].type, seen[0].message) == ("ValueError", "no stock")
        assert seen[0].matches(ValueError)


def test_a_child_whose_wait_is_canceled_is_canceled_with_it() -> None:
    @task
    async def body() -> list[str]:
        seen: list[str] = []
        try:
            async with asyncio.timeout(0.002):
                await ship(Order(id="a"))
        except TimeoutError:
            seen.append("limit")
        handle = await ship.trigger(Order(id="b"))
        try:
            async with asyncio.timeout(0.002):
                await handle.result()
        except TimeoutError:
            seen.append("limit")
        return seen

    stage = play(body, script=Script(child=shipped))
    assert stage.output == ["limit", "limit"]
    first = next(one for ds in stage.decisions for one in ds if isinstance(one, TriggerChild))
    canceled = [one for ds in stage.decisions for one in ds if isinstance(one, CancelRun)]
    assert [one.run_id for one in canceled] == [first.child_id], "a run behind a handle goes on"
    assert stage.events[-1].at - START_MS == 4


def test_canceling_the_run_cancels_the_children_that_it_awaits() -> None:
    @task
    async def body() -> None:
        await asyncio.gather(ship(Order(id="a")), ship(Order(id="b")), note("c"))

    stage = play(body, script=Script(child=shipped, cancel_at=3))
    assert stage.end is not None
    assert stage.end.status == Status.CANCELED
    assert len(stage.canceled_runs) == 2


def test_an_idempotency_key_is_settled_by_a_fact() -> None:
    @task
    async def body() -> list[bool]:
        handle = await ship.trigger(Order(id="a"), idempotency_key="k")
        receipt = await ship.trigger_and_wait(Order(id="a"), idempotency_key="k")
        return [handle.is_cached, handle.payload_differs, receipt.text == "ship a"]

    for cached, told in ((0, [False, False]), (1, [True, False]), (2, [True, True])):
        stage = play(body, script=Script(child=shipped, cached=cached))
        assert stage.output == [*told, True]
        assert stage.kinds.count(Kind.CHILD_STARTED) == 2


def test_a_child_that_somebody_else_started_is_not_canceled_with_the_wait() -> None:
    @task
    async def body() -> str:
        try:
            async with asyncio.timeout(0.003):
                await ship.trigger_and_wait(Order(id="a"), idempotency_key="k")
        except TimeoutError:
            return "limit"
        return "done"

    for cached, canceled in ((0, 1), (1, 0), (2, 0)):
        stage = play(body, script=Script(child=shipped, cached=cached))
        assert stage.output == "limit"
        assert len(stage.canceled_runs) == canceled


def test_a_payload_that_does_not_fit_is_refused_before_there_is_a_child() -> None:
    @task
    async def body() -> str:
        with pytest.raises(PayloadError, match="payload of ship"):
            await ship.trigger({"id": 3})  # pyright: ignore[reportCallIssue, reportArgumentType]
        with pytest.raises(DeclarationError, match="priority"):
            await ship.trigger(Order(id="a"), priority="high")  # pyright: ignore[reportCallIssue, reportArgumentType]
        return "refused"

    stage = play(body)
    assert stage.output == "refused"
    assert Kind.CHILD_TRIGGERED not in stage.kinds


def test_the_options_of_a_trigger_are_part_of_what_is_compared() -> None:
    @task
    async def body() -> None:
        await ship.trigger(Order(id="a"))
        await ship.trigger(Order(id="a"), tags=["x"])
        await ship.trigger(Order(id="b"))

    digests = [event.digest for event in play(body).events if event.kind == Kind.CHILD_TRIGGERED]
    assert len(set(digests)) == 3


# --- tokens -------------------------------------------------------------------------------------


class Decision(BaseModel):
    approved: bool
    by: str = ""


def test_a_token_gives_its_data_as_its_type() -> None:
    @task
    async def body() -> list[str]:
        token = await wait.create_token(Decision, timeout="7d", tags=["review"])
        decision = await wait.for_token(token)
        again = await wait.for_token(token.id, Decision)
        return [type(decision).__name__, decision.by, again.by]

    answer = Answer({"approved": True, "by": "ann"}, 50)
    stage = play(body, script=Script(token=lambda n, tags: answer))
    assert stage.output == ["Decision", "ann", "ann"]
    made = next(one for ds in stage.decisions for one in ds if isinstance(one, CreateToken))
    assert made.timeout_at == START_MS + 7 * 86_400_000
    assert made.tags == ("review",)
    assert json.loads(made.schema)["title"] == "Decision"


def test_a_token_that_nobody_completes_times_out_as_a_timeout_error() -> None:
    @task
    async def body() -> list[str]:
        token = await wait.create_token(Decision, timeout="1h")
        with pytest.raises(TimeoutError, match=token.id) as caught:
            await wait.for_token(token)
        return [type(caught.value).__name__, str(isinstance(caught.value, TokenTimedOut))]

    stage = play(body, script=Script(token=lambda n, tags: None))
    assert stage.output == ["TokenTimedOut", "True"]
    assert stage.events[-1].at - START_MS == 3_600_000


def test_a_canceled_token_raises_and_data_that_does_not_fit_does_too() -> None:
    @task
    async def body() -> list[str]:
        seen: list[str] = []
        for _ in range(2):
            token = await wait.create_token(Decision)
            try:
                await wait.for_token(token)
            except (TokenCanceled, PayloadError) as error:
                seen.append(type(error).__name__)
        return seen

    answers = [Answer(None, 1, "CANCELED"), Answer({"approved": "maybe"}, 1)]
    stage = play(body, script=Script(token=lambda n, tags: answers[n]))
    assert stage.output == ["TokenCanceled", "PayloadError"]


def test_a_body_that_waits_for_nothing_that_comes_stays_and_nothing_is_due() -> None:
    @task
    async def body() -> None:
        await wait.for_token(await wait.create_token())

    stage = Stage(body, script=Script(token=lambda n, tags: None)).play()
    assert stage.end is None
    assert stage.execution.timers.next_due() == 0
    stage.close()
    call = ship.trigger(Order(id="a"))
    assert isinstance(call, ChildCall)
    call.close()
