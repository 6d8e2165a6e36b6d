"""Tasks whose every value is a secret."""

from __future__ import annotations

import contextlib
from typing import Any

from pydantic import BaseModel

import wf

CANARY = "canary-5e1f"


class Person(BaseModel):
    name: str


@wf.step
async def told(name: str) -> str:
    wf.metadata.set("step", {"name": name})
    wf.stream("words").append(name)
    return name


@wf.step
async def in_its_transaction(name: str) -> str:
    async with wf.transaction():
        return name


@wf.step(retry=wf.Retry(max_attempts=2, min_delay=0, jitter=False))
async def raises(name: str) -> None:
    raise ValueError(name)


@wf.task
async def child(name: str) -> str:
    return name


@wf.task
async def everything(name: str) -> list[str]:
    wf.metadata.set("body", {"name": name})
    first = await told(name)
    second = await in_its_transaction(name)
    third = await child.trigger_and_wait(name)
    with contextlib.suppress(wf.StepFailed):
        await raises(name)
    token = await wf.wait.create_token(Person)
    person = await wf.wait.for_token(token)
    asked = await wf.wait.for_message("question", Person)
    return [first, second, third, person.name, asked.name]


@wf.task
async def fails(name: str) -> None:
    await child.trigger_and_wait(name)
    raise ValueError(name)


@wf.task
async def ticked(tick: wf.ScheduleTick) -> None: ...


@wf.task
async def asks(name: str) -> str:
    token = await wf.wait.create_token(str)
    await told(name)
    return f"{name}: {await wf.wait.for_token(token)}"


@wf.task
async def doubled(value: int) -> Any:
    return 2 * value


HEARD: list[object] = []
"""What hooks were told."""


def hears(event: wf.Started | wf.Waiting | wf.Resumed) -> None:
    HEARD.append(event.payload)


def hears_of_a_failure(event: wf.Failed) -> None:
    HEARD.append(event.error.message)
    raise ValueError(f"cannot tell of {event.error.message}")


@wf.task(
    on_start=hears,
    on_wait=hears,
    on_resume=hears,
    on_failure=wf.step(hears_of_a_failure, id="tells", retry=wf.Retry(max_attempts=1)),
)
async def hooked(person: Person) -> None:
    await wf.wait.for_message("go", str)
    raise ValueError(person.name)


@wf.task
async def member(name: str) -> str:
    if name.endswith("!"):
        raise ValueError(name)
    return name


@wf.task
async def batched(name: str) -> list[str]:
    items = [name, wf.Item(f"{name}!", metadata={"name": name}), wf.Item(name, idempotency_key="k")]
    ends = await member.batch_trigger_and_wait(items, return_exceptions=True)
    batch = await member.batch_trigger([name] * 2)
    return [str(end) for end in ends] + await batch.results()
