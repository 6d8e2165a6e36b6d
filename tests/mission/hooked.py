"""Tasks whose hooks write down what they are told."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass
from typing import Any

import wf

TOLD: list[tuple[str, Any]] = []
"""(hook, event), in the order in which they were told."""


def told(run_id: str) -> list[str]:
    """The hooks that were told of a run."""
    return [name for name, event in TOLD if event.ctx.run.id == run_id]


def event(run_id: str, name: str) -> Any:
    [found] = [event for hook, event in TOLD if hook == name and event.ctx.run.id == run_id]
    return found


def on_start(event: wf.Started) -> None:
    TOLD.append(("on_start", event))


def on_wait(event: wf.Waiting) -> None:
    TOLD.append(("on_wait", event))


def on_resume(event: wf.Resumed) -> None:
    TOLD.append(("on_resume", event))


async def on_success(event: wf.Succeeded[Any]) -> None:
    await asyncio.sleep(0)
    TOLD.append(("on_success", event))


def on_failure(event: wf.Failed) -> None:
    TOLD.append(("on_failure", event))


def on_cancel(event: wf.Canceled) -> None:
    TOLD.append(("on_cancel", event))


async def on_complete(event: wf.Completed[Any]) -> None:
    TOLD.append(("on_complete", event))


HOOKS: dict[str, Any] = {
    "on_start": on_start,
    "on_success": on_success,
    "on_failure": [on_failure],
    "on_cancel": on_cancel,
    "on_complete": on_complete,
}


@dataclass
class User:
    name: str


@wf.step(retry=wf.Retry(max_attempts=1))
def charge(amount: int) -> int:
    if amount > 100:
        raise ValueError("too much")
    return amount


@wf.step(**HOOKS)
def counted(words: str) -> int:
    return len(words.split())


@wf.task(**HOOKS)
async def greet(user: User) -> str:
    return f"hello {user.name}"


@wf.task(**HOOKS)
async def buy(user: User, amount: int) -> int:
    return await charge(amount)


@wf.task(**HOOKS, retry=wf.Retry(max_attempts=3, min_delay="1ms"))
async def buy_again(amount: int) -> int:
    return await charge(amount)


@wf.step
async def work() -> None:
    await asyncio.sleep(60)


@wf.task(**HOOKS, max_duration="50ms")
async def too_long() -> None:
    await work()


@wf.task(**HOOKS)
async def sleeps() -> None:
    await wf.wait.for_(days=1)


@wf.task(**HOOKS)
async def calls_a_step_with_hooks() -> int:
    return await counted("a b c")


@wf.task(**HOOKS, on_wait=on_wait, on_resume=on_resume)
async def waits(times: int) -> str:
    for _ in range(times):
        await wf.wait.for_message("go")
    return "done"


@wf.task(on_wait=on_wait, on_resume=on_resume)
async def waits_for_two() -> None:
    await asyncio.gather(wf.wait.for_message("a"), wf.wait.for_message("b"))


def refuses(event: Any) -> None:
    TOLD.append(("refuses", event))
    raise ConnectionError("the chat is down")


@wf.task(on_success=[refuses, on_success], on_complete=on_complete)
async def told_badly() -> str:
    return "fine"


@wf.step(retry=wf.Retry(max_attempts=3, min_delay="1ms"), queue="its own")
def stubborn(event: Any) -> None:
    TOLD.append((f"attempt {wf.current().step.attempt}", event))  # type: ignore[union-attr]
    raise ConnectionError("down")


@wf.task(on_success=stubborn)
async def told_again() -> None: ...


GO = threading.Event()


def waits_to_be_told(event: wf.Started) -> None:
    GO.wait(60)
    TOLD.append(("slow start", event))


@wf.task(on_start=waits_to_be_told, on_success=on_success)
async def told_late() -> None: ...


@wf.task
async def decorated(amount: int) -> int:
    return await charge(amount)


@decorated.on_start
def says_start(event: wf.Started) -> None:
    TOLD.append(("says_start", event))


@decorated.on_failure
async def says_failure(event: wf.Failed) -> None:
    TOLD.append(("says_failure", event))


@decorated.on_success
def says_success(event: wf.Succeeded[int]) -> None:
    TOLD.append(("says_success", event))
