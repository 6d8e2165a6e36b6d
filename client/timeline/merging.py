"""Fewer lanes, where a picture has no room for all: those of one sort become one, with all of their
spans."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from functools import reduce
from operator import add
from typing import Final

from wf.client.timeline.model import Lane, SpanKind


def merged(lanes: Sequence[Lane], most: int) -> tuple[list[Lane], int]:
    """At most so many lanes; and how many were left out because even so there are too many.

    First the repeated operations of each run become one, those with the most lanes first; then the
    runs (and batches) of one task below one parent, with what is below them.
    """
    found = list(lanes)
    while len(found) > most:
        counts = Counter(_operation(lane) for lane in found if lane.kind not in HEADS)
        largest, count = max(counts.items(), key=lambda item: item[1], default=((), 0))
        if count < 2:
            break
        found = _as_one(found, [lane for lane in found if _operation(lane) == largest])
    while len(found) > most:
        runs = Counter(lane.path for lane in found if lane.kind in HEADS)
        paths = sorted((path for path, count in runs.items() if count > 1), key=len)
        if not paths:
            break
        found = _as_one(found, [lane for lane in found if lane.path[: len(paths[0])] == paths[0]])
    if len(found) > most:
        return found[: most - 1], len(found) - most + 1
    return found, 0


HEADS: Final = frozenset({SpanKind.RUN, SpanKind.BATCH})
"""Lanes that others are below."""


def _operation(lane: Lane) -> tuple[object, ...]:
    return (lane.run, lane.path, lane.kind)


def _as_one(lanes: list[Lane], some: list[Lane]) -> list[Lane]:
    """The lanes, with `some` of them merged by path, at the place of the first."""
    groups: dict[tuple[str, ...], list[Lane]] = {}
    for lane in some:
        groups.setdefault(lane.path, []).append(lane)
    place = {path: number for number, path in enumerate(groups)}
    order = sorted(groups, key=lambda path: [place.get(path[:n], -1) for n in range(len(path) + 1)])
    gone = {id(lane) for lane in some}
    first = next(number for number, lane in enumerate(lanes) if id(lane) in gone)
    rest = [lane for lane in lanes[first:] if id(lane) not in gone]
    return [*lanes[:first], *(_one(groups[path]) for path in order), *rest]


def _one(lanes: list[Lane]) -> Lane:
    spans = sorted((span for lane in lanes for span in lane.spans), key=lambda one: one.start_ms)
    marks = sorted((mark for lane in lanes for mark in lane.marks), key=lambda one: one.at_ms)
    count = sum(lane.count for lane in lanes)
    tallies = [lane.tally for lane in lanes if lane.tally is not None]
    tally = reduce(add, tallies) if tallies else None
    return replace(lanes[0], spans=tuple(spans), marks=tuple(marks), count=count, tally=tally)
