"""Steps in a body: recorded once, retried by their policy, canceled only when they have ended."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from tests.core.script import Script
from tests.core.stage import Stage, check_replays, play
from wf.engine import author
from wf.engine.core.decisions import CancelStep, RunStep
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.history.errors import Abort, PayloadError, RetryAfter, StepFailed
from wf.history.events import Failure, Kind, Status


def attempt() -> int:
    here = author.current().step
    return here.attempt if here is not None else 0


@step(retry=Retry(max_attempts=3, min_delay="1s", factor=2, jitter=False))
async def flaky(fails: int) -> int:
    if attempt() <= fails:
        raise ConnectionError(f"attempt {attempt()}")
    return attempt()


@step
async def slow(what: str) -> str:
    return what


def took(ms: int) -> Script:
    return Script(took=lambda step, arguments, attempt: ms, stops=False)


def by_value(step: str, arguments: Any, attempt: int) -> int:
    return int(str(arguments)[0])


def test_a_step_is_one_row_written_when_it_ends() -> None:
    @task
    async def body() -> str:
        return await slow("a")

    stage = play(body, script=took(40))
    assert stage.kinds == [Kind.STARTED, Kind.STEP_FINISHED]
    row = stage.events[1]
    assert (row.name, row.ordinal, row.attempt, row.took, row.data) == ("slow", 1, 1, 40, b'"a"')


def test_a_failed_attempt_is_recorded_with_the_delay_to_the_next() -> None:
    @task
    async def body() -> int:
        return await flaky(2)

    stage = play(body, script=took(10))
    assert stage.output == 3
    assert [(Kind(one.kind).name, one.attempt, one.took) for one in stage.events[1:]] == [
        ("STEP_ATTEMPT_FAILED", 1, 1_000),
        ("STEP_ATTEMPT_FAILED", 2, 2_000),
        ("STEP_FINISHED", 3, 10),
    ]
    assert Failure.decode(stage.events[1].data).message == "attempt 1"
    assert stage.events[3].at - stage.events[0].at == 3 * 10 + 1_000 + 2_000


def test_a_back_off_survives_the_process() -> None:
    @task
    async def body() -> int:
        return await flaky(2)

    whole = Stage(body, script=took(10)).play()
    other = whole.cut(2).play()
    assert other.output == 3
    assert [one.at for one in other.events[2:]] == [one.at for one in whole.events[2:]]
    assert other.calls == ["flaky", "flaky"]


def test_when_all_attempts_fail_the_body_gets_step_failed() -> None:
    seen: list[StepFailed] = []

    @task
    async def body() -> str:
        try:
            await flaky(3)
        except StepFailed as error:
            seen.append(error)
            return error.message
        return ""

    assert play(body, script=took(1)).output == "attempt 3"
    error = seen[0]
    assert str(error) == "flaky failed after 3 attempts: ConnectionError: attempt 3"
    assert (error.type, error.ordinal) == ("ConnectionError", 1)
    assert error.matches(ConnectionError)
    assert error.matches("ConnectionError")
    assert not error.matches(ValueError)
    assert 'raise ConnectionError(f"attempt {attempt()}")' in error.traceback


def test_abort_and_unfit_results_are_not_tried_again_and_retry_after_sets_the_delay() -> None:
    @step
    async def give_up() -> None:
        raise Abort("hopeless")

    @step
    async def unfit() -> int:
        return "not a number"  # pyright: ignore[reportReturnType]

    @step
    async def busy() -> int:
        if attempt() == 1:
            raise RetryAfter(7)
        return attempt()

    @task
    async def body() -> list[str]:
        ends = await asyncio.gather(give_up(), unfit(), busy(), return_exceptions=True)
        return [one.type if isinstance(one, StepFailed) else str(one) for one in ends]

    stage = play(body)
    assert stage.output == ["Abort", PayloadError.__name__, "2"]
    delays = [one.took for one in stage.events if one.kind == Kind.STEP_ATTEMPT_FAILED]
    assert delays == [7_000]


def test_give_up_on_ends_the_attempts() -> None:
    @step(retry=Retry(max_attempts=5, give_up_on=(KeyError, "OSError")))
    async def lookup(kind: str) -> None:
        raise {"key": KeyError, "os": FileNotFoundError, "value": ValueError}[kind](kind)

    @task
    async def body(kind: str) -> None:
        await lookup(kind)

    attempts = {kind: len(play(body, kind, Script()).calls) for kind in ("key", "os", "value")}
    assert attempts == {"key": 1, "os": 1, "value": 5}


def test_a_failure_that_nobody_takes_ends_the_run_and_names_its_operation() -> None:
    @task
    async def body() -> None:
        await slow("1")
        try:
            await flaky(3)
        except StepFailed as error:
            raise RuntimeError("no way on") from error

    stage = play(body)
    assert stage.end is not None
    assert (stage.end.status, stage.end.failed) == (Status.FAILED, 2)
    assert stage.failure.type == "RuntimeError"


def test_equal_calls_are_told_apart_by_their_repeat() -> None:
    @task
    async def body() -> None:
        await asyncio.gather(slow("1"), slow("1"), slow("2"))
        await slow("1")

    stage = play(body)
    runs = [one for ds in stage.decisions for one in ds if isinstance(one, RunStep)]
    assert [(one.arguments, one.repeat) for one in runs] == [
        (b'"1"', 0),
        (b'"1"', 1),
        (b'"2"', 0),
        (b'"1"', 2),
    ]


def test_at_most_once_is_recorded_before_it_is_handed_out() -> None:
    @step(at_most_once=True)
    async def charge(cents: int) -> int:
        return cents

    @task
    async def body() -> int:
        return await charge(5)

    assert play(body).kinds == [
        Kind.STARTED,
        Kind.STEP_STARTED,
        Kind.STEP_FINISHED,
    ]


# --- cancels ------------------------------------------------------------------------------------


def ended_at(stage: Stage) -> int:
    return stage.events[-1].at - stage.events[0].at


def canceled_body() -> Any:
    @task
    async def body() -> str:
        try:
            await slow("9")
        except asyncio.CancelledError:
            return "canceled"
        return "went on"

    return body


def test_a_cancel_reaches_the_body_only_after_the_step_in_flight_has_ended() -> None:
    stage = play(canceled_body(), script=Script(took=by_value, cancel_at=3, stops=False))
    assert stage.output == "canceled"
    assert ended_at(stage) == 9
    assert stage.kinds == [
        Kind.STARTED,
        Kind.CANCEL_REQUESTED,
        Kind.STEP_FINISHED,
    ]
    assert CancelStep(1) in stage.decisions[1]


def test_a_step_that_stops_when_it_is_told_ends_the_wait_early() -> None:
    stage = play(canceled_body(), script=Script(took=by_value, cancel_at=3, stops=True))
    assert (stage.output, ended_at(stage)) == ("canceled", 4)


def test_an_uncaught_cancel_ends_the_run_canceled() -> None:
    @task
    async def body() -> None:
        await slow("9")

    stage = play(body, script=Script(took=by_value, cancel_at=3))
    assert stage.end is not None
    assert stage.end.status == Status.CANCELED
    assert stage.execution.cancel_requested


def test_a_time_limit_reaches_the_body_only_after_the_step_in_flight_has_ended() -> None:
    @task
    async def body() -> str:
        try:
            async with asyncio.timeout(0.003):
                return await slow("9")
        except TimeoutError:
            return "too late"

    stage = play(body, script=Script(took=by_value, stops=False))
    assert (stage.output, ended_at(stage)) == ("too late", 9)


def test_a_step_in_back_off_is_given_up_at_once() -> None:
    @task
    async def body() -> str:
        try:
            async with asyncio.timeout(0.5):
                return str(await flaky(2))
        except TimeoutError:
            return "too late"

    stage = play(body, script=took(10))
    assert (stage.output, ended_at(stage)) == ("too late", 500)
    assert stage.calls == ["flaky"]
    assert not any(isinstance(one, CancelStep) for ds in stage.decisions for one in ds)


def test_a_step_in_its_second_attempt_is_in_flight_again() -> None:
    @task
    async def body() -> str:
        try:
            async with asyncio.timeout(1.015):
                return str(await flaky(2))
        except TimeoutError:
            return "too late"

    stage = play(body, script=took(10))
    assert (stage.output, ended_at(stage)) == ("too late", 1_020)
    assert stage.calls == ["flaky", "flaky"]
    assert stage.events[-1].kind == Kind.STEP_FAILED


def test_an_operation_canceled_between_its_scheduling_and_its_first_run_is_settled() -> None:
    @task
    async def body() -> list[str]:
        task = asyncio.create_task(slow("5"))
        task.cancel()
        ends = await asyncio.gather(task, return_exceptions=True)
        return [type(ends[0]).__name__, await slow("1")]

    stage = play(body, script=Script(took=by_value))
    assert stage.output == ["CancelledError", "1"]
    assert [type(one).__name__ for one in stage.decisions[0]] == ["RunStep", "CancelStep"]
    assert stage.calls == ["slow"], "it was not handed out"


def test_finally_blocks_may_await_steps_after_a_cancel() -> None:
    @task
    async def body() -> None:
        try:
            await slow("9")
        finally:
            await slow("2")

    stage = play(body, script=Script(took=by_value, cancel_at=3))
    assert stage.end is not None
    assert stage.end.status == Status.CANCELED
    assert stage.calls == ["slow", "slow"]


def test_a_late_completion_is_dropped_the_same_way_on_replay() -> None:
    @task
    async def body() -> str:
        task = asyncio.create_task(flaky(1))
        await slow("1")
        await asyncio.sleep(0.1)
        task.cancel()
        await asyncio.wait([task])
        return await slow("2")

    stage = Stage(body, script=took(10)).start()
    for _ in range(3):
        stage.advance()
    late = stage.events[1].but(kind=Kind.STEP_FINISHED, data=b"1", ordinal=1)
    stage.deliver(late)  # the back-off was given up; its attempt comes in all the same
    stage.play()
    assert stage.output == "2"
    check_replays(stage)


def test_a_call_that_was_refused_is_refused_on_a_replay_too() -> None:
    @step
    async def half(x: float) -> float:
        return x / 2

    @task
    async def body() -> list[str]:
        seen: list[str] = []
        for x in (float("nan"), 3.0, float("inf"), 5.0):
            try:
                seen.append(str(await half(x)))
            except PayloadError as error:
                seen.append(type(error).__name__)
        return seen

    stage = play(body)
    assert stage.output == ["PayloadError", "1.5", "PayloadError", "2.5"]
    assert stage.execution.ordinal == 2


# --- outside bodies -----------------------------------------------------------------------------


def test_outside_any_body_awaiting_a_step_just_runs_it() -> None:
    @step
    def double(n: int) -> int:
        return n * 2

    async def main() -> tuple[int, str]:
        return await double(2), await slow("a")

    assert asyncio.run(main()) == (4, "a")


def test_an_operation_awaited_twice_is_an_error() -> None:
    @task
    async def body() -> str:
        call = slow("1")
        await call
        with pytest.raises(RuntimeError, match=r"a step was awaited twice \(.*test_steps.py:\d+\)"):
            await call
        return "refused"

    assert play(body).output == "refused"
