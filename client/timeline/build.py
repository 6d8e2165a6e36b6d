"""From histories to a Timeline: the lanes of a run, and below each child those of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from wf.client.timeline.batches import span_of_runs, span_of_wait, started_by, tally_of
from wf.client.timeline.model import Lane, Mark, MarkKind, Outcome, Span, SpanKind, Timeline
from wf.client.timeline.operations import (
    KINDS,
    OPENERS,
    OUTCOMES,
    Draft,
    failure_line,
    one_line,
    spans_of,
    still_open,
)
from wf.client.timeline.story import Record, Story
from wf.history.events import Event, Kind, Status
from wf.history.families import Members
from wf.history.ids import show

_TITLES: Final = {SpanKind.WAIT: "wait", SpanKind.TOKEN: "token", SpanKind.MESSAGE: "message"}
_SILENT: Final = frozenset(
    {Kind.STARTED, Kind.ATTEMPT_STARTED, Kind.ATTEMPT_FAILED, Kind.RESTARTED}
    | {Kind.ENDED, Kind.NOTED}
)
"""Rows about no operation of which no mark tells: the bar of the run does, or nothing happened."""
_MARKS: Final[dict[int, tuple[MarkKind, str]]] = {
    Kind.TAKEN: (MarkKind.TAKEN, "worker lost, taken over"),
    Kind.CANCEL_REQUESTED: (MarkKind.CANCEL, "cancel requested"),
    Kind.TIME_OUT: (MarkKind.TIME_OUT, "max_duration is over"),
    Kind.PATCHED: (MarkKind.PATCHED, "patched"),
}


def timeline(
    record: Record, children: Mapping[bytes, Record], now_ms: int, left_out: int = 0
) -> Timeline:
    """`children`: the runs below it, by id, as far as they are known."""
    run = record.run
    lanes = tuple(_Telling(children, now_ms).run(record, 0, ()))
    spans = [span for lane in lanes for span in lane.spans]
    moments = [mark.at_ms for lane in lanes for mark in lane.marks]
    ends = [span.end_ms if span.end_ms is not None else now_ms for span in spans]
    begin = min([run.created_at, *(span.start_ms for span in spans), *moments])
    return Timeline(
        show("run", run.id),
        one_line(run.task),
        run.status,
        run.attempt,
        begin,
        max([begin, *ends, *moments, *(span.start_ms for span in spans)]),
        now_ms,
        lanes,
        left_out,
    )


class _Telling:
    """Each run is told of once, below the run that started it."""

    def __init__(self, records: Mapping[bytes, Record], now_ms: int) -> None:
        self._records = records
        self._now_ms = now_ms
        self._told: set[bytes] = set()

    def run(self, record: Record, ordinal: int, above: tuple[str, ...]) -> Iterator[Lane]:
        """Its own lane, and those of what it did."""
        run = record.run
        self._told.add(run.id)
        story = Story(record, self._now_ms)
        title, path = one_line(run.task), (*above, one_line(run.task))
        shown = show("run", run.id)
        marks = tuple(_marks(story))
        spans = tuple(_of_run(story))
        yield Lane(shown, SpanKind.RUN, title, len(above), ordinal, spans, marks, path)
        lanes = list(self._operations(story, shown, path))
        yield from lanes
        if not story.is_over:
            own = [lane for lane in lanes if lane.run == shown]
            yield from _under_way(story, own, shown, path)

    def _operations(self, story: Story, shown: str, path: tuple[str, ...]) -> Iterator[Lane]:
        run = story.run
        for draft in sorted(_drafts(story), key=lambda one: one.ordinal):
            child = self._records.get(draft.target)
            if child is not None and child.run.parent_id == run.id and self._is_new(draft.target):
                yield from self.run(child, draft.ordinal, path)
                continue
            members = started_by(draft, story)
            if members is not None:
                yield from self._batch(story, draft.target, members, draft, path)
                continue
            title = draft.title or self._result_of(draft.target, story)
            is_batch = draft.kind is SpanKind.BATCH
            spans = (span_of_wait(draft, story),) if is_batch else spans_of(draft, story)
            there = (*path, title)
            yield Lane(shown, draft.kind, title, len(path), draft.ordinal, spans, path=there)
        # What a step started leaves no row here.
        for batch_id, members in story.batches.items():
            if self._is_new(batch_id):
                yield from self._batch(story, batch_id, members, None, path)
        for child in self._records.values():
            if child.run.parent_id == run.id and self._is_new(child.run.id):
                yield from self.run(child, 0, path)

    def _batch(
        self,
        story: Story,
        batch_id: bytes,
        members: Members,
        draft: Draft | None,
        above: tuple[str, ...],
    ) -> Iterator[Lane]:
        """Its own lane, and those of the runs that are told of."""
        self._told.add(batch_id)
        title, run = one_line(members.task), story.run
        ordinal, items = (draft.ordinal, draft.rows[0].event.took) if draft is not None else (0, 0)
        path, span, tally = (*above, title), span_of_runs(members), tally_of(members, items)
        shown = show("run", run.id)
        yield Lane(
            shown, SpanKind.BATCH, title, len(above), ordinal, (span,), path=path, tally=tally
        )
        for child in self._records.values():
            of_it = child.run.batch_id == batch_id and child.run.parent_id == run.id
            if of_it and self._is_new(child.run.id):
                yield from self.run(child, 0, path)

    def _is_new(self, run_id: bytes) -> bool:
        return run_id not in self._told

    def _result_of(self, target: bytes, story: Story) -> str:
        """Of a run, or of a batch."""
        if target in story.batches:
            return f"results of {one_line(story.batches[target].task)}"
        record = self._records.get(target)
        return f"result of {one_line(record.run.task)}" if record is not None else "result"


def _drafts(story: Story) -> list[Draft]:
    """The operations of a run, with their rows."""
    drafts: list[Draft] = []
    current: dict[tuple[SpanKind, int, str], Draft] = {}
    tokens: dict[bytes, Draft] = {}
    for row in story.rows:
        event = row.event
        if not event.ordinal:
            continue
        kind = KINDS.get(event.kind, SpanKind.OTHER)
        key = (kind, event.ordinal, event.name if kind is SpanKind.STEP else "")
        draft = current.get(key)
        if row.is_copy:
            if draft is not None:
                draft.chapter = row.chapter
            continue
        if event.kind == Kind.TOKEN_AWAITED and (made := tokens.get(event.data or b"")):
            draft = current[key] = made
        elif draft is None or event.kind in OPENERS:
            draft = Draft(kind, _title(kind, event), event.ordinal, row.chapter)
            drafts.append(draft)
            current[key] = draft
        draft.chapter = row.chapter
        draft.rows.append(row)
        if event.kind in _TARGETS:
            draft.target = event.data or b""
        if event.kind == Kind.TOKEN_CREATED:
            tokens[draft.target] = draft
    return drafts


_TARGETS: Final = frozenset(
    {Kind.CHILD_TRIGGERED, Kind.CHILD_AWAITED, Kind.CHILD_STARTED, Kind.TOKEN_CREATED}
    | {Kind.BATCH_TRIGGERED, Kind.BATCH_AWAITED}
)


def _title(kind: SpanKind, event: Event) -> str:
    name = one_line(event.name)
    match kind:
        case SpanKind.STEP | SpanKind.CHILD | SpanKind.BATCH:
            return name
        case SpanKind.MESSAGE:
            return f"message {name}".rstrip()
        case SpanKind.OTHER:
            return f"{kind_name(event.kind)} {name}".rstrip()
        case _:
            return _TITLES[kind]


def kind_name(kind: int) -> str:
    """In words; by its number where this version does not know it."""
    try:
        return Kind(kind).name.lower().replace("_", " ")
    except ValueError:
        return f"event {kind}"


def _of_run(story: Story) -> Iterator[Span]:
    """Queued, then its attempts and what lies between."""
    run = story.run
    if run.started_at is None:
        if run.status.ended:
            outcome = OUTCOMES[run.status]
            yield Span(SpanKind.QUEUED, run.created_at, story.horizon, outcome)
        else:
            due = run.due_at if run.status is Status.DELAYED else None
            yield Span(SpanKind.QUEUED, run.created_at, None, Outcome.OPEN, due_ms=due)
        return
    began = max(run.created_at, run.started_at)
    if began > run.created_at:
        yield Span(SpanKind.QUEUED, run.created_at, began, Outcome.OK)
    failed_at = 0
    for number in sorted(story.begins):
        begin = story.begins[number]
        if failed_at and begin > failed_at:
            if begin > story.horizon:
                yield still_open(SpanKind.BACKOFF, failed_at, number, story, due_ms=begin)
                return
            yield Span(SpanKind.BACKOFF, failed_at, begin, Outcome.OK)
        yield _attempt(story, number)
        failed_at = story.ends[number]


def _attempt(story: Story, chapter: int) -> Span:
    run, begin, attempt = story.run, story.begins[chapter], story.attempts[chapter]
    if chapter < story.last:
        last = story.rows_of(chapter)[-1]
        failed = last.kind == Kind.ATTEMPT_FAILED
        outcome = Outcome.FAILED if failed else Outcome.OK
        detail = failure_line(last.data) if failed else ""
        return Span(SpanKind.RUN, begin, max(begin, story.ends[chapter]), outcome, attempt, detail)
    if not story.is_over:
        return Span(SpanKind.RUN, begin, None, Outcome.OPEN, attempt)
    detail = failure_line(run.failure) if run.failure is not None else ""
    outcome = OUTCOMES[run.status]
    return Span(SpanKind.RUN, begin, max(begin, story.horizon), outcome, attempt, detail)


def _marks(story: Story) -> Iterator[Mark]:
    for row in story.rows:
        event = row.event
        if event.ordinal or row.is_copy or event.kind in _SILENT:
            continue
        kind, label = _MARKS.get(event.kind, (MarkKind.OTHER, kind_name(event.kind)))
        name = one_line(event.name)
        yield Mark(kind, event.at, f"{label} {name}" if name else label)
    for number in sorted(story.begins)[1:]:
        attempt = story.attempts[number]
        word = f"attempt {attempt}" if attempt > story.attempts[number - 1] else f"chapter {number}"
        if story.begins[number] <= story.horizon:
            yield Mark(MarkKind.ATTEMPT, story.begins[number], word)
    if story.run.blocked is not None:
        reason = one_line(story.run.blocked.reason)
        yield Mark(MarkKind.PARKED, story.run.blocked.since, f"parked: {reason}")


def _under_way(
    story: Story, lanes: list[Lane], shown: str, path: tuple[str, ...]
) -> Iterator[Lane]:
    """What is going on now without a row: a step in flight, a timer that has not fired."""
    run = story.run
    open_spans = [span for lane in lanes for span in lane.spans if span.end_ms is None]
    if run.status is Status.EXECUTING:
        if any(span.kind is SpanKind.STEP for span in open_spans):
            return
        kind, title, due = SpanKind.STEP, "under way", 0
    elif run.status is Status.WAITING and run.due_at and run.due_at > story.begins.get(1, 0):
        is_told = any(span.due_ms == run.due_at for span in open_spans)
        if is_told or story.begins.get(story.last, 0) > story.horizon:
            return
        kind, title, due = SpanKind.WAIT, "wait", run.due_at
    else:
        return
    begin = max(story.last_at, story.begins.get(story.last, 0))
    span = still_open(kind, min(begin, story.horizon), story.last, story, due_ms=due)
    yield Lane(shown, kind, title, len(path), 0, (span,), (), (*path, title))
