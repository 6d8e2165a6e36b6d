"""Batches: one lane for all of their runs, which says what became of them."""

from __future__ import annotations

from typing import Final

from wf.client.timeline.model import Outcome, Span, SpanKind, Tally
from wf.client.timeline.operations import OUTCOMES, Draft, still_open
from wf.client.timeline.story import Story
from wf.history.events import Awaits, Kind, Status
from wf.history.families import Members

_WORST: Final = (Outcome.FAILED, Outcome.TIMED_OUT, Outcome.CANCELED)
_UNFIT: Final = (Status.FAILED, Status.TIMED_OUT, Status.EXPIRED)


def started_by(draft: Draft, story: Story) -> Members | None:
    """The runs that the operation itself started, as far as they are known here. (Those of a fork
    were started by the run that it was forked from.)"""
    if draft.rows[0].event.kind != Kind.BATCH_TRIGGERED:
        return None
    return story.batches.get(draft.target)


def span_of_wait(draft: Draft, story: Story) -> Span:
    """As long as the body was to wait for the batch."""
    first = draft.rows[0].event
    awaits = first.attempt if first.kind == Kind.BATCH_TRIGGERED else Awaits.END
    if awaits == Awaits.NOTHING:
        return Span(SpanKind.BATCH, first.at, first.at, Outcome.OK)
    for row in draft.rows:
        event = row.event
        end = max(first.at, event.at)
        if event.kind == Kind.BATCH_STARTED and awaits == Awaits.START:
            return Span(SpanKind.BATCH, first.at, end, Outcome.OK)
        if event.kind == Kind.BATCH_ENDED and event.name == Status.FAILED:
            return Span(SpanKind.BATCH, first.at, end, Outcome.FAILED)
        if event.kind == Kind.BATCH_ENDED and not event.attempt:
            return Span(SpanKind.BATCH, first.at, end, Outcome.OK)
    return still_open(SpanKind.BATCH, first.at, draft.chapter, story)


def span_of_runs(members: Members) -> Span:
    """From their start to the last end."""
    begin = members.begin_ms
    if members.live:
        return Span(SpanKind.BATCH, begin, None, Outcome.OPEN)
    outcomes = {OUTCOMES[status] for status in members.ends}
    worst = next((one for one in _WORST if one in outcomes), Outcome.OK)
    return Span(SpanKind.BATCH, begin, max(begin, members.ended_ms), worst)


def tally_of(members: Members, items: int = 0) -> Tally:
    """`items`: how many the batch had, those included whose run was there before."""
    ends = members.ends
    known = sum(ends.values()) + members.live
    return Tally(
        max(items, known),
        ends.get(Status.COMPLETED, 0),
        sum(ends.get(one, 0) for one in _UNFIT),
        ends.get(Status.CANCELED, 0),
        members.live,
    )
