"""I6: every history replays on this code to the same decisions. `wf audit --replay`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Final

from msgspec.structs import replace

from wf.engine.chapters import run_info
from wf.engine.core.decisions import (
    AwaitBatch,
    AwaitMessage,
    AwaitRun,
    AwaitToken,
    CreateToken,
    Decision,
    End,
    Noted,
    Patched,
    Restart,
    SendMessage,
    TriggerBatch,
    TriggerChild,
)
from wf.engine.core.index import is_new_fork
from wf.engine.core.replay import replay
from wf.engine.parking import was_dropped
from wf.engine.registry import Registry
from wf.engine.silence import silent
from wf.history.audit import Breach
from wf.history.errors import NonDeterminism
from wf.history.events import CHAPTER_ENDS, UNKNOWN_DIGEST, Event, Kind, Status
from wf.history.ids import show
from wf.history.model import Run
from wf.history.sealing import is_sealed
from wf.history.store import Store, query_of

PAGE_RUNS: Final = 100
"""Runs that are looked at in one go; each one's history is read by itself."""
_RECORDED: Final = (
    TriggerChild
    | AwaitRun
    | TriggerBatch
    | AwaitBatch
    | CreateToken
    | AwaitToken
    | AwaitMessage
    | SendMessage
    | Patched
    | Noted
)
"""Decisions that are written together with the fact that they follow from."""


def replay_all(store: Store, registry: Registry) -> list[Breach]:
    """Replay the runs of all tasks that the registry knows. Raises StoreUnavailable."""
    found: list[Breach] = []
    for run in _runs(store, registry):
        shown = show("run", run.id)
        for chapter, rows in groupby(store.history(run.id), key=lambda row: row[0]):
            events = [event for _, event in rows]
            found += [
                Breach("I6", shown, what) for what in _of_chapter(run, chapter, events, registry)
            ]
    return found


def _runs(store: Store, registry: Registry) -> Iterator[Run]:
    query = query_of(store)
    last = b""
    while rows := query(f"SELECT id FROM runs WHERE id > ? ORDER BY id LIMIT {PAGE_RUNS}", [last]):
        ids = [bytes(row[0]) for row in rows]
        last = ids[-1]
        runs = store.get_runs(ids)
        yield from (runs[id] for id in ids if id in runs and runs[id].task in registry)


def _of_chapter(run: Run, chapter: int, events: list[Event], registry: Registry) -> Iterator[str]:
    if events[0].kind != Kind.STARTED:
        return  # it ended before it began
    if chapter == 1 and is_new_fork(events):
        return  # what its body decides on what it was given is not written yet
    if was_dropped(events[-1]):
        return  # it may have been parked because it does not replay
    if chapter != run.chapter and events[-1].kind not in CHAPTER_ENDS:
        return  # all but its beginning was dropped by restarts
    attempt = run.attempt if chapter == run.chapter else events[-1].attempt
    info = replace(run_info(run, events[0]), chapter=chapter, attempt=attempt)
    try:
        with silent():
            execution, pending = replay(registry.get(run.task), info, events)
            execution.close()
    except NonDeterminism as error:
        yield str(error)
        return
    except Exception as error:
        yield f"chapter {chapter} cannot be replayed: {type(error).__name__}: {error}"
        return
    is_known = events[0].digest != UNKNOWN_DIGEST and not is_sealed(run.output)
    yield from _compare(pending, events[-1], run.output if is_known else None)


def _compare(pending: Sequence[Decision], last: Event, output: bytes | None) -> Iterator[str]:
    """What is decided now, and stands in no row. `output`: the run's, where it is known."""
    for decision in pending:
        if isinstance(decision, _RECORDED):
            yield f"it decides {decision!r} now, which its history does not have"
    again = next((one for one in pending if isinstance(one, Restart)), None)
    if last.kind == Kind.RESTARTED:
        if again is None or last.digest not in (again.digest, UNKNOWN_DIGEST):
            yield "it restarted, and replayed it does not, or not with this payload"
        return
    if again is not None:
        yield "it did not restart, and replayed it does"
    end = next((one for one in pending if isinstance(one, End)), None)
    if last.kind == Kind.ENDED:
        if last.name == Status.COMPLETED and (end is None or output not in (None, end.output)):
            now = "nothing" if end is None else f"{end.status} with another output"
            yield f"it COMPLETED, and replayed it comes to {now}"
        elif (
            last.name == Status.FAILED
            and end is not None
            and end.status != Status.FAILED
            and not end.never_awaited
        ):
            yield f"it FAILED, and replayed it comes to {end.status}"
    elif end is not None and last.kind != Kind.ATTEMPT_FAILED:
        yield f"it is live, and replayed it comes to {end.status}"
