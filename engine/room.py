"""What runs take in a worker's memory, counted in the bytes of their stored values, and how many
more have room there.

A body may hold everything that its history tells it, and mostly does. What Python makes of JSON is
several times as large, so the limits leave room for that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from wf.engine.body import Body
from wf.history.blobs import size_of
from wf.history.events import Event
from wf.history.model import Claimed
from wf.history.store import Store

Histories = dict[bytes, list[Event]]
"""By run."""


def weight(body: Body) -> int:
    """In bytes."""
    return len(body.run.payload) + body.arrivals.size


def room(bodies: Mapping[bytes, Body], leaving: Sequence[Body], limit: int, most: int) -> int:
    """How many more runs, `most` at most, have room beside those that stay, if they are like those
    that are there."""
    total = sum(map(weight, bodies.values()))
    if total == 0:
        return most
    left = limit - total + sum(map(weight, leaving))
    alone = len(bodies) == len(leaving)
    return min(most, max(left * len(bodies) // total, int(alone)))


def take_in(
    store: Store,
    claimed: Sequence[Claimed],
    bodies: Mapping[bytes, Body],
    must_load: Callable[[Claimed], bool],
    limit: int,
) -> tuple[Histories, set[bytes]]:
    """The histories of those that need them, and the runs that have no room; one at least has. The
    last history that is read may be beyond the limit. Raises StoreUnavailable."""
    total = sum(map(weight, bodies.values()))
    is_empty = not bodies
    crowded: set[bytes] = set()
    missing: list[tuple[bytes, int]] = []
    for one in claimed:
        if one.run.id in bodies:
            continue
        size = _size_of(one)
        if total + size > limit and not is_empty:
            crowded.add(one.run.id)
            continue
        total += size
        is_empty = False
        if must_load(one):
            missing.append((one.run.id, one.run.chapter))
    histories: Histories = {}
    while missing and not (histories and total > limit):
        part = store.load(missing)
        histories |= part
        total += sum(len(event.data or b"") for events in part.values() for event in events)
        missing = [one for one in missing if one[0] not in part]
    return histories, crowded | {run_id for run_id, _ in missing}


def _size_of(claimed: Claimed) -> int:
    values = [claimed.run.payload]
    news = [row.data for row in claimed.inbox]
    return sum(map(size_of, values + news + [message.data for message in claimed.messages]))
