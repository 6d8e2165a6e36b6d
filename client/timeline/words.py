"""What both pictures of a timeline say in words."""

from __future__ import annotations

import unicodedata
from datetime import UTC, datetime, tzinfo
from typing import Final

from wf.client.timeline.model import Lane, Outcome, Span, SpanKind, Tally, Timeline
from wf.engine.core.durations import show_duration

TIMES: Final = "\N{MULTIPLICATION SIGN}"
_ENDS: Final = {
    Outcome.FAILED: "failed",
    Outcome.CANCELED: "canceled",
    Outcome.TIMED_OUT: "timed out",
    Outcome.LOST: "cut short: its worker was lost",
}


def title_of(lane: Lane) -> str:
    count = lane.tally.runs if lane.tally is not None else lane.count
    return f"{lane.title} {TIMES}{count:,}" if count > 1 else lane.title


def duration_of(span: Span, timeline: Timeline) -> str:
    length = show_duration(max(0, timeline.end_of(span) - span.start_ms))
    return f"{length} so far" if span.outcome is Outcome.OPEN else length


def note_of(lane: Lane, timeline: Timeline, zone: tzinfo | None) -> str:
    """What is to be said of a lane: how long, how often, until when."""
    main = [span for span in lane.spans if span.kind is lane.kind] or list(lane.spans)
    if not main:
        return ""
    last = main[-1]
    words = [duration_of(last, timeline)]
    if lane.count > 1:
        total = sum(timeline.end_of(span) - span.start_ms for span in main)
        words = [f"{show_duration(total)} in all"]
    elif last.attempt > 1:
        words.append(f"attempt {last.attempt}")
    if lane.tally is not None:
        words += _counts(lane.tally)
    elif last.outcome in _ENDS:
        words.append(_ENDS[last.outcome])
    if any(span.outcome is Outcome.LOST for span in main[:-1]):
        words.append("again after its worker was lost")
    due = lane.spans[-1].due_ms
    if due is not None:
        words.append(f"until {moment(due, zone)}")
        if due > timeline.seen_ms:
            words.append(f"{show_duration(due - timeline.seen_ms)} left")
    return ", ".join(words)


def _counts(tally: Tally) -> list[str]:
    """How many of a batch ended, and how many of them in another way than they should."""
    before = tally.runs - tally.completed - tally.failed - tally.canceled - tally.live
    ended = tally.completed + tally.failed + tally.canceled
    counts = {"failed": tally.failed, "canceled": tally.canceled, "were there before": before}
    of_all = f" of {tally.runs - before:,}" if tally.live else ""
    return [
        f"{ended:,}{of_all} ended",
        *(f"{count:,} {what}" for what, count in counts.items() if count),
    ]


def error_of(lane: Lane) -> str:
    """The last error that is told of in it."""
    return next((span.detail for span in reversed(lane.spans) if span.detail), "")


def told(span: Span, timeline: Timeline) -> str:
    """One span, in full."""
    what = span.kind.value if span.kind is not SpanKind.STEP else f"attempt {span.attempt or 1}"
    parts = [f"{what}: {duration_of(span, timeline)}"]
    if span.outcome in _ENDS:
        parts.append(_ENDS[span.outcome])
    return ", ".join(parts) + (f": {span.detail}" if span.detail else "")


def moment(ms: int, zone: tzinfo | None) -> str:
    """`zone` None: that of who looks."""
    return f"{_at(ms, zone):%Y-%m-%d %H:%M:%S}"


def clock(ms: int, zone: tzinfo | None) -> str:
    """The time of day."""
    return f"{_at(ms, zone):%H:%M:%S}"


def day(ms: int, zone: tzinfo | None) -> str:
    return f"{_at(ms, zone):%Y-%m-%d}"


def zone_name(ms: int, zone: tzinfo | None) -> str:
    return f"{_at(ms, zone):%Z}"


def _at(ms: int, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(ms / 1_000, UTC).astimezone(zone)


def columns(text: str) -> int:
    """How many columns of a terminal it takes."""
    return sum(map(_columns, text))


def _columns(letter: str) -> int:
    if unicodedata.combining(letter):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, width: int) -> str:
    """At most so many columns."""
    if columns(text) <= width:
        return text
    kept = ""
    for letter in text:
        if columns(kept + letter) > width - 1:
            break
        kept += letter
    return f"{kept}…" if width > 0 else ""
