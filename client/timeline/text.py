"""A timeline as lines of text: bars in a terminal, the same without colour in a pipe. Knows no
terminal: a line is a list of (text, style), styles in the words of rich."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from wf.client.timeline import words
from wf.client.timeline.merging import HEADS, merged
from wf.client.timeline.model import Lane, Mark, MarkKind, Outcome, Span, SpanKind, Timeline
from wf.client.timeline.scale import Piece, Scale, scale_of
from wf.engine.core.durations import show_duration

WIDTH: Final = 110
"""Columns, where nobody says how many there are."""
NARROWEST: Final = 60
"""Below this nothing can be drawn well; lines are longer than the terminal then."""
MOST_LANES: Final = 60
NAMES: Final = (12, 34)
"""The column of names is as wide as they are, between these."""
NOTES: Final = (16, 44)
"""So is that of notes, but for the longest, which are cut."""
FOLD: Final = 8
"""Columns of a break: its duration is written above it."""

Part = tuple[str, str]
"""Text and its style."""
Line = list[Part]


@dataclass(frozen=True, slots=True)
class Glyphs:
    """What bars are made of."""

    bars: dict[tuple[SpanKind, Outcome | None], str]
    marks: dict[MarkKind, str]
    tear: str
    opens: str
    dots: str


_UNICODE: Final = Glyphs(
    {
        (SpanKind.RUN, None): "━",
        (SpanKind.QUEUED, None): "┈",
        (SpanKind.STEP, None): "█",
        (SpanKind.STEP, Outcome.FAILED): "✗",
        (SpanKind.STEP, Outcome.TIMED_OUT): "✗",
        (SpanKind.STEP, Outcome.CANCELED): "▒",
        (SpanKind.STEP, Outcome.LOST): "▚",
        (SpanKind.BACKOFF, None): "╌",
        (SpanKind.WAIT, None): "░",
        (SpanKind.TOKEN, None): "▒",
        (SpanKind.MESSAGE, None): "▒",
        (SpanKind.CHILD, None): "━",
        (SpanKind.BATCH, None): "═",
        (SpanKind.OTHER, None): "▪",
    },
    {MarkKind.TAKEN: "↯", MarkKind.ATTEMPT: "↻", MarkKind.CANCEL: "⊘", MarkKind.PARKED: "‖"},
    "\N{BOX DRAWINGS LIGHT DIAGONAL UPPER RIGHT TO LOWER LEFT}" * 2,
    "▸",
    "…",
)
_ASCII: Final = Glyphs(
    {
        (SpanKind.RUN, None): "=",
        (SpanKind.QUEUED, None): ".",
        (SpanKind.STEP, None): "#",
        (SpanKind.STEP, Outcome.FAILED): "x",
        (SpanKind.STEP, Outcome.TIMED_OUT): "x",
        (SpanKind.STEP, Outcome.CANCELED): "%",
        (SpanKind.STEP, Outcome.LOST): "?",
        (SpanKind.BACKOFF, None): "~",
        (SpanKind.WAIT, None): ":",
        (SpanKind.TOKEN, None): "o",
        (SpanKind.MESSAGE, None): "m",
        (SpanKind.CHILD, None): "=",
        (SpanKind.BATCH, None): "+",
        (SpanKind.OTHER, None): "*",
    },
    {MarkKind.TAKEN: "!", MarkKind.ATTEMPT: "@", MarkKind.CANCEL: "-", MarkKind.PARKED: "|"},
    "//",
    ">",
    "...",
)
_STYLES: Final[dict[tuple[SpanKind, Outcome | None], str]] = {
    (SpanKind.RUN, None): "bright_black",
    (SpanKind.RUN, Outcome.FAILED): "red",
    (SpanKind.RUN, Outcome.TIMED_OUT): "red",
    (SpanKind.QUEUED, None): "bright_black",
    (SpanKind.STEP, None): "blue",
    (SpanKind.STEP, Outcome.FAILED): "red",
    (SpanKind.STEP, Outcome.TIMED_OUT): "red",
    (SpanKind.STEP, Outcome.CANCELED): "bright_black",
    (SpanKind.STEP, Outcome.LOST): "red",
    (SpanKind.BACKOFF, None): "yellow",
    (SpanKind.WAIT, None): "cyan",
    (SpanKind.TOKEN, None): "magenta",
    (SpanKind.MESSAGE, None): "green",
    (SpanKind.CHILD, None): "bright_black",
    (SpanKind.BATCH, None): "bright_black",
    (SpanKind.BATCH, Outcome.FAILED): "red",
    (SpanKind.BATCH, Outcome.TIMED_OUT): "red",
    (SpanKind.OTHER, None): "",
}
_MARK_STYLES: Final = {MarkKind.TAKEN: "bold red"}
_STATUS_STYLES: Final = {"COMPLETED": "green", "FAILED": "red", "TIMED_OUT": "red"}


def plain(timeline: Timeline, width: int = WIDTH) -> str:
    """Without colours."""
    rows = lines(timeline, width)
    return "\n".join("".join(part for part, _ in row).rstrip() for row in rows)


def lines(
    timeline: Timeline, width: int = WIDTH, *, zone: tzinfo | None = None, is_ascii: bool = False
) -> list[Line]:
    """A head, the axis, a line for each lane, the notes of its marks."""
    sheet = _Sheet(timeline, width, zone, _ASCII if is_ascii else _UNICODE)
    return [*sheet.head(), *sheet.axis(), *sheet.rows()]


class _Sheet:
    """Columns: names, bars, notes."""

    def __init__(self, timeline: Timeline, width: int, zone: tzinfo | None, glyphs: Glyphs) -> None:
        self._timeline = timeline
        self._zone = zone
        self._glyphs = glyphs
        self._lanes, self._hidden = merged(timeline.lanes, MOST_LANES)
        self._width = max(width, NARROWEST)
        names = max((words.columns(self._name(lane)) for lane in self._lanes), default=0)
        self._names = min(max(names, NAMES[0]), NAMES[1], self._width // 3)
        most = min(NOTES[1], self._width // 3)
        notes = [words.columns(self._said(lane)) for lane in self._lanes]
        notes += [words.columns(self._with_error(lane)) for lane in self._lanes]
        self._notes = max(NOTES[0], *(note for note in notes if note <= most), 0)
        self._bars = self._width - self._names - self._notes - 4
        self._scale: Scale = scale_of(timeline, FOLD / self._bars)

    def head(self) -> list[Line]:
        timeline = self._timeline
        status = timeline.status.value
        tries = f", attempt {timeline.attempt}" if timeline.attempt > 1 else ""
        begin = words.moment(timeline.begin_ms, self._zone)
        whole = show_duration(timeline.end_ms - timeline.begin_ms)
        return [
            [
                (timeline.task, "bold"),
                (f"  {timeline.run}  ", "bright_black"),
                (status, _STATUS_STYLES.get(status, "cyan")),
                (tries, ""),
                (f"  {whole} from {begin}", "bright_black"),
            ],
            [("", "")],
        ]

    def axis(self) -> list[Line]:
        """Offsets from the beginning of each piece; the duration of each break."""
        cells = [" "] * (self._bars + 1)
        free = 0
        for piece in self._scale.pieces:
            left, right = self._cell(piece.left), self._cell(piece.right)
            if piece.is_fold:
                said = show_duration(piece.length_ms)
                at = max(free, left + max(0, (right - left - len(said)) // 2))
                free = self._write(cells, at, said, right)
                continue
            for tick in [0, *self._scale.ticks(piece, 10 / self._bars)]:
                at = self._at(piece.begin_ms + tick)
                said = f"+{show_duration(tick)}" if tick else self._begin_of(piece)
                if at >= free:
                    free = self._write(cells, at, said, right)
        return [[(" " * (self._names + 2), ""), ("".join(cells), "bright_black")]]

    def rows(self) -> list[Line]:
        rows: list[Line] = []
        for lane in self._lanes:
            is_run = lane.kind in HEADS
            name = words.cut(self._name(lane), self._names)
            gap = " " * (self._names - words.columns(name) + 2)
            style = "bold" if is_run else "" if lane.kind is SpanKind.STEP else "bright_black"
            said = self._said(lane)
            note, counts = said, ""
            if lane.tally is not None and words.columns(said) > self._notes:
                note, _, counts = said.partition(", ")
            note = words.cut(note, self._notes)
            error = words.error_of(lane)
            row: Line = [(name + gap, style), *self._bar(lane), ("  ", ""), (note, "bright_black")]
            rows.append(row)
            if counts:
                rows.append(self._below(lane, counts, ""))
            if error and words.columns(self._with_error(lane)) <= self._notes:
                row.append((f"  {error}", "red"))
            elif error:
                rows.append(self._below(lane, error, "red"))
            rows += [self._below(lane, self._told(mark), "") for mark in lane.marks[:_MOST_MARKS]]
        hidden = self._hidden + self._timeline.left_out
        if hidden:
            rows.append([(f"{self._glyphs.dots} and {hidden:,} more", "bright_black")])
        return rows

    def _below(self, lane: Lane, said: str, style: str) -> Line:
        indent = " " * (2 * lane.depth + 2)
        return [(words.cut(f"{indent}{said}", self._width), style or "bright_black")]

    def _bar(self, lane: Lane) -> Line:
        cells: list[Part] = [(" ", "")] * self._bars
        # Steps last: nothing that is shown beside them hides one.
        for span in sorted(lane.spans, key=lambda one: one.kind is SpanKind.STEP):
            first, last = self._range(span)
            for place in range(first, last + 1):
                cells[place] = self._look(span)
            if span.outcome is Outcome.OPEN:
                cells[last] = (self._glyphs.opens, "bold")
        for mark in lane.marks:
            at = min(self._at(mark.at_ms), self._bars - 1)
            cells[at] = (self._mark(mark.kind), _MARK_STYLES.get(mark.kind, "bold"))
        for piece in self._scale.folds:
            middle = (self._cell(piece.left) + self._cell(piece.right)) // 2
            for place, letter in enumerate(self._glyphs.tear, middle - 1):
                if 0 <= place < self._bars and self._cell(piece.left) <= place:
                    cells[place] = (letter, "bright_black")
        return _joined(cells)

    def _range(self, span: Span) -> tuple[int, int]:
        """The first and the last cell: one at least."""
        first = min(self._at(span.start_ms), self._bars - 1)
        end = self._scale.at(self._timeline.end_of(span)) * self._bars
        return first, min(max(first, round(end) - 1), self._bars - 1)

    def _look(self, span: Span) -> Part:
        bars = self._glyphs.bars
        glyph = bars.get((span.kind, span.outcome)) or bars[span.kind, None]
        style = _STYLES.get((span.kind, span.outcome)) or _STYLES[span.kind, None]
        return glyph, style

    def _mark(self, kind: MarkKind) -> str:
        return self._glyphs.marks.get(kind, "*" if self._glyphs is _ASCII else "◆")

    def _at(self, ms: int) -> int:
        return self._cell(self._scale.at(ms))

    def _cell(self, part: float) -> int:
        return int(part * self._bars + 1e-9)

    def _name(self, lane: Lane) -> str:
        return "  " * lane.depth + words.title_of(lane)

    def _with_error(self, lane: Lane) -> str:
        return f"{self._said(lane)}  {words.error_of(lane)}".rstrip()

    def _said(self, lane: Lane) -> str:
        return words.note_of(lane, self._timeline, self._zone)

    def _told(self, mark: Mark) -> str:
        return f"{self._mark(mark.kind)} {words.moment(mark.at_ms, self._zone)} {mark.label}"

    def _begin_of(self, piece: Piece) -> str:
        return "0" if piece.begin_ms == self._timeline.begin_ms else "|"

    def _write(self, cells: list[str], at: int, said: str, limit: int) -> int:
        """Answers the first cell that is free after it; nothing is written where there is no
        room."""
        if at + len(said) > min(max(limit, 0) + 1, len(cells)):
            return at
        cells[at : at + len(said)] = said
        return at + len(said) + 1


_MOST_MARKS: Final = 5
"""Of one lane that are told of below it."""


def _joined(cells: Sequence[Part]) -> Line:
    """Neighbours of one style as one."""
    found: Line = []
    for letter, style in cells:
        if found and found[-1][1] == style:
            found[-1] = (found[-1][0] + letter, style)
        else:
            found.append((letter, style))
    return found
