"""Large values: a row holds a *reference*, and the value stands in `blobs`.

A reference is two bytes that no JSON, no id and no sealed value begins with, how large the value
is, and its digest. So it can be copied from row to row as the value itself could, two rows with
equal references hold equal values, and who has one knows what the value will take.

Each value belongs to the run or token in whose row it stands: it is written in the transaction that
writes the row, and goes with its owner. Only an inbox may refer to another's value (the output of a
child, the data of a token), until what it tells has become an event; `prune` sees to those.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256
from typing import Any, Final, overload

from wf.history.errors import HistoryUnreadable
from wf.history.events import Event
from wf.history.limits import INLINE_BYTES, LOAD_BYTES
from wf.history.model import Claimed, Run
from wf.history.sealing import NO_JSON

REFERENCE: Final = bytes([NO_JSON, 2])
_HEAD: Final = struct.Struct(">2sq")
REFERENCE_LENGTH: Final = _HEAD.size + sha256().digest_size

PUT: Final = "INSERT INTO blobs (owner, reference, data) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
GET: Final = "SELECT data FROM blobs WHERE reference = ? LIMIT 1"

_UNREAD: Final = f"""NOT EXISTS (SELECT 1 FROM runs r WHERE r.id = b.owner
 AND (r.payload = b.reference OR r.output = b.reference OR r.failure = b.reference))
AND NOT EXISTS (SELECT 1 FROM messages m WHERE m.run_id = b.owner AND m.data = b.reference)
AND NOT EXISTS (SELECT 1 FROM inbox i WHERE i.data = b.reference
 AND length(i.data) = {REFERENCE_LENGTH})"""
UNUSED: Final = f"""DELETE FROM blobs AS b WHERE b.owner = ? AND NOT EXISTS (
 SELECT 1 FROM events e WHERE e.run_id = b.owner AND e.data = b.reference) AND {_UNREAD}"""
"""Values of a run that no row refers to any more."""
UNUSED_OF_DROPPED: Final = f"""DELETE FROM blobs AS b USING dropped d
WHERE length(d.data) = {REFERENCE_LENGTH} AND b.owner = d.run_id AND b.reference = d.data
AND NOT EXISTS (SELECT 1 FROM events e WHERE e.run_id = b.owner AND e.data = b.reference
 AND (e.chapter >= d.oldest OR e.chapter = 1 AND e.seq = 1)) AND {_UNREAD}"""
"""The same on Postgres, in the statement that drops these events."""
OWNED: Final = "SELECT id FROM tokens WHERE run_id"
"""… is one of these runs: tokens whose values go with them."""


def is_reference(data: bytes | None) -> bool:
    return data is not None and len(data) == REFERENCE_LENGTH and data.startswith(REFERENCE)


def size_of(data: bytes | None) -> int:
    """Of a value or of what a reference stands for, in bytes."""
    if data is None:
        return 0
    size: int = _HEAD.unpack_from(data)[1] if is_reference(data) else len(data)
    return size


def reference_to(data: bytes) -> bytes:
    return _HEAD.pack(REFERENCE, len(data)) + sha256(data).digest()


class Blobs:
    """The large values of what is about to be written: rows of (owner, reference, data)."""

    __slots__ = ("rows",)

    def __init__(self) -> None:
        self.rows: list[tuple[bytes, bytes, bytes]] = []

    @overload
    def put(self, owner: bytes, data: bytes) -> bytes: ...
    @overload
    def put(self, owner: bytes, data: bytes | None) -> bytes | None: ...
    def put(self, owner: bytes, data: bytes | None) -> bytes | None:
        """What the row holds: the value, or a reference to it."""
        if data is None or len(data) <= INLINE_BYTES:
            return data
        reference = reference_to(data)
        self.rows.append((owner, reference, data))
        return reference


# --- read -----------------------------------------------------------------------------------------

Fetch = Callable[[Sequence[bytes]], dict[bytes, bytes]]
"""`Store.fetch`."""


@overload
def whole(data: bytes, fetch: Fetch) -> bytes: ...
@overload
def whole(data: bytes | None, fetch: Fetch) -> bytes | None: ...
def whole(data: bytes | None, fetch: Fetch) -> bytes | None:
    """The value itself. One that is gone stays a reference."""
    if data is None or not is_reference(data):
        return data
    return fetch([data]).get(data, data)


def whole_run(run: Run, fetch: Fetch) -> Run:
    """Of a list, say; its values are filled in."""
    run.payload = whole(run.payload, fetch)
    run.output = whole(run.output, fetch)
    run.failure = whole(run.failure, fetch)
    run.restarted_with = whole(run.restarted_with, fetch)
    return run


def whole_event(event: Event, fetch: Fetch) -> Event:
    if not is_reference(event.data):
        return event
    return event.but(data=whole(event.data, fetch))


def whole_histories(
    histories: Iterable[tuple[bytes, Iterable[Sequence[Any]]]], fetch: Fetch
) -> dict[bytes, list[Event]]:
    """From runs and their rows: as many as LOAD_BYTES hold, one at least."""
    found: dict[bytes, list[Event]] = {}
    size = 0
    for run_id, rows in histories:
        if size >= LOAD_BYTES:
            break
        events = [Event(*row) for row in rows]
        sizes = [len(event.data or b"") for event in events]
        if REFERENCE_LENGTH in sizes:
            events = [whole_event(event, fetch) for event in events]
            sizes = [len(event.data or b"") for event in events]
        found[run_id] = events
        size += sum(sizes)
    return found


def whole_claim(claimed: Claimed, fetch: Fetch, *, is_live: bool) -> None:
    """What a claim handed out is filled in. `is_live`: its body has read the payload."""
    if not is_live:
        claimed.run.payload = whole(claimed.run.payload, fetch)
    for row in claimed.inbox:
        row.data = whole(row.data, fetch)
    for message in claimed.messages:
        message.data = whole(message.data, fetch)


def check_whole(data: bytes | None, what: str) -> None:
    """Raise HistoryUnreadable where somebody wants to read a value that is gone."""
    if is_reference(data):
        raise HistoryUnreadable(
            f"WF2010 {what} ({size_of(data):,} bytes) is not in the table blobs any more: restore "
            "the database as it was before somebody removed it"
        )
