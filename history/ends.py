"""A page: the ends of several runs as the data of one event.

A line of JSON, [place, status, bytes or null] for each, and then their outputs and failures as they
were stored, one after the other: none of them is parsed to make or to read a page.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple


class End(NamedTuple):
    """`place`: which of the runs that were waited for; `data`: output, or Failure."""

    place: int
    status: str
    data: bytes | None


def page(ends: Sequence[End]) -> bytes:
    head = [[end.place, end.status, None if end.data is None else len(end.data)] for end in ends]
    return b"\n".join(
        [
            json.dumps(head, separators=(",", ":")).encode(),
            b"".join(end.data for end in ends if end.data is not None),
        ]
    )


def ends_of(data: bytes | None) -> Iterator[End]:
    head, _, rest = (data or b"[]").partition(b"\n")
    start = 0
    items: list[tuple[int, str, int | None]] = json.loads(head)
    for place, status, length in items:
        if length is None:
            yield End(place, status, None)
        else:
            yield End(place, status, rest[start : start + length])
            start += length


def shown(data: bytes | None) -> list[dict[str, Any]]:
    """A page for people."""
    return [
        {
            "place": end.place,
            "status": end.status,
            "data": json.loads(end.data) if end.data is not None else None,
        }
        for end in ends_of(data)
    ]
