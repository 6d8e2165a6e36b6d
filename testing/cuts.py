"""Where a process is lost: at a write of the store, by number, or around every step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeVar

from wf.history.errors import StoreUnavailable
from wf.history.events import Kind
from wf.history.model import Activation, Claim, Committed, Lease
from wf.history.store import Meanwhile, Store, nothing
from wf.testing.door import Door
from wf.testing.watched import WRITES, Cut, WatchedStore

T = TypeVar("T")

Place = tuple[bytes, int, int, int]
"""Of an attempt of a step: run, chapter, ordinal, attempt."""

_STEP_ENDS: Final = frozenset({Kind.STEP_FINISHED, Kind.STEP_FAILED, Kind.STEP_ATTEMPT_FAILED})


class How(Enum):
    LOST_BEFORE = "the process is lost before it"
    LOST_AFTER = "the process is lost after it"
    UNKNOWN_NOT_DONE = "no answer, and it has not happened"
    UNKNOWN_DONE = "no answer, and it has happened"


class Cuts:
    """A door that counts writes (of these names), and cuts at some: number → how."""

    def __init__(self, at: dict[int, How], names: frozenset[str] = WRITES) -> None:
        self.at = at
        self.names = names
        self.writes = 0

    def __call__(self, name: str, call: Callable[[], T]) -> T:
        if name not in self.names:
            return call()
        self.writes += 1
        match self.at.get(self.writes):
            case How.LOST_BEFORE:
                raise Cut
            case How.LOST_AFTER:
                call()
                raise Cut
            case How.UNKNOWN_NOT_DONE:
                raise StoreUnavailable("no answer", outcome_unknown=True)
            case How.UNKNOWN_DONE:
                call()
                raise StoreUnavailable("no answer", outcome_unknown=True)
            case None:
                return call()


@dataclass(slots=True)
class StepCuts:
    """What was cut already: each attempt of a step is lost once before its result is written, and
    its process once after it."""

    before: set[Place] = field(default_factory=set[Place])
    after: set[Place] = field(default_factory=set[Place])


class CrashingStore(WatchedStore):
    """The process is lost at the commit of every step's end, and then again right after it."""

    def __init__(self, cuts: StepCuts, store: Store, door: Door) -> None:
        super().__init__(store, door)
        self._cuts = cuts

    def commit(
        self,
        lease: Lease,
        activations: Sequence[Activation],
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        ends = {
            (activation.run_id, activation.chapter, event.ordinal, event.attempt)
            for activation in activations
            for event in activation.events
            if event.kind in _STEP_ENDS
        }
        if ends - self._cuts.before:
            self._cuts.before |= ends
            raise Cut
        committed = super().commit(lease, activations, claim, now, meanwhile)
        if ends - self._cuts.after:
            self._cuts.after |= ends
            raise Cut
        return committed
