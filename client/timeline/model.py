"""A run over time, as plain data: lanes with spans and marks. Times in ms since the epoch (UTC)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from wf.history.events import Status


class SpanKind(StrEnum):
    """What goes on in a span of time."""

    RUN = "run"
    """An attempt of a run, from its beginning to its end."""
    QUEUED = "queued"
    """A run exists and has not begun: delayed, or no worker took it yet."""
    STEP = "step"
    """An attempt of a step."""
    BACKOFF = "back-off"
    """An attempt failed, and the next one is not due yet."""
    WAIT = "wait"
    """A durable timer."""
    TOKEN = "token"
    """The body waits for somebody outside to complete a token."""
    MESSAGE = "message"
    """The body waits for a message."""
    CHILD = "child"
    """The body waits for the end of another run, whose own lanes are not among these."""
    BATCH = "batch"
    """Runs that were started together, until the last of them ends; or the body waits for their
    ends."""
    OTHER = "other"
    """An operation of a kind that this version does not know."""


class Outcome(StrEnum):
    """How a span ended."""

    OK = "ok"
    FAILED = "failed"
    CANCELED = "canceled"
    TIMED_OUT = "timed out"
    LOST = "lost"
    """Its worker was lost: whether it took effect is not known."""
    OPEN = "open"
    """It has not ended."""


class MarkKind(StrEnum):
    """What happens at one moment."""

    TAKEN = "taken over"
    CANCEL = "cancel"
    TIME_OUT = "out of time"
    ATTEMPT = "attempt"
    PATCHED = "patched"
    PARKED = "parked"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Span:
    """`end_ms` is None where it has not ended: then `due_ms` says when it ends by itself (None: not
    by time)."""

    kind: SpanKind
    start_ms: int
    end_ms: int | None
    outcome: Outcome
    attempt: int = 0
    detail: str = ""
    """An error in one line."""
    due_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Mark:
    kind: MarkKind
    at_ms: int
    label: str = ""


@dataclass(frozen=True, slots=True)
class Tally:
    """What became of the runs of a batch."""

    runs: int
    """With those that were there before, under their idempotency keys."""
    completed: int = 0
    failed: int = 0
    """Expired and timed out ones, too."""
    canceled: int = 0
    live: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.runs + other.runs,
            self.completed + other.completed,
            self.failed + other.failed,
            self.canceled + other.canceled,
            self.live + other.live,
        )


@dataclass(frozen=True, slots=True)
class Lane:
    """A run, or one operation of its body. `depth`: 0 for the run itself, 1 for its operations and
    the runs that it started, and so on. `ordinal`: the operation's place in the body (0: none)."""

    run: str
    kind: SpanKind
    title: str
    depth: int
    ordinal: int = 0
    spans: tuple[Span, ...] = ()
    marks: tuple[Mark, ...] = ()
    path: tuple[str, ...] = ()
    """The titles from the root to here: lanes of one path are of one sort."""
    count: int = 1
    """So many lanes were merged into this one."""
    tally: Tally | None = None
    """Of a batch. Some of its runs may have lanes below it."""


@dataclass(frozen=True, slots=True)
class Timeline:
    """A run and what it started, as it was at `seen_ms`. In a notebook it shows itself."""

    run: str
    task: str
    status: Status
    attempt: int
    begin_ms: int
    end_ms: int
    seen_ms: int
    lanes: tuple[Lane, ...]
    left_out: int = 0
    """Runs below it that no lane tells of, and none counts."""

    def spans(self) -> Iterator[Span]:
        """All of them, lane by lane."""
        for lane in self.lanes:
            yield from lane.spans

    def end_of(self, span: Span) -> int:
        """Where a span is drawn to."""
        return self.end_ms if span.end_ms is None else span.end_ms

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)

    def to_svg(self) -> str:
        """A picture that stands by itself: no scripts, no fonts, light and dark."""
        from wf.client.timeline.svg import svg

        return svg(self)

    def _repr_html_(self) -> str:
        return self.to_svg()

    def __str__(self) -> str:
        from wf.client.timeline.text import plain

        return plain(self)
