"""A decision on failure: `Retry(decide=…)`, and RetryAfter at a moment."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import pytest

import wf
from tests.observing import ended

SEEN: list[tuple[str, int]] = []
"""(error, attempt), as `decide` is asked."""
ANSWERS: list[Any] = []
"""What it says, in order; then None."""


class CardError(Exception):
    pass


def decide(error: Exception, attempt: int) -> Any:
    SEEN.append((f"{type(error).__name__}: {error}", attempt))
    answer = ANSWERS.pop(0) if ANSWERS else None
    if isinstance(answer, ZeroDivisionError):
        raise answer
    return answer


RETRY = wf.Retry(max_attempts=3, min_delay="1ms", give_up_on=(CardError,), decide=decide)


@wf.step(retry=RETRY)
def charge(kind: str) -> None:
    raise CardError("declined") if kind == "card" else ConnectionError("down")


@wf.step
def plain() -> None:
    raise ConnectionError("down")


@wf.step(executor="process", retry=RETRY)
def away() -> None:
    raise ConnectionError("down")


@wf.step(retry=wf.Retry(max_attempts=2))
def later(at: datetime) -> str:
    step = wf.current().step
    if step is not None and step.attempt == 1:
        raise wf.RetryAfter(at)
    return "served"


@wf.task(retry=RETRY)
async def shop() -> None:
    await plain()


TASKS = [charge, plain, away, later, shop]


@pytest.fixture(autouse=True)
def _fresh() -> None:
    SEEN.clear()
    ANSWERS.clear()


async def run(
    database: str, task: Any, *payload: Any, config: wf.Config | None = None
) -> tuple[str, list[wf.EventView]]:
    """How it failed ("CardError: declined"), and its failed attempts."""
    async with wf.Engine(database, TASKS, config=config):
        client = wf.client()
        handle = await task.trigger(*payload)
        error = ended(client, handle.id).error
        assert error is not None
        rows = client.runs.history(handle.id)
        return f"{error.type}: {error.message}", [one for one in rows if "FAILED" in one.kind]


async def test_none_leaves_it_to_the_policy(database: str) -> None:
    error, _ = await run(database, charge, "net")
    assert error == "ConnectionError: down"
    assert [attempt for _, attempt in SEEN] == [1, 2, 3]
    SEEN.clear()
    await run(database, charge, "card")
    assert SEEN == [("CardError: declined", 1)]


@pytest.mark.parametrize("answer", [wf.Abort, wf.Abort("no use")])
async def test_abort_makes_it_the_last_attempt_and_leaves_the_error(
    database: str, answer: Any
) -> None:
    ANSWERS[:] = [None, answer]
    error, _ = await run(database, charge, "net")
    assert error == "ConnectionError: down"
    assert len(SEEN) == 2


async def test_retry_after_says_when_whatever_the_policy_gives_up_on(database: str) -> None:
    ANSWERS[:] = [wf.RetryAfter(0.011), wf.RetryAfter(datetime(2020, 1, 1, tzinfo=UTC))]
    error, failed = await run(database, charge, "card")
    assert error == "CardError: declined"
    delays = [one.delay_ms for one in failed if one.kind == "STEP_ATTEMPT_FAILED"]
    assert delays == [11, 0]
    assert len(SEEN) == 3


async def test_another_exception_takes_the_place_of_the_error(database: str) -> None:
    ANSWERS[:] = [TimeoutError("slow"), CardError("stolen")]
    error, failed = await run(database, charge, "net")
    assert error == "CardError: stolen"
    told = [cast("dict[str, str]", one.data)["message"] for one in failed]
    assert told == ["slow", "stolen"]
    assert SEEN == [("ConnectionError: down", 1), ("ConnectionError: down", 2)]


@pytest.mark.parametrize("answer", [ZeroDivisionError("oops"), "later"])
async def test_one_that_fails_is_told_of_and_the_policy_decides(
    database: str, caplog: pytest.LogCaptureFixture, answer: Any
) -> None:
    ANSWERS[:] = [answer]
    with caplog.at_level(logging.ERROR, "wf.run"):
        error, _ = await run(database, charge, "net")
    assert error == "ConnectionError: down"
    assert len(SEEN) == 3
    [line] = [one.getMessage() for one in caplog.records if "decide" in one.getMessage()]
    assert ("oops" in line) or ("'later'" in line)


async def test_a_task_asks_its_own(database: str) -> None:
    ANSWERS[:] = [None, CardError("sold out")]
    config = wf.Config(retries=wf.Retries(wf.Retry(max_attempts=1)))
    error, failed = await run(database, shop, config=config)
    assert error == "CardError: sold out"
    assert [attempt for _, attempt in SEEN] == [1, 2]
    assert SEEN[0][0].startswith("StepFailed: plain failed after 1 attempt")
    assert [one.kind for one in failed].count("ATTEMPT_FAILED") == 1


async def test_it_is_told_of_what_was_raised_in_another_process(database: str) -> None:
    ANSWERS[:] = [wf.Abort]
    await run(database, away)
    assert SEEN == [("StepFailed: ConnectionError: down", 1)]


async def test_the_projects_policy_may_decide_and_is_asked_where_nothing_is_retried(
    database: str,
) -> None:
    ANSWERS[:] = [CardError("told")]
    retries = wf.Retries(wf.Retry(decide=decide), enabled_in_dev=False)
    error, _ = await run(database, plain, config=wf.Config(retries=retries))
    assert error == "CardError: told"
    assert len(SEEN) == 1


async def test_a_step_may_ask_for_a_moment(database: str) -> None:
    at = datetime.now(UTC) + timedelta(milliseconds=50)
    async with wf.Engine(database, TASKS):
        handle = await later.trigger(at)
        assert await handle.result() == "served"
        rows = wf.client().runs.history(handle.id)
    [failed] = [one for one in rows if one.kind == "STEP_ATTEMPT_FAILED"]
    [done] = [one for one in rows if one.kind == "STEP_FINISHED"]
    assert done.at >= at - timedelta(milliseconds=1)
    assert failed.delay_ms <= 50


def test_what_cannot_be_asked_is_refused() -> None:
    async def waits(error: Exception, attempt: int) -> None: ...

    for wrong in (waits, "no"):
        with pytest.raises(wf.DeclarationError, match="decide="):
            wf.Retry(decide=wrong)  # type: ignore[arg-type]
    with pytest.raises(wf.DeclarationError, match="zone"):
        wf.RetryAfter(datetime(2020, 1, 1))  # noqa: DTZ001 - the mistake
