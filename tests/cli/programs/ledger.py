"""Steps that write into a file outside what they did: the witness of the tests."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import BaseModel

import wf


class Plan(BaseModel):
    ledger: str
    steps: int = 3
    wait: str = "50ms"
    hold: bool = False
    """The last step does not end until the file `<ledger>.go` is there."""


def note(path: str, line: str) -> None:
    with Path(path).open("a") as file:
        file.write(line + "\n")


@wf.step
def work(plan: Plan, number: int) -> int:
    note(plan.ledger, f"begin {number}")
    if plan.hold and number == plan.steps:
        note(plan.ledger, f"held {os.getpid()}")
        wait_for(f"{plan.ledger}.go")
    note(plan.ledger, f"end {number}")
    return number


def wait_for(path: str) -> None:
    from threading import Event

    pause = Event()
    while not Path(path).exists():
        pause.wait(0.01)


@wf.task
async def child(plan: Plan) -> int:
    await wf.wait.for_(plan.wait)
    return await work(plan, 0)


@wf.task
async def ledger(plan: Plan) -> int:
    total = await child(plan)
    for number in range(1, plan.steps + 1):
        total += await work(plan, number)
        await wf.wait.for_(plan.wait)
    return total


@wf.task
async def sleeper(plan: Plan) -> str:
    await work(plan, 1)
    await wf.wait.for_("1h")
    await work(plan, 2)
    return "awake"
