"""Samples with hooks: of every end, of a wait, and of one that fails."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import Iterator
from typing import Any, Final

import wf
from wf.engine.registry import Registry
from wf.history.events import Kind
from wf.history.hooks import STARTED, is_of_hooks
from wf.history.ids import show
from wf.testing.ledger import note

RETRY: Final = wf.Retry(max_attempts=3, min_delay="1s", jitter=False)


@wf.step(retry=RETRY)
async def hear(event: Any) -> None:
    note()


@wf.step(retry=wf.Retry(max_attempts=1))
async def refuse(event: Any) -> None:
    note()
    raise ConnectionError("the chat is down")


@wf.step(retry=RETRY)
async def prepare() -> int:
    note()
    return 4


@wf.step(retry=wf.Retry(max_attempts=4, min_delay="1s"))
def told(event: Any) -> None:
    note()


HOOKS: Final[dict[str, Any]] = {
    "on_start": hear,
    "on_wait": hear,
    "on_resume": hear,
    "on_success": hear,
    "on_complete": refuse,
}


@wf.task(on_failure=hear, retry=wf.Retry(max_attempts=2, min_delay="1s", jitter=False))
async def fails() -> None:
    await prepare()
    await go_on()


@wf.step(retry=wf.Retry(max_attempts=1))
async def go_on() -> None:
    note()
    raise ValueError("no")


@wf.task(on_cancel=hear, on_start=hear)
async def never() -> None: ...


@wf.task(**HOOKS)
async def hooked() -> list[Any]:
    """A wait, a child that fails, one that is canceled before it begins."""
    done: list[Any] = [await prepare()]
    await wf.wait.for_("1s")
    try:
        await fails()
    except wf.RunFailed as error:
        done.append(error.type)
    try:
        await asyncio.wait_for(never.trigger_and_wait(delay="1d"), 1)
    except TimeoutError:
        done.append("timed out")
    return done


TASKS: Final = (hear, refuse, prepare, fails, go_on, never)


def hook_breaches(store: Any, registry: Registry) -> Iterator[str]:
    """Of every run that ended in a way that its task has hooks for there is one hook run that tells
    of it, and else none; those of other moments are the recorded ones; a start is told once."""
    ids = [row[0] for row in store._query("SELECT id FROM runs ORDER BY id", ())]
    runs = list(store.get_runs(ids).values())
    told: defaultdict[bytes, dict[bytes, str]] = defaultdict(dict)
    for run in runs:
        if is_of_hooks(run.task) and run.parent_id is not None:
            told[run.parent_id][run.id] = json.loads(run.payload)["moment"]
    for run in runs:
        ends = int(run.status.ended and bool(registry.hooks_of(run.task).of(run.status)))
        rows = [event for _, event in store.history(run.id) if event.kind == Kind.HOOKED]
        recorded = {event.data: event.name for event in rows if event.data is not None}
        found = {id: moment for id, moment in told[run.id].items() if moment != run.status}
        if len(told[run.id]) - len(found) != ends or found != recorded:
            shown = f"{run.task} {show('run', run.id)}, {run.status}"
            yield f"{shown}, told hooks of {found}, and recorded {recorded}"
        if [*found.values()].count(STARTED) > 1:
            yield f"{run.task} {show('run', run.id)} told hooks twice of its start"
