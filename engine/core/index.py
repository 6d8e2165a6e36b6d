"""A history as a replay looks into it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from wf.history.errors import HistoryUnreadable
from wf.history.events import FACTS, Event, Kind


class History(Struct):
    """What a replay compares with: the recorded operations by ordinal, and the markers."""

    events: list[Event]
    chapter: int = 1
    facts: list[Event] = []
    operations: dict[int, Event] = {}
    last_ordinal: int = 0
    patches: set[str] = set()
    has_begun: bool = False
    """What the body decided on what the run was given (STARTED; of a fork, its shared part) is
    written: something follows that comes from the body, or after it."""
    forks: Sequence[Event] = ()
    """Of a fork: where another run became this one; several, where that was a fork, too."""

    def __post_init__(self) -> None:
        operations = self.operations
        kinds = {event.kind for event in self.events}
        unknown = kinds - _KINDS
        if unknown:
            raise HistoryUnreadable(
                f"WF2010 the history has events of kind {min(unknown)}, which this wf does not "
                "know: start workers of the wf that wrote them"
            )
        self.facts = [event for event in self.events if event.kind in FACTS]
        for event in self.events:
            if event.ordinal and event.kind not in _LATER:
                operations[event.ordinal] = event
        if Kind.PATCHED in kinds:
            self.patches = {event.name for event in self.events if event.kind == Kind.PATCHED}
        self.last_ordinal = max(operations, default=0)
        if Kind.FORKED in kinds:
            self.forks = [event for event in self.events if event.kind == Kind.FORKED]
        is_given = self.forks and self.chapter == 1
        own = self.events[given(self.events) :] if is_given else self.events
        self.has_begun = any(event.kind not in OF_CLAIMS for event in own)


_KINDS: Final = frozenset(map(int, Kind))
OF_CLAIMS: Final = frozenset({Kind.STARTED, Kind.TAKEN})
_LATER: Final = frozenset(
    {Kind.CHILD_STARTED, Kind.CHILD_ENDED, Kind.TOKEN_ENDED, Kind.MESSAGE_RECEIVED}
    | {Kind.BATCH_STARTED, Kind.BATCH_ENDED, Kind.MESSAGE_TIMED_OUT, Kind.SEND_SETTLED}
)
"""Facts whose operation has a row of its own before them."""


def given(events: Sequence[Event]) -> int:
    """How many of them a fork was given; 0: it is none."""
    last = max((place for place, one in enumerate(events) if one.kind == Kind.FORKED), default=-1)
    return 0 if last < 0 else last + 1 + events[last].attempt


def is_new_fork(events: list[Event]) -> bool:
    """A fork whose body has not been built yet."""
    history = History(events)
    return bool(history.forks) and not history.has_begun
