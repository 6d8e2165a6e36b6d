"""How each sort of span is drawn in a picture, and the legend that says so."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Final

from wf.client.timeline.ink import COLOURS, escaped, line, paint, rect, text, width_of
from wf.client.timeline.model import Outcome, Span, SpanKind, Timeline

BAR: Final = 16.0
"""The height of a bar."""
_FINE: Final = 2.5
"""Bars narrower than this that touch another of their sort are drawn with it."""
_HATCHED: Final = {SpanKind.WAIT: "wait", SpanKind.TOKEN: "token", SpanKind.MESSAGE: "message"}
_STEPS: Final = {
    Outcome.OK: "step",
    Outcome.OPEN: "step",
    Outcome.FAILED: "failed",
    Outcome.TIMED_OUT: "timed",
    Outcome.CANCELED: "canceled",
}

_RAILS: Final = {Outcome.FAILED: "failed", Outcome.TIMED_OUT: "timed"}


def bundled(spans: Iterable[Span], x: Callable[[int], float], timeline: Timeline) -> Iterator[Span]:
    """The spans, those as one that would be drawn upon each other."""
    last: Span | None = None
    reach = 0
    for span in spans:
        end = timeline.end_of(span)
        if last is not None:
            same = (span.kind, span.outcome) == (last.kind, last.outcome)
            if same and last.end_ms is not None and x(end) - x(last.start_ms) < _FINE:
                reach = max(reach, end)
                continue
            yield last if last.end_ms is None else replace(last, end_ms=reach)
        last, reach = span, end
    if last is not None:
        yield last if last.end_ms is None else replace(last, end_ms=reach)


def bar(span: Span, left: float, right: float, middle: float, tip: str) -> str:
    """One span. `tip`: what a mouse over it tells."""
    drawn = "".join(_drawn(span.kind, span.outcome, left, right, middle))
    return f"<g><title>{escaped(tip)}</title>{drawn}</g>"


def _drawn(
    kind: SpanKind, outcome: Outcome, left: float, right: float, middle: float
) -> Iterator[str]:
    top, wide = middle - BAR / 2, right - left
    radius = min(4.0, wide / 2)
    match kind:
        case SpanKind.RUN | SpanKind.CHILD:
            yield from _run(outcome, left, right, middle)
        case SpanKind.BATCH:
            yield from _batch(outcome, left, right, middle)
        case SpanKind.QUEUED:
            yield line(left, middle, right, middle, paint(stroke="mute", width=2), "1 4")
        case SpanKind.BACKOFF:
            yield line(left, middle, right, middle, paint(stroke="back-off", width=2), "5 3")
        case SpanKind.STEP if outcome is Outcome.LOST:
            yield rect(left, top, wide, BAR, paint("failed-paper", "failed"), radius)
            yield rect(left, top, wide, BAR, 'fill="url(#wf-lost)" fill-opacity="0.5"', radius)
        case SpanKind.STEP:
            yield rect(left, top, wide, BAR, paint(_STEPS[outcome]), radius)
            yield from _sign(outcome, left, right, middle)
        case SpanKind.WAIT | SpanKind.TOKEN | SpanKind.MESSAGE:
            name = _HATCHED[kind]
            edge = "canceled" if outcome is Outcome.CANCELED else f"{name}-edge"
            yield rect(left, top, wide, BAR, paint(name, edge), radius)
            yield rect(left, top, wide, BAR, f'fill="url(#wf-{name})" fill-opacity="0.45"', radius)
            if outcome is Outcome.TIMED_OUT:
                yield from _end(left, right, middle, "timed")
        case SpanKind.OTHER:
            yield rect(left, top, wide, BAR, paint("idle-paper", "mute"), radius)
    if outcome is Outcome.OPEN:
        yield from _goes_on(right, middle)


def _run(outcome: Outcome, left: float, right: float, middle: float) -> Iterator[str]:
    """A rail with ends."""
    look = paint(stroke=_RAILS.get(outcome, "run"), width=2.5)
    yield line(left, middle, right, middle, look)
    yield from _ends(outcome, left, right, middle, look)


def _batch(outcome: Outcome, left: float, right: float, middle: float) -> Iterator[str]:
    """Rails beside each other."""
    look = paint(stroke=_RAILS.get(outcome, "run"), width=1.6)
    for offset in (-3.5, 0, 3.5):
        yield line(left, middle + offset, right, middle + offset, look)
    yield from _ends(outcome, left, right, middle, look)


def _ends(outcome: Outcome, left: float, right: float, middle: float, look: str) -> Iterator[str]:
    yield line(left, middle - 5, left, middle + 5, look)
    if outcome is not Outcome.OPEN:
        yield line(right, middle - 5, right, middle + 5, look)


def _sign(outcome: Outcome, left: float, right: float, middle: float) -> Iterator[str]:
    """A cross in what failed, so that colour is not all that tells."""
    if outcome in {Outcome.FAILED, Outcome.TIMED_OUT} and right - left >= 12:
        x, r = (left + right) / 2, 3.2
        yield (
            f'<path d="M{x - r:.1f} {middle - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}" '
            f'stroke-linecap="round" {paint(stroke="on-step", width=1.8)}/>'
        )


def _end(left: float, right: float, middle: float, colour: str) -> Iterator[str]:
    yield line(right, middle - BAR / 2, right, middle + BAR / 2, paint(stroke=colour, width=3))


def _goes_on(right: float, middle: float) -> Iterator[str]:
    """It has not ended."""
    yield (
        f'<path d="M{right + 2:.1f} {middle - 4:.1f}l4 4l-4 4" stroke-linecap="round" '
        f'stroke-linejoin="round" {paint(stroke="ink", width=1.8)}/>'
    )


# --- the legend -----------------------------------------------------------------------------------

_LEGEND: Final[dict[tuple[SpanKind, Outcome], str]] = {
    (SpanKind.RUN, Outcome.OK): "run",
    (SpanKind.BATCH, Outcome.OK): "runs of a batch",
    (SpanKind.QUEUED, Outcome.OK): "queued",
    (SpanKind.STEP, Outcome.OK): "step",
    (SpanKind.STEP, Outcome.FAILED): "failed attempt",
    (SpanKind.STEP, Outcome.TIMED_OUT): "attempt timed out",
    (SpanKind.STEP, Outcome.CANCELED): "canceled",
    (SpanKind.STEP, Outcome.LOST): "worker lost",
    (SpanKind.BACKOFF, Outcome.OK): "back-off",
    (SpanKind.WAIT, Outcome.OK): "wait",
    (SpanKind.TOKEN, Outcome.OK): "token",
    (SpanKind.MESSAGE, Outcome.OK): "message",
}


@dataclass(frozen=True, slots=True)
class Legend:
    parts: list[str]
    height: float


def legend(
    kinds: Iterable[tuple[SpanKind, Outcome]],
    left: float,
    top: float,
    right: float,
    *,
    has_folds: bool,
) -> Legend:
    """What is in the picture, and no more."""
    present = {_entry(kind, outcome) for kind, outcome in kinds}
    parts: list[str] = []
    x, y = left, top
    for (kind, outcome), said in _LEGEND.items():
        if (kind, outcome) not in present:
            continue
        wide = 30 + width_of(len(said), 12) + 24
        if x + wide > right:
            x, y = left, y + 24
        parts += [*_drawn(kind, outcome, x, x + 22, y), text(x + 30, y + 4.2, said, 12, "mute")]
        x += wide
    if has_folds:
        said = "torn: nothing but waiting, drawn short"
        if x + 30 + width_of(len(said), 12) > right:
            x, y = left, y + 24
        for edge in (x + 6, x + 16):
            zigzag = f"M{edge:.1f} {y - 8:.1f}l3 4l-3 4l3 4l-3 4"
            parts.append(f'<path d="{zigzag}" {paint(stroke="mute", width=1.1)}/>')
        parts.append(text(x + 30, y + 4.2, said, 12, "mute"))
    return Legend(parts, y - top + 14)


def _entry(kind: SpanKind, outcome: Outcome) -> tuple[SpanKind, Outcome]:
    """Under which entry it stands."""
    if kind is SpanKind.CHILD:
        kind = SpanKind.RUN
    return (kind, outcome if (kind, outcome) in _LEGEND else Outcome.OK)


assert {name for names in _HATCHED.values() for name in (names, f"{names}-edge")} <= set(COLOURS)
