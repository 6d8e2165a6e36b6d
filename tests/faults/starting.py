"""Steps of plans that start runs, and whether each of those was started once."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from typing import Any, Final

import wf
from wf.history.events import Kind
from wf.history.ids import show
from wf.history.model import Run
from wf.testing import programs
from wf.testing.ledger import note
from wf.testing.programs import STARTS, Call, Order, started

RETRY: Final = wf.Retry(max_attempts=4, min_delay="2s", max_delay="10s")


@wf.step(retry=RETRY)
async def starts(value: int, fails: int) -> list[str]:
    note()
    return await programs.start.fn(Order(name=value, ms=0, fails=fails))


@wf.step(retry=RETRY)
def starts_plain(value: int, fails: int) -> list[str]:
    note()
    return programs.start_plain.fn(Order(name=value, ms=0, fails=fails))


async def start(value: int, fails: int, plain: bool) -> str:
    """Which cannot reach the store at times."""
    try:
        return f"started {len(await (starts_plain if plain else starts)(value, fails))}"
    except wf.StepFailed as error:
        return error.type


_STARTING: Final = {one.id for one in (programs.start, programs.start_plain, starts, starts_plain)}


def start_breaches(store: Any, runs: Mapping[bytes, Run]) -> Iterator[str]:
    """No run is started twice (but by a task that is tried again from an empty history), and those
    that a step answered are there, below its run."""
    below: defaultdict[bytes, list[Call]] = defaultdict(list)
    for run in runs.values():
        if run.task == started.id:
            below[run.parent_id or b""].append(Call.model_validate_json(run.payload))
    for parent, calls in below.items():
        begins = {event.at for _, event in store.history(parent) if event.kind == Kind.STARTED}
        for call, count in Counter((call.key, call.place) for call in calls).items():
            if count > len(begins):
                yield f"{call} was started {count} times"
    shown = {show("run", run_id): run for run_id, run in runs.items()}
    for run in runs.values():
        for _, event in store.history(run.id):
            if event.kind == Kind.STEP_FINISHED and event.name in _STARTING:
                told = [shown.get(run_id) for run_id in json.loads(event.data or b"")]
                there = [one for one in told if one is not None and one.task == started.id]
                if len(there) != STARTS or {one.parent_id for one in there} != {run.id}:
                    yield f"{run.task} {show('run', run.id)} started {told}"
