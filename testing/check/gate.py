"""Histories under way against the code on disk: which runs would be parked, or fail, once this code
is deployed. Nothing is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from wf.engine.chapters import run_info
from wf.engine.core.decisions import Decision, End
from wf.engine.core.replay import replay
from wf.engine.core.runnable import Runnable
from wf.engine.registry import Registry
from wf.engine.silence import silent
from wf.history.blobs import whole_run
from wf.history.errors import NonDeterminism
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import show
from wf.history.model import Run, RunFilter
from wf.history.store import Store

PAGE_RUNS: Final = 100
"""Runs in one look; each one's history is read by itself."""
LIVE: Final = tuple(status for status in Status if not status.ended)


@dataclass(frozen=True, slots=True)
class Misfit:
    """A run that this code does not fit. `reason`: nondeterminism, fails, payload, unknown-task,
    blocks (its body comes to no end) or crashes (it ends the process)."""

    run: str
    task: str
    reason: str
    detail: str


def runs_of(
    store: Store, environment: str, *, ended: bool, before: bytes | None = None
) -> Iterator[Run]:
    """Newest first: those that have not ended, or all. `before`: only those with a smaller id."""
    wanted = () if ended else LIVE
    while True:
        page = store.list_runs(
            RunFilter(environment=environment, status=wanted, before=before, limit=PAGE_RUNS)
        )
        yield from page
        if len(page) < PAGE_RUNS:
            return
        before = page[-1].id


def misfit(store: Store, run: Run, registry: Registry) -> Misfit | None:
    """None: this code would go on with it. Raises StoreUnavailable."""
    shown = show("run", run.id)
    if run.task not in registry:
        known = ", ".join(sorted(registry.ids)[:SHOWN_TASKS]) or "none"
        told = f"no task {run.task!r} here (there are {known}): keep it until its runs have ended"
        return Misfit(shown, run.task, "unknown-task", told)
    run = whole_run(run, store.fetch)
    runnable = registry.get(run.task)
    events = [event for _, event in store.history(run.id, run.chapter)]
    if not events or events[0].kind != Kind.STARTED:
        return None if run.status.ended else _payload_misfit(shown, run, runnable)
    try:
        with silent():
            execution, pending = replay(runnable, run_info(run, events[0]), events)
            execution.close()
    except NonDeterminism as error:
        return Misfit(shown, run.task, "nondeterminism", str(error))
    except Exception as error:
        told = f"its history cannot be replayed: {type(error).__name__}: {error}"
        return Misfit(shown, run.task, "nondeterminism", told)
    return _failure(shown, run, events[-1], pending)


SHOWN_TASKS: Final = 8
"""Names in a message."""


def _payload_misfit(shown: str, run: Run, runnable: Runnable[..., Any]) -> Misfit | None:
    """A run that has not begun yet: its payload has to fit the annotations."""
    try:
        runnable.signature.decode_call(run.payload)
    except Exception as error:
        return Misfit(shown, run.task, "payload", str(error))
    return None


def _failure(shown: str, run: Run, last: Event, pending: Iterable[Decision]) -> Misfit | None:
    """What the history does not have: that the body fails with what it has been told."""
    if last.kind in (Kind.ENDED, Kind.ATTEMPT_FAILED) and last.name != Status.COMPLETED:
        return None
    end = next((one for one in pending if isinstance(one, End)), None)
    if end is None or end.status != Status.FAILED:
        return None
    failure = Failure.decode(end.failure)
    told = f"replayed, its body raises {failure.type}: {failure.message}\n{failure.traceback}"
    return Misfit(shown, run.task, "fails", told.rstrip())
