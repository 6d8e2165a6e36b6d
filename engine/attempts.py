"""What becomes of an attempt that failed: of a step, of a task."""

from __future__ import annotations

import logging
from collections.abc import Container, Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any, Final

from msgspec import Struct

from wf.engine.core.decisions import End, Log, RunStep
from wf.engine.core.outcome import failure_of, never_awaited
from wf.engine.core.retry import Elsewhere, Retry
from wf.engine.core.runnable import Runnable
from wf.engine.core.steps import TIMED_OUT
from wf.engine.verdict import judge
from wf.history.errors import StepFailed
from wf.history.events import Event, Failure, Kind, Status
from wf.history.model import Run
from wf.history.notes import Note

ABANDONED: Final = Failure(
    "StepAbandoned", "the step was canceled and did not end within its grace"
)


class StepOutcome(Struct, frozen=True):
    """How an attempt of a step ended: `data` is its encoded result, or `error` what it raised."""

    ordinal: int
    data: bytes | None
    error: BaseException | None
    took_ms: int
    timed_out: bool = False
    is_recorded: bool = False
    """It is in the inbox, written by the step's own transaction."""
    failure: Failure | None = None
    """What is recorded of `error`, where it was raised in another process."""
    notes: Sequence[Note] = ()
    """What it noted, and is not written yet."""

    @property
    def seen(self) -> BaseException | None:
        """What it raised; of one that was raised in another process, what is told of it."""
        if self.failure is None or not isinstance(self.error, Elsewhere):
            return self.error
        told = self.failure
        error = StepFailed(f"{told.type}: {told.message}", type=told.type, traceback=told.traceback)
        error.message = told.message
        return error


def failed_attempt(
    step: RunStep, attempt: int, outcome: StepOutcome, retry: Retry, at: int, random: Random
) -> Event:
    """The fact of it: tried again after a back-off, or failed for good. Its seq is filled in
    later."""
    error = outcome.error
    assert error is not None
    if outcome.timed_out:
        failure = Failure(TIMED_OUT, str(error), code="WF3012")
    else:
        failure = outcome.failure or failure_of(error)
    verdict = judge(retry, outcome.seen, attempt)
    if verdict.error is not None:
        error = verdict.error
        failure = failure_of(error)
    again = attempt < retry.max_attempts and verdict.again(retry, error)
    return Event(
        0,
        Kind.STEP_ATTEMPT_FAILED if again else Kind.STEP_FAILED,
        step.ordinal,
        at,
        step.step,
        step.digest,
        attempt,
        retry.delay_ms(attempt, verdict.later or error, random, at) if again else outcome.took_ms,
        failure.encode(),
    )


def task_attempt(
    run: Run,
    runnable: Runnable[..., Any],
    retry: Retry,
    options: dict[str, Any],
    end: End,
    failed: Container[int],
    at: int,
) -> tuple[End, int | None]:
    """How an attempt of a task ended, and after how many ms it is tried again by its policy; None:
    it is not.

    Without `fresh` only a failure of an operation is (`failed`: those in the history): the next
    attempt keeps what is completed, and a body that failed by itself would fail again.
    """
    if end.status != Status.FAILED or end.error is None or runnable.kind == "step":
        return end, None
    verdict = judge(retry, end.error, run.attempt)
    if verdict.error is not None:
        failure = failure_of(verdict.error).encode()
        end = replace(end, failure=failure, error=verdict.error)
    assert end.error is not None
    attempts = options.get("max_attempts", retry.max_attempts)
    can_go_on = retry.fresh or end.failed in failed
    if run.attempt >= attempts or not can_go_on or not verdict.again(retry, end.error):
        return end, None
    error = verdict.later or end.error
    return end, retry.delay_ms(run.attempt, error, Random(run.id), at)


def judged(end: End, title: str, *, strictly: bool) -> tuple[End, list[Log]]:
    """The end of a body that forgot an await: where somebody develops, the run fails; elsewhere it
    is logged."""
    mistake = never_awaited(end.never_awaited)
    if strictly:
        return End(Status.FAILED, failure=failure_of(mistake).encode()), []
    return end, [Log(logging.WARNING, f"{title}: {mistake}")]


_FAILURES: Final = frozenset(
    {Kind.STEP_FAILED, Kind.CHILD_ENDED, Kind.TOKEN_ENDED, Kind.MESSAGE_TIMED_OUT}
)
_ARRIVALS: Final[dict[int, Kind]] = {
    Kind.CHILD_STARTED: Kind.CHILD_STARTED,
    Kind.CHILD_ENDED: Kind.CHILD_ENDED,
    Kind.TOKEN_ENDED: Kind.TOKEN_ENDED,
    Kind.BATCH_STARTED: Kind.BATCH_STARTED,
    Kind.MESSAGE_RECEIVED: Kind.MESSAGE_RECEIVED,
    Kind.MESSAGE_TIMED_OUT: Kind.MESSAGE_RECEIVED,
    Kind.SEND_SETTLED: Kind.SEND_SETTLED,
}
"""By fact: for what an operation waited (`Execution.waits`)."""
_COMES_BACK: Final = _FAILURES | _ARRIVALS.keys() | {Kind.BATCH_ENDED}


class Arrivals(Struct):
    """Where in a history things came back: a retry of the task keeps what is completed."""

    failed_at: dict[int, int] = {}
    size: int = 0
    """Of all that came, in bytes."""
    _arrived_at: dict[tuple[int, int], int] = {}

    _since_failure: list[Event] = []
    """What was completed after the first failure."""

    def note(self, events: Iterable[Event]) -> None:
        for event in events:
            if event.data:
                self.size += len(event.data)
            if self.failed_at and _is_success(event):
                self._since_failure.append(event)
            if event.kind in _COMES_BACK:
                self._came_back(event)

    def _came_back(self, event: Event) -> None:
        settles = event.kind == Kind.BATCH_ENDED and _settles(event)
        if event.kind in _FAILURES or settles:
            self.failed_at[event.ordinal] = event.seq
        awaited = Kind.BATCH_ENDED if settles else _ARRIVALS.get(event.kind)
        if awaited is not None:
            self._arrived_at[awaited, event.ordinal] = event.seq

    def kept(self, failed: int, issued: int, waits: dict[int, Kind]) -> Kept:
        """What the next chapter keeps when operation `failed` ended this one, and the body had
        `issued` so many operations when it was told: all that is before that seq, and what those
        operations completed after it. The next chapter does anew the one that failed, and those of
        `waits` that still waited for a run or a token: nobody would tell it of their ends."""
        before = self.failed_at[failed]
        later = [
            event
            for event in self._since_failure
            if event.seq > before and event.ordinal <= issued and event.ordinal != failed
        ]
        kept = {
            (event.kind, event.ordinal)
            for event in later
            if event.kind != Kind.BATCH_ENDED or not event.attempt
        }
        waiting = {
            ordinal
            for ordinal, kind in waits.items()
            if self._arrived_at.get((kind, ordinal), before) >= before
            and (kind, ordinal) not in kept
        }
        forgotten = waiting | {failed}
        return before, sorted(forgotten), [one for one in later if one.ordinal not in forgotten]


Kept = tuple[int, list[int], list[Event]]
"""`before_seq`, `forget` and `events` of a NextChapter."""


def _settles(event: Event) -> bool:
    """The last page of a batch, or the one that fails it."""
    return not event.attempt or event.name == Status.FAILED


_KEPT: Final = frozenset(
    {Kind.STEP_FINISHED, Kind.CHILD_STARTED, Kind.BATCH_STARTED}
    | {Kind.MESSAGE_RECEIVED, Kind.SEND_SETTLED}
)


def _is_success(event: Event) -> bool:
    if event.kind == Kind.BATCH_ENDED:
        return event.name == Status.COMPLETED
    if event.kind in (Kind.CHILD_ENDED, Kind.TOKEN_ENDED):
        return event.name == Status.COMPLETED
    return event.kind in _KEPT
