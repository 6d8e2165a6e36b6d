"""How a history goes on after an attempt that failed, and after a restart; and what a body may know
of the run in whose chapter it is."""

from __future__ import annotations

import json
from typing import Any

from wf.engine.attempts import Arrivals
from wf.engine.core.decisions import End, Restart
from wf.engine.core.execution import Execution
from wf.engine.core.info import RunInfo
from wf.history.events import Event, Kind
from wf.history.limits import KEPT_CHAPTERS
from wf.history.messages import Sent
from wf.history.model import Run
from wf.history.sealing import is_sealed
from wf.history.turns import NextChapter


def options_of(run: Run) -> dict[str, Any]:
    """What its trigger was told, beside the payload. Of sealed ones nothing: such a run does not
    begin."""
    if run.options == b"{}" or is_sealed(run.options):
        return {}
    return json.loads(run.options)


def begun(python: str, at: int, restarts: int, payload: bytes) -> Event:
    """The first event of a chapter that keeps nothing."""
    data = payload if restarts else None
    return Event(0, Kind.STARTED, 0, at, python, attempt=restarts, data=data)


def restarted(run: Run, info: RunInfo, restart: Restart, python: str, at: int) -> NextChapter:
    """From nothing, as a first attempt. Old chapters are kept for people, the last few."""
    number = run.chapter + 1
    started = begun(python, at, info.restarts + 1, restart.payload)
    oldest = max(1, number - KEPT_CHAPTERS)
    return NextChapter(number, 1, 1, events=[started], oldest=oldest)


def tried_afresh(run: Run, info: RunInfo, python: str, due_at: int) -> NextChapter:
    started = begun(python, due_at, info.restarts, info.payload)
    return NextChapter(run.chapter + 1, 1, run.attempt + 1, events=[started])


def tried_again(
    run: Run, execution: Execution, arrivals: Arrivals, end: End, at: int, due_at: int
) -> NextChapter:
    """The next attempt goes on, at `due_at`, from what the one that failed at `at` had seen. What
    it had sent is sent, whether it was told so or not."""
    issued = execution.issued_when.get(end.failed, 0)
    before, forget, events = arrivals.kept(end.failed, issued, execution.waits)
    sent = [
        ordinal
        for ordinal in forget
        if execution.waits.get(ordinal) == Kind.SEND_SETTLED and ordinal <= issued
    ]
    events += [
        Event(0, Kind.SEND_SETTLED, ordinal, at, Sent.SENT.name)
        for ordinal in sent
        if ordinal != end.failed
    ]
    attempt = run.attempt + 1
    events.append(Event(0, Kind.ATTEMPT_STARTED, 0, due_at, attempt=attempt))
    kept = [ordinal for ordinal in forget if ordinal not in sent]
    return NextChapter(run.chapter + 1, before, attempt, kept, events)


def run_info(run: Run, started: Event | None = None) -> RunInfo:
    """What the body may know of its run. `started`: the event with which the chapter begins, which
    after a restart has a payload of its own."""
    restarts, payload = (started.attempt, started.data) if started is not None else (0, None)
    return RunInfo(
        id=run.id,
        task=run.task,
        payload=run.payload if payload is None else payload,
        restarts=restarts,
        environment=run.environment,
        chapter=run.chapter,
        attempt=run.attempt,
        created_at=run.created_at,
        tags=tuple(run.tags),
        parent_id=run.parent_id,
        root_id=run.root_id,
        version=run.version,
        queue=run.queue,
        options=run.options,
    )
