"""A run's history over all of its chapters, and what it does not say outright: when a chapter
began, when an operation was issued.

A chapter begins with rows of the one before it: what was kept. They are told once, in the chapter
in which they happened.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from wf.history.events import COMPLETIONS, Event, Kind
from wf.history.families import Members
from wf.history.model import Run

_OUTSIDE: Final = frozenset(
    {Kind.STARTED, Kind.ATTEMPT_STARTED, Kind.CANCEL_REQUESTED, Kind.TIME_OUT}
)
"""Facts about no operation, upon which the body issues some."""
_RECORDS: Final = frozenset(
    {Kind.STEP_STARTED, Kind.CHILD_TRIGGERED, Kind.CHILD_AWAITED, Kind.TOKEN_CREATED}
    | {Kind.TOKEN_AWAITED, Kind.MESSAGE_AWAITED, Kind.MESSAGE_SENT}
    | {Kind.BATCH_TRIGGERED, Kind.BATCH_AWAITED}
)
"""Rows that were written when their operation was issued."""
_BEGINNINGS: Final = frozenset({Kind.STARTED, Kind.ATTEMPT_STARTED})
_STEP_ENDS: Final = frozenset({Kind.STEP_FINISHED, Kind.STEP_FAILED})
_NEVER: Final = 1 << 62


@dataclass(frozen=True, slots=True)
class Record:
    """A run with its history, as stored: (chapter, event), in order; and the batches that it
    started, by id."""

    run: Run
    events: Sequence[tuple[int, Event]] = ()
    batches: Mapping[bytes, Members] = field(default_factory=dict[bytes, Members])


@dataclass(frozen=True, slots=True)
class Row:
    """An event of a chapter; `is_copy`: it happened in an earlier one."""

    chapter: int
    event: Event
    is_copy: bool


class Story:
    """See the module. `now_ms`: when the run is looked at."""

    def __init__(self, record: Record, now_ms: int) -> None:
        self.run = record.run
        self.batches = record.batches
        self.is_over = record.run.status.ended
        self._chapters: dict[int, list[Event]] = {}
        for chapter, event in record.events:
            self._chapters.setdefault(chapter, []).append(event)
        self.last = max(self._chapters, default=1)
        written = (event.at for _, event in record.events if event.kind not in _BEGINNINGS)
        latest = max(written, default=self.run.started_at or self.run.created_at)
        self.last_at = latest
        """When something was last written. (A beginning may stand there for an attempt to come.)"""
        ended = (self.run.ended_at or latest) if self.is_over else now_ms
        self.horizon = max(ended, latest, self.run.created_at)
        """Up to when the run is told of."""
        self.begins: dict[int, int] = {}
        self.ends: dict[int, int] = {}
        self.attempts: dict[int, int] = {}
        self.rows = list(self._rows())
        self._taken = sorted(row.event.at for row in self.rows if row.event.kind == Kind.TAKEN)
        self._facts = {number: _facts(events) for number, events in self._chapters.items()}
        self._known = {number: _known(events) for number, events in self._chapters.items()}

    def issued_at(self, chapter: int, ordinal: int, latest: int) -> int:
        """When the body asked for an operation, by the last fact that can have led to it: one about
        an earlier operation, not after `latest`. Never too early."""
        known = self._known[chapter]
        place = bisect_right(known, (ordinal, 0))
        if place < len(known):
            latest = min(latest, known[place][1])
        begin = self.begins[chapter]
        facts = self._facts[chapter]
        for place in range(bisect_right(facts, (latest, _NEVER)) - 1, -1, -1):
            at, of = facts[place]
            if of < ordinal:
                return max(at, begin)
        return begin

    def rows_of(self, chapter: int) -> list[Event]:
        """Its events, those that it began with included."""
        return self._chapters[chapter]

    def end_of(self, chapter: int) -> int:
        """Up to when a chapter is told of."""
        return self.ends.get(chapter, self.horizon) if chapter < self.last else self.horizon

    def taken_between(self, begin: int, end: int) -> int | None:
        """The last moment within at which another worker took the run over."""
        place = bisect_right(self._taken, end)
        return self._taken[place - 1] if place and self._taken[place - 1] > begin else None

    def _rows(self) -> Iterator[Row]:
        before: set[Event] = set()
        begin = self.run.started_at or self.run.created_at
        attempt = 1
        for number, events in sorted(self._chapters.items()):
            self.attempts[number] = attempt
            first = events[0]
            is_fresh = first.but(seq=0) not in before
            if is_fresh and first.kind == Kind.STARTED:
                begin = first.at
            self.begins[number] = begin
            for event in events:
                is_copy = not is_fresh and event.but(seq=0) in before
                yield Row(number, event, is_copy)
            last = events[-1]
            failed = last.kind == Kind.ATTEMPT_FAILED
            self.ends[number] = last.at
            begin = last.at + (last.took if failed else 0)
            attempt = 1 if last.kind == Kind.RESTARTED else attempt + failed
            before = {event.but(seq=0) for event in events}


def _facts(events: Sequence[Event]) -> list[tuple[int, int]]:
    """(time, operation) of what led the body on, by time."""
    return sorted(
        (event.at, event.ordinal)
        for event in events
        if event.kind in COMPLETIONS or event.kind in _OUTSIDE
    )


def _known(events: Sequence[Event]) -> list[tuple[int, int]]:
    """(operation, a time before which it and all before it were issued), rising in both."""
    found: list[tuple[int, int]] = []
    latest = _NEVER
    for event in sorted(events, key=lambda event: -event.ordinal):
        at = _NEVER
        if event.kind in _RECORDS:
            at = event.at
        elif event.kind in _STEP_ENDS and event.took:
            at = event.at - event.took
        if at < latest:
            latest = at
            found.append((event.ordinal, at))
    return found[::-1]
