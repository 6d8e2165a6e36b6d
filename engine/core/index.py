"""A history as a replay looks into it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from wf.history.errors import HistoryUnreadable
from wf.history.events import Event, Kind


@dataclass(slots=True)
class History:
    """What a replay compares with: the recorded operations by ordinal, and the markers."""

    events: list[Event]
    operations: dict[int, Event] = field(default_factory=dict[int, Event])
    last_ordinal: int = 0
    patches: set[str] = field(default_factory=set[str])
    has_begun: bool = False
    """What the body decided on STARTED is written: something follows it that comes from the body,
    or after it."""

    def __post_init__(self) -> None:
        operations = self.operations
        unknown = {event.kind for event in self.events} - _KINDS
        if unknown:
            raise HistoryUnreadable(
                f"WF2010 the history has events of kind {min(unknown)}, which this wf does not "
                "know: start workers of the wf that wrote them"
            )
        for event in self.events:
            if event.ordinal and event.kind not in _LATER:
                operations[event.ordinal] = event
            elif event.kind == Kind.PATCHED:
                self.patches.add(event.name)
        self.last_ordinal = max(operations, default=0)
        self.has_begun = any(event.kind not in OF_CLAIMS for event in self.events)


_KINDS: Final = frozenset(map(int, Kind))
OF_CLAIMS: Final = frozenset({Kind.STARTED, Kind.TAKEN})
_LATER: Final = frozenset(
    {Kind.CHILD_STARTED, Kind.CHILD_ENDED, Kind.TOKEN_ENDED, Kind.MESSAGE_RECEIVED}
    | {Kind.BATCH_STARTED, Kind.BATCH_ENDED, Kind.MESSAGE_TIMED_OUT, Kind.SEND_SETTLED}
)
"""Facts whose operation has a row of its own before them."""
