"""Where a moment is drawn: a scale that stays readable where a week of waiting stands beside steps
of milliseconds.

The scale is linear, but for *folds*: stretches in which nothing but waiting happens, drawn as a
break of fixed width with their true duration. What is folded is decided by what it makes readable:
a fold has a price, and so has every bar that is too narrow to be seen; the cheapest picture wins.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from wf.client.timeline.model import Outcome, Span, SpanKind, Timeline

FOLD_PRICE: Final = 0.4
"""A fold is worth it where it makes more than that of a bar readable."""
READABLE: Final = 0.025
"""A bar is read well if it is this part of the picture's width."""
MOST_FOLDS: Final = 8
"""More breaks than that are no picture of time any more."""
MOST_PRICED: Final = 500
"""Bars that are looked at: of more, every second one, or third, and so on."""
FOLDS_SHARE: Final = 0.55
"""Breaks take no more of the width than this."""
_SECOND, _MINUTE, _HOUR, _DAY = 1_000, 60_000, 3_600_000, 86_400_000
NICE: Final = (
    *(1, 2, 5, 10, 20, 50, 100, 200, 500),
    *(number * _SECOND for number in (1, 2, 5, 10, 15, 30)),
    *(number * _MINUTE for number in (1, 2, 5, 10, 15, 30)),
    *(number * _HOUR for number in (1, 2, 3, 6, 12)),
    *(number * _DAY for number in (1, 2, 7, 14, 28, 91, 182, 364)),
)
"""Distances of ticks, in ms."""


@dataclass(frozen=True, slots=True)
class Piece:
    """A stretch of time, and where it is drawn: `left` and `right` are parts of the width."""

    begin_ms: int
    end_ms: int
    left: float
    right: float
    is_fold: bool

    @property
    def length_ms(self) -> int:
        return self.end_ms - self.begin_ms


class Scale:
    """`pieces` cover the whole timeline, in order."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self.pieces = pieces
        self._begins = [piece.begin_ms for piece in pieces]

    def at(self, ms: int) -> float:
        """0.0 is the left border, 1.0 the right one."""
        piece = self.pieces[max(0, bisect_right(self._begins, ms) - 1)]
        if piece.length_ms <= 0:
            return piece.left
        part = (ms - piece.begin_ms) / piece.length_ms
        return piece.left + min(1.0, max(0.0, part)) * (piece.right - piece.left)

    @property
    def folds(self) -> Iterator[Piece]:
        return (piece for piece in self.pieces if piece.is_fold)

    def ticks(self, piece: Piece, narrowest: float) -> list[int]:
        """Round offsets (ms) from the beginning of a piece, at least that part of the width
        apart."""
        width = piece.right - piece.left
        if piece.is_fold or width <= 0 or piece.length_ms <= 0:
            return []
        least = piece.length_ms * narrowest / width
        distance = next((one for one in NICE if one >= least), piece.length_ms + 1)
        return list(range(distance, piece.length_ms + 1, distance))


def scale_of(timeline: Timeline, fold_width: float) -> Scale:
    """`fold_width`: the part of the width that a break takes where there is room."""
    whole = (timeline.begin_ms, max(timeline.end_ms, timeline.begin_ms + 1))
    spans = [
        (span.start_ms, timeline.end_of(span))
        for span in timeline.spans()
        if span.outcome is not Outcome.OPEN or _is_work(span)
    ]
    spans = spans[:: len(spans) // MOST_PRICED + 1]
    gaps = sorted(_gaps(timeline, whole), key=lambda gap: gap[0] - gap[1])[:MOST_FOLDS]
    choices = [_pieces(whole, sorted(gaps[:count]), fold_width) for count in range(len(gaps) + 1)]
    return min((Scale(pieces) for pieces in choices), key=lambda scale: _price(scale, spans))


def _price(scale: Scale, spans: Sequence[tuple[int, int]]) -> float:
    price = FOLD_PRICE * sum(1 for _ in scale.folds)
    for start, end in spans:
        if end > start:
            price += max(0.0, 1.0 - (scale.at(end) - scale.at(start)) / READABLE)
    return price


def _gaps(timeline: Timeline, whole: tuple[int, int]) -> list[tuple[int, int]]:
    """Stretches in which no step is at work and nothing begins or ends."""
    moments = {*whole}
    busy: list[tuple[int, int]] = []
    for lane in timeline.lanes:
        moments.update(mark.at_ms for mark in lane.marks)
        for span in lane.spans:
            moments.update((span.start_ms, timeline.end_of(span)))
            if _is_work(span):
                busy.append((span.start_ms, timeline.end_of(span)))
    covered = whole[0]
    order = sorted(moments)
    active: list[tuple[int, int]] = sorted(busy)
    gaps: list[tuple[int, int]] = []
    place = 0
    for begin, end in pairwise(order):
        while place < len(active) and active[place][0] <= begin:
            covered = max(covered, active[place][1])
            place += 1
        if covered <= begin:
            gaps.append((begin, end))
    return gaps


def _is_work(span: Span) -> bool:
    """Nobody works on what a lost worker had, until it is taken over."""
    return span.kind is SpanKind.STEP and span.outcome is not Outcome.LOST


def _pieces(
    whole: tuple[int, int], folds: Sequence[tuple[int, int]], fold_width: float
) -> list[Piece]:
    begin, end = whole
    width = min(fold_width, FOLDS_SHARE / len(folds)) if folds else 0.0
    shown = (end - begin) - sum(fold_end - fold_begin for fold_begin, fold_end in folds)
    if shown <= 0:
        width = 1.0 / len(folds)
    rate = (1.0 - width * len(folds)) / shown if shown > 0 else 0.0
    pieces: list[Piece] = []
    at, left = begin, 0.0
    for fold_begin, fold_end in [*folds, (end, end)]:
        if fold_begin > at:
            right = left + (fold_begin - at) * rate
            pieces.append(Piece(at, fold_begin, left, right, is_fold=False))
            left = right
        if fold_end > fold_begin:
            pieces.append(Piece(fold_begin, fold_end, left, left + width, is_fold=True))
            left += width
        at = fold_end
    return pieces
