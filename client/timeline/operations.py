"""The spans of one operation, from its rows.

A step leaves a row when it ends, a timer when it fires: when they began is worked out. An attempt
that a lost worker took with it left no row at all: it is told of where the same step was handed out
again by the worker that took over.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from wf.client.timeline.model import Outcome, Span, SpanKind
from wf.client.timeline.story import Row, Story
from wf.history.errors import CodecError
from wf.history.events import MOMENTS_FROM_MS, Event, Failure, Kind, Status

LONGEST_DETAIL: Final = 200
"""Letters of an error: it is drawn in one line."""

OUTCOMES: Final = {
    Status.COMPLETED: Outcome.OK,
    Status.FAILED: Outcome.FAILED,
    Status.CANCELED: Outcome.CANCELED,
    Status.EXPIRED: Outcome.TIMED_OUT,
    Status.TIMED_OUT: Outcome.TIMED_OUT,
}
_STEP_TIMED_OUT: Final = "StepTimedOut"
_CUT_SHORT: Final = {"StepAbandoned": Outcome.CANCELED, "StepInterrupted": Outcome.LOST}
_AWAITED: Final = {
    Kind.CHILD_TRIGGERED: SpanKind.CHILD,
    Kind.CHILD_AWAITED: SpanKind.CHILD,
    Kind.TOKEN_CREATED: SpanKind.TOKEN,
    Kind.TOKEN_AWAITED: SpanKind.TOKEN,
    Kind.MESSAGE_AWAITED: SpanKind.MESSAGE,
    Kind.BATCH_TRIGGERED: SpanKind.BATCH,
    Kind.BATCH_AWAITED: SpanKind.BATCH,
}
"""Records that begin a wait for something outside the run."""
OPENERS: Final = frozenset(_AWAITED)
_CLOSERS: Final = frozenset(
    {Kind.CHILD_ENDED, Kind.TOKEN_ENDED, Kind.MESSAGE_RECEIVED, Kind.MESSAGE_TIMED_OUT}
)
_STEPS: Final = frozenset(
    {Kind.STEP_STARTED, Kind.STEP_FINISHED, Kind.STEP_FAILED, Kind.STEP_ATTEMPT_FAILED}
)
KINDS: Final[dict[int, SpanKind]] = {
    **_AWAITED,
    **dict.fromkeys(_STEPS, SpanKind.STEP),
    Kind.TIMER_FIRED: SpanKind.WAIT,
    Kind.CHILD_STARTED: SpanKind.CHILD,
    Kind.CHILD_ENDED: SpanKind.CHILD,
    Kind.TOKEN_ENDED: SpanKind.TOKEN,
    Kind.MESSAGE_RECEIVED: SpanKind.MESSAGE,
    Kind.MESSAGE_TIMED_OUT: SpanKind.MESSAGE,
    Kind.BATCH_STARTED: SpanKind.BATCH,
    Kind.BATCH_ENDED: SpanKind.BATCH,
}
"""What sort of operation a row with an ordinal is about; others are SpanKind.OTHER."""


@dataclass(slots=True)
class Draft:
    """An operation with its rows; `chapter`: the last one that still knows it."""

    kind: SpanKind
    title: str
    ordinal: int
    chapter: int
    rows: list[Row] = field(default_factory=list[Row])
    target: bytes = b""
    """The run, batch or token that it is about."""


def spans_of(draft: Draft, story: Story) -> tuple[Span, ...]:
    """In order of time."""
    match draft.kind:
        case SpanKind.STEP:
            return tuple(_of_step(draft, story))
        case SpanKind.WAIT:
            return tuple(_of_timer(row, story) for row in draft.rows)
        case SpanKind.OTHER:
            first, last = draft.rows[0].event.at, draft.rows[-1].event.at
            return (Span(SpanKind.OTHER, first, last, Outcome.OK),)
        case _:
            return tuple(_of_wait(draft, story))


def still_open(
    kind: SpanKind, start_ms: int, chapter: int, story: Story, *, attempt: int = 0, due_ms: int = 0
) -> Span:
    """What has no end in the history: it is under way, or was dropped with its chapter or run."""
    if not story.is_over and chapter == story.last:
        return Span(kind, start_ms, None, Outcome.OPEN, attempt, due_ms=due_ms or None)
    end = max(start_ms, story.end_of(chapter))
    return Span(kind, start_ms, end, Outcome.CANCELED, attempt)


def failure_line(data: bytes | None) -> str:
    """A Failure in one line of printable letters."""
    try:
        failure = Failure.decode(data)
    except (ValueError, CodecError):
        return ""
    return one_line(f"{failure.type}: {failure.message}" if failure.message else failure.type)


def one_line(text: str, longest: int = LONGEST_DETAIL) -> str:
    """What strangers wrote, fit to be drawn: no line breaks, no control characters."""
    words = " ".join(text.split())
    line = "".join(letter for letter in words if letter.isprintable())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _of_step(draft: Draft, story: Story) -> Iterator[Span]:
    """Attempts, and the back-offs between them."""
    begun: int | None = None
    attempt, failed_at, due = 1, 0, 0
    for row in draft.rows:
        event = row.event
        if event.kind == Kind.STEP_STARTED:
            begun = event.at
            continue
        if due:
            yield Span(SpanKind.BACKOFF, failed_at, max(failed_at, min(due, event.at)), Outcome.OK)
        if begun is None:
            begun = story.issued_at(row.chapter, draft.ordinal, event.at)
        yield from _attempts(event, begun, story)
        attempt, begun, due = event.attempt + 1, None, 0
        if event.kind == Kind.STEP_ATTEMPT_FAILED:
            failed_at, due = event.at, event.at + event.took
            begun = due
    is_idle = not story.is_over and story.run.status is not Status.EXECUTING
    if due > story.end_of(draft.chapter) or (due and is_idle):
        yield still_open(SpanKind.BACKOFF, failed_at, draft.chapter, story, due_ms=due)
    elif begun is not None:
        if due:
            yield Span(SpanKind.BACKOFF, failed_at, due, Outcome.OK)
        yield still_open(SpanKind.STEP, begun, draft.chapter, story, attempt=attempt)


def _attempts(event: Event, begun: int, story: Story) -> Iterator[Span]:
    """The one that the row is about; before it, what a lost worker had of it."""
    begun = min(begun, event.at)
    start = begun
    if event.kind == Kind.STEP_FINISHED or (event.kind == Kind.STEP_FAILED and event.took):
        start = max(event.at - event.took, story.run.created_at)
    taken = story.taken_between(begun, event.at if start <= begun else start)
    if taken is not None:
        yield Span(SpanKind.STEP, begun, taken, Outcome.LOST, event.attempt)
        start = max(start, taken)
    yield Span(
        SpanKind.STEP,
        start,
        event.at,
        _step_outcome(event),
        event.attempt,
        "" if event.kind == Kind.STEP_FINISHED else failure_line(event.data),
    )


def _step_outcome(event: Event) -> Outcome:
    if event.kind == Kind.STEP_FINISHED:
        return Outcome.OK
    told = failure_line(event.data).partition(":")[0]
    if told == _STEP_TIMED_OUT:
        return Outcome.TIMED_OUT
    return _CUT_SHORT.get(told, Outcome.FAILED)


def _of_timer(row: Row, story: Story) -> Span:
    event = row.event
    if event.digest >= MOMENTS_FROM_MS:
        latest = min(event.at, event.digest)
    else:
        latest = event.at - event.digest
    start = story.issued_at(row.chapter, event.ordinal, latest)
    return Span(SpanKind.WAIT, min(start, event.at), event.at, Outcome.OK)


def _of_wait(draft: Draft, story: Story) -> Iterator[Span]:
    """For a run, a token or a message: from the record to the fact."""
    start = draft.rows[0].event.at
    for row in draft.rows:
        event = row.event
        if event.kind == Kind.TOKEN_AWAITED:
            start = event.at
        if event.kind in _CLOSERS:
            outcome = _wait_outcome(event)
            detail = failure_line(event.data) if outcome is Outcome.FAILED else ""
            yield Span(draft.kind, min(start, event.at), event.at, outcome, detail=detail)
            return
    yield still_open(draft.kind, start, draft.chapter, story)


def _wait_outcome(event: Event) -> Outcome:
    if event.kind == Kind.MESSAGE_TIMED_OUT:
        return Outcome.TIMED_OUT
    if event.name in Status.__members__ and event.kind != Kind.MESSAGE_RECEIVED:
        return OUTCOMES.get(Status(event.name), Outcome.OK)
    return Outcome.OK
