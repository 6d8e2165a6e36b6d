"""Messages, and `wf.restart`: what a body sees of them, live and on replay."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from pydantic import BaseModel

import wf
from tests.core.script import Script
from tests.core.stage import Stage, check_replays, play
from wf.engine.core.decisions import CancelRun, CancelStep, SendMessage
from wf.history.events import Kind, Status
from wf.history.messages import Sent


class Order(BaseModel):
    number: int


@wf.step
async def double(value: int) -> int:
    return value * 2


@wf.task
async def sleeper() -> None:
    await wf.wait.for_("1h")


# --- reading --------------------------------------------------------------------------------------


@wf.task
async def three() -> list[int]:
    return [(await wf.wait.for_message("order", Order)).number for _ in range(3)]


def test_messages_are_read_in_the_order_in_which_they_came() -> None:
    came = [(5, "order", {"number": 1}), (5, "order", {"number": 2}), (9, "order", {"number": 3})]
    assert play(three, script=Script(messages=came)).output == [1, 2, 3]


@wf.task
async def late_reader() -> list[Any]:
    await wf.wait.for_("1m")
    second = await wf.wait.for_message("second")
    return [second, await wf.wait.for_message("first", int)]


def test_what_was_sent_before_anybody_asked_is_kept() -> None:
    stage = play(late_reader, script=Script(messages=[(1, "first", 1), (2, "second", "two")]))
    assert stage.output == ["two", 1]


@wf.task
async def two_at_once() -> list[int]:
    return list(await asyncio.gather(wf.wait.for_message("n", int), wf.wait.for_message("n", int)))


def test_who_asked_first_gets_the_first() -> None:
    script = Script(messages=[(1, "n", 1), (2, "n", 2)])
    assert play(two_at_once, script=script).output == [1, 2]


@wf.task
async def unfit() -> list[Any]:
    with pytest.raises(wf.PayloadError, match="number"):
        await wf.wait.for_message("order", Order)
    return [(await wf.wait.for_message("order", Order)).number]


def test_what_does_not_fit_fails_at_the_wait_and_is_read() -> None:
    came = [(1, "order", {"number": "many"}), (2, "order", {"number": 7})]
    assert play(unfit, script=Script(messages=came)).output == [7]


# --- time-outs ------------------------------------------------------------------------------------


@wf.task
async def impatient() -> Any:
    try:
        return await wf.wait.for_message("n", int, timeout="10s")
    except TimeoutError as error:
        return f"{type(error).__name__}: {error}"


@pytest.mark.parametrize(
    ("after_ms", "seen"), [(9_999, 1), (10_001, "MessageTimedOut: no message 'n' came within 10 s")]
)
def test_message_and_time_out_are_ordered_by_facts(after_ms: int, seen: Any) -> None:
    stage = play(impatient, script=Script(messages=[(after_ms, "n", 1)]))
    assert stage.output == seen
    assert len(stage.events) == 3


@wf.task
async def gives_up() -> list[Any]:
    """A wait that is given up reads nothing."""
    waiting = asyncio.create_task(wf.wait.for_message("n", int, timeout="1h"))
    await wf.wait.for_("1s")
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await wf.wait.for_("10s")
    return [await wf.wait.for_message("n", int)]


def test_a_message_after_a_wait_that_was_given_up_is_not_lost() -> None:
    assert play(gives_up, script=Script(messages=[(5_000, "n", 1)])).output == [1]


@wf.task
async def within() -> str:
    try:
        async with asyncio.timeout(1):
            await wf.wait.for_message("n")
    except TimeoutError:
        return await wf.wait.for_message("n", str)
    return "?"


def test_a_wait_may_be_raced() -> None:
    assert play(within, script=Script(messages=[(2_000, "n", "late")])).output == "late"


# --- sending --------------------------------------------------------------------------------------


@wf.task
async def sender() -> str:
    handle = await sleeper.trigger()
    await handle.send("go", {"now": True})
    try:
        await handle.send("stop")
    except (wf.AlreadyEnded, wf.NotFound) as error:
        return type(error).__name__
    return "sent"


@pytest.mark.parametrize(
    ("outcome", "seen"), [(Sent.SENT, "sent"), (Sent.ENDED, "Failed"), (Sent.UNKNOWN, "Failed")]
)
def test_a_body_learns_what_became_of_its_message(outcome: Sent, seen: str) -> None:
    stage = play(sender, script=Script(sent=outcome))
    if seen == "sent":
        assert stage.output == "sent"
        assert stage.sent == [("go", {"now": True}), ("stop", None)]
    else:
        assert stage.end is not None
        assert stage.end.status is Status.FAILED


def test_what_is_sent_is_recorded_and_not_sent_again() -> None:
    stage = play(sender)
    length = stage.kinds.index(Kind.SEND_SETTLED)
    again = stage.cut(length).play()
    assert again.output == "sent"
    assert [name for name, _ in again.sent] == ["stop"]


def test_outside_a_body_a_wait_for_a_message_says_so() -> None:
    with pytest.raises(wf.NotConnected, match="wait for message"):
        asyncio.run(_wait_outside())


async def _wait_outside() -> None:
    await wf.wait.for_message("n")


@pytest.mark.parametrize("name", ["", "a\0b", 7])
def test_a_name_is_text(name: Any) -> None:
    with pytest.raises(wf.DeclarationError, match="name="):
        wf.wait.for_message(name)


# --- restart --------------------------------------------------------------------------------------


@wf.task
async def counts(number: int) -> str:
    await double(number)
    if number < 3:
        await wf.restart(number + 1)
    return "done"


def test_a_restart_ends_the_history_with_the_new_payload() -> None:
    stage = play(counts, 1)
    assert stage.restarts_with == 2
    assert stage.kinds == [Kind.STARTED, Kind.STEP_FINISHED, Kind.RESTARTED]
    assert play(counts, 3).output == "done"


@wf.task
async def unfit_restart(number: int) -> str:
    with pytest.raises(wf.PayloadError):
        await wf.restart("x")
    return "refused"


def test_a_payload_that_does_not_fit_is_refused_where_it_is_given() -> None:
    assert play(unfit_restart, 1).output == "refused"


@wf.task
async def busy(number: int) -> None:
    async def swallow() -> None:
        try:
            await wf.wait.for_("1h")
        finally:
            await double(9)

    async with asyncio.TaskGroup() as group:
        group.create_task(swallow())
        group.create_task(double(1))
        group.create_task(sleeper.trigger_and_wait())
        await wf.wait.for_(milliseconds=0)
        try:
            await wf.restart(number + 1)
        finally:
            await double(8)


def test_nothing_runs_after_a_restart_and_what_was_awaited_is_let_go() -> None:
    stage = Stage(busy, b"1", Script(took=lambda step, arguments, attempt: 60_000)).play()
    assert stage.restarts_with == 2
    assert stage.calls == ["double"]
    last = stage.decisions[-1]
    assert {type(one) for one in last} >= {CancelRun, CancelStep}
    assert not any(isinstance(one, SendMessage) for one in last)
    check_replays(stage)


@wf.task
async def stubborn(number: int) -> None:
    try:
        await wf.wait.for_("1h")
    except asyncio.CancelledError:
        await wf.restart(number + 1)


def test_a_run_that_was_canceled_does_not_restart() -> None:
    stage = Stage(stubborn, b"1", Script(cancel_at=5)).play()
    assert stage.end is not None
    assert stage.end.status is Status.CANCELED


@wf.task
async def many(a: int, *, b: str = "x") -> None:
    await wf.restart(a + 1, b="y")


def test_a_restart_takes_the_arguments_of_the_task() -> None:
    stage = Stage(many, many.signature.encode_call((1,), {})).play()
    args, kwargs = many.signature.decode_call(many.signature.encode_call((2,), {"b": "y"}))
    assert (args, kwargs) == many.signature.decode_call(stage.execution.ended.payload)  # type: ignore[union-attr]
