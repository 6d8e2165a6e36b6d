"""Everything that must be true of a store, checked: `wf audit`, and the end of every fault test.

The numbers are those of the invariants in ARCHITECTURE.md. I6 (histories replay) is
`wf.engine.replaying`, because it needs the code; I7 and I10 need a witness outside; that a message
is consumed once (I8) is I2 of the operation that received it. Each check is
one statement, so that it sees one moment of a store that others work on; histories are read in
pages of runs, so that memory stays flat.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from itertools import pairwise
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wf.history.blobs import whole
from wf.history.checks import CHECKS, Breach
from wf.history.events import (
    CHAPTER_ENDS,
    COMPLETIONS,
    STORED,
    UNKNOWN_DIGEST,
    Kind,
    Status,
)
from wf.history.ids import show
from wf.history.rows import RUN_STATUS
from wf.history.sealed_store import SealedStore
from wf.history.sealing import is_sealed
from wf.history.store import Query, Store, query_of

PAGE_RUNS: Final = 100
"""Runs whose histories are in memory at once."""


def audit(store: Store) -> list[Breach]:
    """All breaches; an empty list where all is well. Raises StoreUnavailable."""
    query = query_of(store)
    sealing = store.sealing if isinstance(store, SealedStore) else None

    def read(stored: bytes | None) -> bytes | None:
        return sealing.open(whole(stored, store.fetch)) if sealing else whole(stored, store.fetch)

    found = [breach for pages in _pages(query, read) for breach in pages]
    for check in CHECKS:
        found += check.breaches(query)
    return found


# --- histories ------------------------------------------------------------------------------------

_HISTORIES: Final = f"""SELECT r.id, r.status, r.chapter, r.attempt, r.ended_at, r.failure,
 CASE WHEN e.kind = {Kind.ENDED.value} THEN r.output END,
 e.chapter, e.seq, e.kind, coalesce(e.ordinal, 0), e.at, e.name, coalesce(e.digest, 0),
 coalesce(e.attempt, 0),
 CASE WHEN e.kind = {Kind.ENDED.value} THEN e.data END
FROM (SELECT * FROM runs WHERE id > ? ORDER BY id LIMIT {PAGE_RUNS}) r
LEFT JOIN events e ON e.run_id = r.id ORDER BY r.id, e.chapter, e.seq"""


class _Row(Struct, frozen=True):
    """A run's row beside its last event."""

    status: int
    chapter: int
    attempt: int
    ended_at: int | None
    failure: bytes | None
    output: bytes | None


class _Event(Struct, frozen=True):
    chapter: int
    seq: int
    kind: int
    ordinal: int
    at: int
    name: str
    digest: int
    attempt: int
    data: bytes | None


def _pages(query: Query, read: Callable[[bytes | None], bytes | None]) -> Iterator[list[Breach]]:
    last = b""
    while True:
        rows = query(_HISTORIES, [last])
        if not rows:
            return
        found: list[Breach] = []
        start = 0
        for place in range(1, len(rows) + 1):
            if place == len(rows) or rows[place][0] != rows[start][0]:
                found += _of_run(rows[start:place], read)
                start = place
        last = bytes(rows[-1][0])
        yield found


def _of_run(
    rows: Sequence[tuple[Any, ...]], read: Callable[[bytes | None], bytes | None]
) -> Iterator[Breach]:
    """The breaches of one run: its row and its history."""
    shown = show("run", bytes(rows[0][0]))
    run = _Row(*rows[-1][1:7])
    run = replace(run, output=read(run.output))
    events = [_Event(*row[7:]) for row in rows if row[7] is not None]
    for invariant, what in [
        *_order(events),
        *_completions(events),
        *_ends(events),
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


def _ends(events: list[_Event]) -> Iterator[tuple[str, str]]:
    """I4: nothing after the terminal fact, of a chapter or of the run."""
    for event, following in pairwise(events):
        if event.kind == Kind.ENDED:
            yield "I4", f"event {following.seq} of chapter {following.chapter} follows the end"
        elif event.kind in CHAPTER_ENDS and event.chapter == following.chapter:
            yield "I4", f"event {following.seq} follows the end of chapter {event.chapter}"
    if events and events[-1].kind in (Kind.ATTEMPT_FAILED, Kind.RESTARTED):
        yield "I4", f"chapter {events[-1].chapter} ended, and no other one follows"


def _projections(run: _Row, events: list[_Event]) -> Iterator[tuple[str, str]]:
    """I12: the run's row says what its history says."""
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
    end = next((event for event in events if event.kind == Kind.ENDED), None)
    if run.status == 0:
        if end is not None:
            yield "I12", f"it is live, and its history ended: {end.name}"
        return
    status = RUN_STATUS.get(run.status)
    if end is None:
        yield "I12", f"it is {status}, and its history has no end"
        return
    if end.name != status:
        yield "I12", f"it is {status}, and its history ended {end.name}"
    if end.at != run.ended_at:
        yield "I12", f"it ended at {run.ended_at}, by its history at {end.at}"
    if end.data != run.failure:
        yield "I12", "its failure is not the one of its history"
    output = run.output
    known = output is not None and not is_sealed(output) and end.digest != UNKNOWN_DIGEST
    wrong = output is None or (known and end.digest != digest_of(output))
    if run.status == STORED[Status.COMPLETED] and wrong:
        yield "I12", "its output is not the one of its history"


def digest_of(data: bytes) -> int:
    """What ENDED says of an output; the same as the core's."""
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big", signed=True)


def lines(breaches: Iterable[Breach]) -> str:
    """For the message of a test that failed."""
    return "\n".join(str(breach) for breach in breaches)
