"""The end of a chapter: the next one begins, or the run ends."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec import Struct

from wf.history.events import Event, Status


class NextChapter(Struct):
    """The attempt failed, or the body restarts: the history goes on in chapter `number`, as attempt
    `attempt`. What waited in the old chapter waits no more, and its tokens that are not kept are
    canceled.

    Kept are the rows of the old chapter with seq < `before_seq`, without the ordinals `forget`,
    numbered anew. Then follow `events` (their seq is filled in by the store).
    """

    number: int
    before_seq: int
    attempt: int
    forget: Sequence[int] = ()
    events: Sequence[Event] = ()
    oldest: int = 1
    """Chapters before it are dropped; of the first one its first event stays."""


class Ending(Struct):
    status: Status
    output: bytes | None
    """JSON where it completed."""
    failure: bytes | None
    """Failure, as JSON, where it did not."""
    at: int
    gathered: bool = False
    """Operations of it have waited for many runs at once."""
