"""The tasks that the mission's tests run, as a user would write them."""

from __future__ import annotations

import asyncio
import os
import threading
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import BaseModel

import wf


def note(line: str) -> None:
    """Into the ledger that WF_LEDGER names: what really happened, outside of wf."""
    path = os.environ.get("WF_LEDGER")
    if path:
        with Path(path).open("a") as ledger:
            ledger.write(line + "\n")


class User(BaseModel):
    user_id: str
    email: str


class Decision(BaseModel):
    approved: bool
    by: str


@wf.step(retry=wf.Retry(max_attempts=5, factor=1.8, min_delay="10ms", max_delay="30ms"))
async def send_email(user: User, template: str) -> str:
    note(f"{template} to {user.email}")
    return f"{template} to {user.email}"


@wf.step
def count_words(text: str) -> int:
    note(f"count {text}")
    return len(text.split())


@wf.step(retry=wf.Retry(max_attempts=3, min_delay="10ms"))
async def flaky(failures: int) -> int:
    """Fails so many times, then answers which attempt it is."""
    step = wf.current().step
    assert step is not None
    note(f"attempt {step.attempt} {step.idempotency_key}")
    if step.attempt <= failures:
        raise ConnectionError("the vendor is down")
    return step.attempt


@wf.step
def die_once(marker: str) -> str:
    """Kills its worker the first time, the hard way."""
    note("die_once")
    path = Path(marker)
    if not path.exists():
        path.touch()
        os.kill(os.getpid(), 9)
    return "survived"


@wf.step
async def slow(seconds: float) -> str:
    await asyncio.sleep(seconds)
    return "done"


@wf.task
async def onboarding(user: User) -> str:
    await send_email(user, "welcome")
    await wf.wait.for_(days=1)
    await send_email(user, "tips")
    await wf.wait.until(wf.now() + timedelta(days=7))
    return await send_email(user, "offer")


@wf.task
async def short_wait(user: User) -> str:
    before = await send_email(user, "before")
    await wf.wait.for_(milliseconds=300)
    return before + ", " + await send_email(user, "after")


@wf.task
async def wait_until(moment: datetime) -> bool:
    await wf.wait.until(moment)
    return wf.now() >= moment


@wf.task
async def crashing(marker: str) -> list[str]:
    first = await send_email(User(user_id="1", email="a@x"), "first")
    second = await die_once(marker)
    return [first, second]


@wf.task
async def approval(draft: str) -> str:
    words = await count_words(draft)
    token = await wf.wait.create_token(Decision, timeout="7d")
    decision = await wf.wait.for_token(token)
    assert isinstance(decision, Decision)
    return f"{words} words, {'published' if decision.approved else 'dropped'} by {decision.by}"


@wf.task
async def impatient(draft: str) -> str:
    token = await wf.wait.create_token(Decision, timeout="200ms")
    try:
        await wf.wait.for_token(token)
    except wf.TokenTimedOut:
        return f"{draft} was not looked at"
    return "looked at"


@wf.task
async def child(text: str) -> int:
    await wf.wait.for_(milliseconds=100)
    return await count_words(text)


@wf.task
async def held_child(text: str) -> int:
    await wf.wait.for_message("go")
    return await count_words(text)


@wf.task
async def parent_waits(text: str) -> int:
    return await held_child.trigger_and_wait(text) + 1


@wf.task
async def parent_goes_on(text: str) -> str:
    handle = await child.trigger(text)
    note("went on")
    return handle.id


@wf.task
async def reads_another(text: str) -> int:
    handle = await child.trigger(text)
    return await handle.result()


@wf.task
async def failing_child(text: str) -> int:
    raise ValueError(f"cannot count {text}")


@wf.task
async def parent_of_failing(text: str) -> str:
    try:
        await failing_child.trigger_and_wait(text)
    except wf.RunFailed as error:
        return f"{error.type}: {error.message}"
    return "no error"


@wf.task
async def uses_flaky(failures: int) -> int:
    return await flaky(failures)


attempts: list[int] = []


@wf.task(retry=wf.Retry(max_attempts=3, min_delay="10ms", fresh=True))
async def fails_twice(text: str) -> int:
    attempt = wf.current().run.attempt
    await count_words(text)
    if attempt < 3:
        raise ConnectionError(f"attempt {attempt}")
    return attempt


@wf.task(retry=wf.Retry(max_attempts=4, min_delay="10ms"))
async def goes_on(text: str) -> int:
    words = await count_words(text)
    return words + await third_time_lucky(wf.uuid4().hex)


@wf.step
def unhurried(text: str) -> int:
    """Cannot be interrupted: it ends after the other one has failed."""
    note("unhurried")
    threading.Event().wait(0.3)
    return len(text)


@wf.task(retry=wf.Retry(max_attempts=4, min_delay="10ms"))
async def side_by_side(text: str) -> int:
    try:
        async with asyncio.TaskGroup() as group:
            length = group.create_task(unhurried(text))
            lucky = group.create_task(third_time_lucky(wf.uuid4().hex))
    except BaseException:
        await count_words("cleaned up")
        raise
    return length.result() + lucky.result()


seen: dict[str, int] = {}


@wf.step(retry=wf.Retry(max_attempts=1))
async def third_time_lucky(key: str) -> int:
    note("third_time_lucky")
    seen[key] = seen.get(key, 0) + 1
    if seen[key] < 3:
        raise ConnectionError("not yet")
    return seen[key]


@wf.task(max_duration="400ms")
async def bounded(seconds: float) -> str:
    await wf.wait.for_(milliseconds=600)
    return await slow(seconds)


@wf.task
async def patient(days: int) -> int:
    for _ in range(days):
        await wf.wait.for_(days=1)
    return days
