"""Everything that must be true of a store, checked: `wf audit`, and the end of every fault test.

The numbers are those of the invariants in ARCHITECTURE.md. I6 (histories replay) is
`wf.engine.replaying`, because it needs the code; I7 and I10 need a witness outside; that a message
is consumed once (I8) is I2 of the operation that received it. Each check is
one statement, so that it sees one moment of a store that others work on; histories are read in
pages of runs, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import Any, Final

from msgspec import Struct

from wf.history.checks import CHECKS, Breach
from wf.history.events import (
    CHAPTER_ENDS,
    COMPLETIONS,
    Kind,
    Status,
)
from wf.history.ids import show
from wf.history.rows import RUN_STATUS
from wf.history.store import Query, Store, query_of

PAGE_RUNS: Final = 100
"""Runs whose histories are in memory at once."""


def audit(store: Store) -> list[Breach]:
    """All breaches; an empty list where all is well. Raises StoreUnavailable."""
    query = query_of(store)
    found = [breach for breaches in _pages(query) for breach in breaches]
    for check in CHECKS:
        found += check.breaches(query)
    return found


# --- histories ------------------------------------------------------------------------------------

_HISTORIES: Final = f"""SELECT r.id, r.status, r.chapter, coalesce(r.attempt, 1), r.ended_at,
 r.output IS NOT NULL, r.failure IS NOT NULL,
 e.chapter, e.seq, e.kind, coalesce(e.ordinal, 0), e.at, e.name, coalesce(e.attempt, 0)
FROM (SELECT * FROM runs WHERE id > ? ORDER BY id LIMIT {PAGE_RUNS}) r
LEFT JOIN events e ON e.run_id = r.id ORDER BY r.id, e.chapter, e.seq"""


class _Row(Struct, frozen=True):
    """What a run's row says beside its history."""

    status: int
    chapter: int
    attempt: int
    ended_at: int | None
    has_output: bool
    has_failure: bool


class _Event(Struct, frozen=True):
    chapter: int
    seq: int
    kind: int
    ordinal: int
    at: int
    name: str
    attempt: int


def _pages(query: Query) -> Iterator[list[Breach]]:
    last = b""
    while True:
        rows = query(_HISTORIES, [last])
        if not rows:
            return
        found: list[Breach] = []
        start = 0
        for place in range(1, len(rows) + 1):
            if place == len(rows) or rows[place][0] != rows[start][0]:
                found += _of_run(rows[start:place])
                start = place
        last = bytes(rows[-1][0])
        yield found


def _of_run(rows: Sequence[tuple[Any, ...]]) -> Iterator[Breach]:
    """The breaches of one run: its row and its history."""
    shown = show("run", bytes(rows[0][0]))
    run = _Row(*rows[-1][1:7])
    events = [_Event(*row[7:]) for row in rows if row[7] is not None]
    for invariant, what in [
        *_order(events),
        *_completions(events),
        *_ends(run, events),
        *_projections(run, events),
    ]:
        yield Breach(invariant, shown, what)


def _order(events: list[_Event]) -> Iterator[tuple[str, str]]:
    """I1: dense and unique; I3: time never falls. Between the first event of a run and its last
    chapters a restart has dropped what was there."""
    chapter, seq, at = 0, 0, 0
    for event in events:
        if event.chapter != chapter:
            if event.chapter != chapter + 1 and (chapter, seq) != (1, 1):
                yield "I1", f"chapter {event.chapter} follows chapter {chapter}"
            chapter, seq, at = event.chapter, 0, 0
        if event.seq != seq + 1:
            yield "I1", f"chapter {chapter}: event {event.seq} follows event {seq}"
        if event.at < at:
            fell = f"chapter {chapter}: event {event.seq} is {at - event.at} ms before the last one"
            yield "I3", fell
        seq, at = event.seq, max(at, event.at)


_STARTS: Final = (Kind.CHILD_STARTED, Kind.BATCH_STARTED)


def _completions(events: list[_Event]) -> Iterator[tuple[str, str]]:
    """I2: at most one final completion per operation."""
    seen: set[tuple[int, int, bool]] = set()
    for event in events:
        if event.kind not in COMPLETIONS:
            continue
        if event.kind == Kind.BATCH_ENDED and event.attempt and event.name != Status.FAILED:
            continue  # a page that others follow
        key = (event.chapter, event.ordinal, event.kind in _STARTS)
        if key in seen:
            place = f"chapter {event.chapter}: operation {event.ordinal}"
            yield "I2", f"{place} is completed twice, again by event {event.seq}"
        seen.add(key)


def _ends(run: _Row, events: list[_Event]) -> Iterator[tuple[str, str]]:
    """I4: nothing after the end of a chapter, or of the run."""
    for event, following in pairwise(events):
        if event.kind in CHAPTER_ENDS and event.chapter == following.chapter:
            yield "I4", f"event {following.seq} follows the end of chapter {event.chapter}"
    last = events[-1] if events else None
    if last is not None and last.kind in CHAPTER_ENDS:
        yield "I4", f"chapter {last.chapter} ended, and no other one follows"
    if last is not None and run.ended_at is not None and last.at > run.ended_at:
        yield "I4", f"event {last.seq} of chapter {last.chapter} follows the end"


def _projections(run: _Row, events: list[_Event]) -> Iterator[tuple[str, str]]:
    """I12: the run's row says what its history says, and of its end all or nothing."""
    last = events[-1] if events else None
    if last is not None and last.chapter != run.chapter:
        yield "I12", f"it is in chapter {run.chapter}, its history in chapter {last.chapter}"
    attempts = 1
    for event in events:
        if event.kind == Kind.ATTEMPT_FAILED:
            attempts += 1
        elif event.kind == Kind.RESTARTED:
            attempts = 1
    if attempts != run.attempt:
        yield "I12", f"it is at attempt {run.attempt}, its history at attempt {attempts}"
    status = RUN_STATUS.get(run.status)
    told = {
        "time of its end": (run.ended_at is not None, status is not None),
        "output": (run.has_output, status is Status.COMPLETED),
        "failure": (run.has_failure, status not in (None, Status.COMPLETED)),
    }
    for what, (is_there, is_due) in told.items():
        if is_there != is_due:
            yield "I12", f"it is {status or 'live'}, and has {'a' if is_there else 'no'} {what}"


def lines(breaches: Iterable[Breach]) -> str:
    """For the message of a test that failed."""
    return "\n".join(str(breach) for breach in breaches)
