"""A timeline as a picture: one SVG element that stands by itself, for a talk or a page."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from wf.client.timeline import words
from wf.client.timeline.bars import BAR, bar, bundled, legend
from wf.client.timeline.ink import (
    FONT,
    escaped,
    hatch,
    line,
    paint,
    rect,
    style_sheet,
    text,
    width_of,
)
from wf.client.timeline.merging import HEADS, merged
from wf.client.timeline.model import Lane, MarkKind, SpanKind, Timeline
from wf.client.timeline.scale import Piece, Scale, scale_of
from wf.engine.core.durations import show_duration
from wf.history.events import Status

WIDTH: Final = 1200
"""Units of the picture; it scales to what it is put into."""
MOST_LANES: Final = 40
"""More can be read by nobody in one picture."""
ROW: Final = 30
MARGIN: Final = 28
TOP: Final = 124
"""Where the first lane begins: title and axis are above."""
FOLD: Final = 72
"""The width of a break: its duration is written in it."""
TEAR: Final = 11
"""The gap of a break."""
NAMES: Final = (130, 300)
"""The column of names is as wide as they are, between these."""
NOTES: Final = 150
"""Room on the right of the bars, for what is said of the last ones."""
INDENT: Final = 16
_STATUS: Final = {
    Status.COMPLETED: ("ok", "ok-paper"),
    Status.FAILED: ("failed", "failed-paper"),
    Status.TIMED_OUT: ("timed", "failed-paper"),
    Status.EXECUTING: ("step", "live-paper"),
    Status.WAITING: ("step", "live-paper"),
}
_IDLE: Final = ("mute", "idle-paper")
_MARKS: Final = {
    MarkKind.TAKEN: "failed",
    MarkKind.CANCEL: "canceled",
    MarkKind.TIME_OUT: "timed",
    MarkKind.PARKED: "token-edge",
}


@dataclass(frozen=True, slots=True)
class Frame:
    """Where things stand."""

    timeline: Timeline
    lanes: Sequence[Lane]
    hidden: int
    scale: Scale
    left: float
    right: float
    zone: tzinfo | None

    def x(self, ms: int) -> float:
        return self.left + self.scale.at(ms) * (self.right - self.left)

    def edge(self, part: float) -> float:
        return self.left + part * (self.right - self.left)

    @property
    def bottom(self) -> float:
        return TOP + ROW * (len(self.lanes) + (1 if self.hidden else 0))


def svg(timeline: Timeline, zone: tzinfo | None = None) -> str:
    """`zone`: of the times in it; None: that of this process."""
    frame = _frame(timeline, zone)
    kinds = {(span.kind, span.outcome) for lane in frame.lanes for span in lane.spans}
    has_folds = any(frame.scale.folds)
    below = legend(kinds, MARGIN, frame.bottom + 34, WIDTH - MARGIN, has_folds=has_folds)
    height = round(frame.bottom + 34 + below.height + MARGIN - 8)
    size = f'viewBox="0 0 {WIDTH} {height}" width="100%" style="max-width:{WIDTH}px"'
    name = escaped(f"{timeline.task} {timeline.run}: {timeline.status}")
    xmlns = 'xmlns="http://www.w3.org/2000/svg"'
    parts = [
        f'<svg {xmlns} class="wf-timeline" {size} role="img" {FONT}><title>{name}</title>',
        style_sheet(),
        "<defs>",
        hatch("wf-wait", "wait-edge"),
        hatch("wf-token", "token-edge"),
        hatch("wf-message", "message-edge"),
        hatch("wf-lost", "failed"),
        "</defs>",
        rect(0, 0, WIDTH, height, paint("paper"), 10),
        *_title(frame),
        *_grid(frame),
        *_lanes(frame),
        *_breaks(frame),
        *_notes(frame),
        *_marks(frame),
        *_axis(frame),
        *below.parts,
        "</svg>",
    ]
    return "".join(parts)


def _frame(timeline: Timeline, zone: tzinfo | None) -> Frame:
    lanes, hidden = merged(timeline.lanes, MOST_LANES)
    widest = max(
        lane.depth * INDENT + width_of(words.columns(words.title_of(lane)), 13.5) for lane in lanes
    )
    left = MARGIN + min(max(widest, NAMES[0]), NAMES[1]) + 18
    right = WIDTH - MARGIN - NOTES
    scale = scale_of(timeline, FOLD / (right - left))
    return Frame(timeline, lanes, hidden + timeline.left_out, scale, left, right, zone)


def _title(frame: Frame) -> Iterator[str]:
    timeline = frame.timeline
    name = words.cut(timeline.task, 48)
    yield text(MARGIN, 46, name, 24, "ink", weight=650)
    x = MARGIN + width_of(words.columns(name), 24, is_bold=True) + 12
    colour, paper = _STATUS.get(timeline.status, _IDLE)
    said = timeline.status.value.replace("_", " ").lower()
    wide = width_of(len(said), 13, is_bold=True) + 20
    yield rect(x, 27, wide, 24, paint(paper), 12)
    yield text(x + wide / 2, 43.5, said, 13, colour, weight=600, anchor="middle")
    begin = timeline.begin_ms
    whole = show_duration(timeline.end_ms - begin)
    when = f"{words.moment(begin, frame.zone)} {words.zone_name(begin, frame.zone)}"
    yield text(WIDTH - MARGIN, 43, whole, 20, "ink", weight=600, anchor="end")
    yield text(WIDTH - MARGIN, 66, when, 12.5, "mute", anchor="end")
    tries = f"  ·  {timeline.attempt} attempts" if timeline.attempt > 1 else ""
    yield text(MARGIN, 70, f"{timeline.run}{tries}", 12.5, "mute")


def _grid(frame: Frame) -> Iterator[str]:
    for number in range(0, len(frame.lanes), 2):
        y = TOP + number * ROW
        yield rect(MARGIN - 8, y, WIDTH - 2 * MARGIN + 16, ROW, paint("band"), 5)
    for piece, ticks in _ticks(frame):
        for tick in [0, *ticks] if not piece.is_fold else ticks:
            x = frame.x(piece.begin_ms + tick)
            yield line(x, TOP, x, frame.bottom, paint(stroke="line"))


def _ticks(frame: Frame) -> Iterator[tuple[Piece, list[int]]]:
    narrowest = 74 / (frame.right - frame.left)
    for piece in frame.scale.pieces:
        yield piece, frame.scale.ticks(piece, narrowest)


def _axis(frame: Frame) -> Iterator[str]:
    """Below: how long since the beginning of the piece. Above: when that was."""
    y, free, free_above = TOP - 10, 0.0, 0.0
    yield line(frame.left, TOP, frame.right, TOP, paint(stroke="line", width=1.5))
    shown_day = ""
    for piece, ticks in _ticks(frame):
        left, right = frame.edge(piece.left), frame.edge(piece.right)
        if piece.is_fold:
            said = show_duration(piece.length_ms)
            if width_of(len(said), 12) <= right - left:
                yield text((left + right) / 2, y, said, 12, "ink", weight=650, anchor="middle")
                free = right
            continue
        day, clock = words.day(piece.begin_ms, frame.zone), words.clock(piece.begin_ms, frame.zone)
        stamp = clock if day == shown_day else f"{day} {clock}"
        wide = width_of(len(stamp), 11)
        if left >= free_above and left + wide <= WIDTH - MARGIN:
            yield text(left, y - 16, stamp, 11, "mute")
            free_above, shown_day = left + wide + 12, day
        for tick in [0, *ticks]:
            x = frame.x(piece.begin_ms + tick)
            said = f"+{show_duration(tick)}" if tick else "0"
            wide = width_of(len(said), 11)
            if x >= free and x + wide <= right + 40:
                yield text(x, y, said, 11, "mute")
                free = x + wide + 10


def _lanes(frame: Frame) -> Iterator[str]:
    for number, lane in enumerate(frame.lanes):
        y = TOP + number * ROW
        middle = y + ROW / 2
        x = MARGIN + lane.depth * INDENT
        room = int((frame.left - x - 12) / width_of(1, 13.5))
        is_run = lane.kind in HEADS
        name = words.cut(words.title_of(lane), room)
        colour = "ink" if is_run or lane.kind is SpanKind.STEP else "mute"
        yield text(x, middle + 4.7, name, 13.5, colour, weight=650 if is_run else 400)
        for span in bundled(lane.spans, frame.x, frame.timeline):
            left, right = frame.x(span.start_ms), frame.x(frame.timeline.end_of(span))
            tip = words.told(span, frame.timeline)
            yield bar(span, left, max(right, left + 2), middle, tip)
    if frame.hidden:
        said = f"… and {frame.hidden:,} more"
        yield text(MARGIN, frame.bottom - ROW / 2 + 4.7, said, 13.5, "mute")


def _notes(frame: Frame) -> Iterator[str]:
    """What is said of a lane: after its last bar, or before its first, where there is more room."""
    for number, lane in enumerate(frame.lanes):
        if not lane.spans:
            continue
        y = TOP + number * ROW + ROW / 2 + 4.3
        ends = [frame.x(frame.timeline.end_of(span)) for span in lane.spans]
        begin, end = frame.x(lane.spans[0].start_ms) - 10, max(ends) + 12
        said = words.note_of(lane, frame.timeline, frame.zone)
        error = words.error_of(lane)
        letter = width_of(1, 12)
        after, before = int((WIDTH - MARGIN - end) / letter), int((begin - frame.left) / letter)
        wanted = words.columns(f"{said}  {error}".rstrip())
        room = before if wanted > after and before > after else after
        said = words.cut(said, room)
        left = room - words.columns(said) - 2
        told = [(said, "mute"), (words.cut(error, left) if left > 12 else "", "failed")]
        is_before = room == before != after
        x = begin if is_before else end
        for part, colour in reversed(told) if is_before else told:
            if part:
                anchor = "end" if is_before else ""
                yield text(x, y, part, 12, colour, anchor=anchor, is_over=True)
                wide = width_of(words.columns(part), 12) + 12
                x += -wide if is_before else wide


def _breaks(frame: Frame) -> Iterator[str]:
    """What is folded away: the paper is torn."""
    for piece in frame.scale.folds:
        left, right = frame.edge(piece.left), frame.edge(piece.right)
        middle, half = (left + right) / 2, min(TEAR / 2, (right - left) / 4)
        near = _torn(middle - half, TOP - 5, frame.bottom + 5)
        far = _torn(middle + half, TOP - 5, frame.bottom + 5)
        points = " ".join(near + far[::-1])
        yield f'<polygon points="{points}" {paint("paper")}/>'
        for edge in (near, far):
            yield f'<polyline points="{" ".join(edge)}" {paint(stroke="mute", width=1.1)}/>'


def _torn(x: float, top: float, bottom: float) -> list[str]:
    """The points of a jagged edge."""
    teeth = max(1, round((bottom - top) / 10)) * 2
    step = (bottom - top) / teeth
    return [
        f"{x + (2.5 if number % 2 else -2.5):.1f},{top + number * step:.1f}"
        for number in range(teeth + 1)
    ]


def _marks(frame: Frame) -> Iterator[str]:
    """Moments of a run, through all of its lanes, with a flag in its own."""
    for number, lane in enumerate(frame.lanes):
        below = number + 1
        while below < len(frame.lanes) and frame.lanes[below].depth > lane.depth:
            below += 1
        top, bottom = TOP + number * ROW, TOP + below * ROW
        free = WIDTH - float(MARGIN)
        for mark in reversed(lane.marks):
            x, colour = frame.x(mark.at_ms), _MARKS.get(mark.kind, "mute")
            yield line(x, top + 4, x, bottom, paint(stroke=colour, width=1.3), "4 3")
            wide = width_of(words.columns(mark.label), 11) + 14
            room = free - x
            at = x if wide <= room else x - wide
            if wide <= room or (at > frame.left and x <= free):
                yield rect(at, top + 2, wide, 17, paint("paper", colour), 4)
                yield text(at + 7, top + 14.3, mark.label, 11, colour, weight=600)
                free = at - 4


__all__ = ["BAR", "svg"]
