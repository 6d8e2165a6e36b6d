"""How children and tokens end on the stage, one by one and in batches."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from wf.engine.core.decisions import TriggerBatch
from wf.engine.core.outcome import failure_of
from wf.history.ends import End, page
from wf.history.events import Event, Kind
from wf.history.ids import show


@dataclass(frozen=True, slots=True)
class Answer:
    """How a child or a token ends, `after_ms` it was begun: with a value, or badly."""

    value: Any = None
    after_ms: int = 1
    status: str = "COMPLETED"
    error: BaseException | None = None

    @property
    def data(self) -> bytes | None:
        if self.error is not None:
            return failure_of(self.error).encode()
        return json.dumps(self.value).encode() if self.status == "COMPLETED" else None


def batch_started(decision: TriggerBatch, run_ids: Sequence[bytes], how: int) -> Event:
    """The keys of a batch are settled: all that have one are new, or `how`."""
    cached = [
        [place, show("run", run_ids[place]), how]
        for place, (_, options) in enumerate(decision.members)
        if how and "idempotency_key" in options
    ]
    data = json.dumps(cached).encode()
    return Event(0, Kind.BATCH_STARTED, decision.ordinal, 0, data=data)


def batch_ended(ordinal: int, ends: Sequence[tuple[int, int, Answer]]) -> list[tuple[int, Event]]:
    """The ends of (at, place, how), those of one moment together."""
    at_once: dict[int, list[End]] = {}
    for at, place, answer in ends:
        at_once.setdefault(at, []).append(End(place, answer.status, answer.data))
    missing = len(ends)
    events: list[tuple[int, Event]] = []
    for at, some in sorted(at_once.items()):
        missing -= len(some)
        event = Event(0, Kind.BATCH_ENDED, ordinal, 0, attempt=missing, data=page(some))
        events.append((at, event))
    return events
