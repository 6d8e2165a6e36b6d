"""What the world around a body on the stage does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from tests.core.answers import Answer
from wf.history.messages import Sent


@dataclass(slots=True)
class Script:
    """What the world around the body does.

    took: milliseconds of an attempt, from (step, arguments, attempt).
    child: the end of a child, from (task, payload). token: that of the n-th token, from (n, tags).
    messages: (ms after the start, name, value), in order of time; sent: what becomes of the body's.
    cached: for triggers with an idempotency key, as CHILD_STARTED's `attempt`.
    cancel_at: ms after the start at which the run is canceled. stops: a step that is canceled ends
    at once, badly; otherwise it goes on to its end.
    """

    took: Callable[[str, Any, int], int] = lambda step, arguments, attempt: 1
    child: Callable[[str, Any], Answer] = lambda task, payload: Answer()
    token: Callable[[int, tuple[str, ...]], Answer | None] = lambda n, tags: Answer()
    messages: Sequence[tuple[int, str, Any]] = ()
    sent: Sent = Sent.SENT
    cached: int = 0
    cancel_at: int | None = None
    stops: bool = True
