"""What a body decided: the output of `Execution.apply`.

`record()` is the row that the history gets for it, or None where none is needed: a step is written
when it ends, and what only goes out (a cancel, a log line) is not history.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from msgspec import Struct

from wf.engine.core.triggers import is_keyed
from wf.history.events import Awaits, Event, Kind, Status
from wf.history.notes import Note

if TYPE_CHECKING:
    from wf.engine.core.operation import Operation
    from wf.engine.core.runnable import Runnable


class RunStep(Struct):
    """Run a step; its end is a fact. `arguments`: JSON of the call."""

    ordinal: int
    step: str
    digest: int
    arguments: bytes
    repeat: int
    """How many equal calls came before in this run: the idempotency keys of equal calls differ."""
    at: int
    """When the body asked for it, the same on every replay."""
    runnable: Runnable[..., Any]

    def record(self, seq: int, at: int) -> Event | None:
        if self.runnable.settings.at_most_once:
            return Event(seq, Kind.STEP_STARTED, self.ordinal, at, self.step, self.digest)
        return None


class CancelStep(Struct):
    """The body does not want this step any more: stop it where it can be stopped.

    It still ends by a fact.
    """

    ordinal: int

    def record(self, seq: int, at: int) -> Event | None:
        return None


class TriggerChild(Struct):
    ordinal: int
    child_id: bytes
    task: str
    digest: int
    payload: bytes
    awaited: bool
    options: dict[str, Any]

    def record(self, seq: int, at: int) -> Event | None:
        awaits = Awaits.START if is_keyed(self.options) else Awaits.NOTHING
        return Event(
            seq,
            Kind.CHILD_TRIGGERED,
            self.ordinal,
            at,
            self.task,
            self.digest,
            attempt=Awaits.END if self.awaited else awaits,
            data=self.child_id,
        )


class AwaitRun(Struct):
    ordinal: int
    run_id: bytes

    def record(self, seq: int, at: int) -> Event | None:
        return Event(seq, Kind.CHILD_AWAITED, self.ordinal, at, data=self.run_id)


Member = tuple[bytes, dict[str, Any]]
"""An item of a batch as JSON: payload and checked options."""


class TriggerBatch(Struct):
    """`has_keys`: some have an idempotency key."""

    ordinal: int
    batch_id: bytes
    task: str
    digest: int
    members: Sequence[Member]
    has_keys: bool
    awaited: bool
    return_exceptions: bool

    def record(self, seq: int, at: int) -> Event | None:
        awaits = Awaits.START if self.has_keys else Awaits.NOTHING
        return Event(
            seq,
            Kind.BATCH_TRIGGERED,
            self.ordinal,
            at,
            self.task,
            self.digest,
            attempt=Awaits.END if self.awaited and self.members else awaits,
            took=len(self.members),
            data=self.batch_id,
        )


class AwaitBatch(Struct):
    ordinal: int
    batch_id: bytes
    run_ids: list[bytes]
    return_exceptions: bool

    def record(self, seq: int, at: int) -> Event | None:
        return Event(
            seq,
            Kind.BATCH_AWAITED,
            self.ordinal,
            at,
            digest=int(self.return_exceptions),
            took=len(self.run_ids),
            data=self.batch_id,
        )


class CancelRun(Struct):
    """A child that the body awaited and gave up."""

    run_id: bytes

    def record(self, seq: int, at: int) -> Event | None:
        return None


class CreateToken(Struct):
    ordinal: int
    token_id: bytes
    digest: int
    timeout_at: int
    tags: tuple[str, ...]
    schema: bytes

    def record(self, seq: int, at: int) -> Event | None:
        return Event(
            seq, Kind.TOKEN_CREATED, self.ordinal, at, "token", self.digest, data=self.token_id
        )


class AwaitToken(Struct):
    ordinal: int
    token_id: bytes

    def record(self, seq: int, at: int) -> Event | None:
        return Event(seq, Kind.TOKEN_AWAITED, self.ordinal, at, data=self.token_id)


class AwaitMessage(Struct):
    ordinal: int
    name: str
    timeout_ms: int

    def record(self, seq: int, at: int) -> Event | None:
        return Event(seq, Kind.MESSAGE_AWAITED, self.ordinal, at, self.name, self.timeout_ms)


class SendMessage(Struct):
    """A message to another run. What became of it is a fact."""

    ordinal: int
    run_id: bytes
    name: str
    digest: int
    message: bytes

    def record(self, seq: int, at: int) -> Event | None:
        return Event(
            seq, Kind.MESSAGE_SENT, self.ordinal, at, self.name, self.digest, data=self.run_id
        )


class Patched(Struct):
    """`wf.patched(name)` was true: so it stays for this run."""

    name: str

    def record(self, seq: int, at: int) -> Event | None:
        return Event(seq, Kind.PATCHED, 0, at, self.name)


class WriteNote(Struct):
    """Metadata, a tag, a chunk of a stream: of this run, its parent or its root."""

    note: Note

    def record(self, seq: int, at: int) -> Event | None:
        return None


class Noted(Struct):
    """The body notes something on STARTED: written in the same commit, so that it is not written
    again."""

    def record(self, seq: int, at: int) -> Event | None:
        return Event(seq, Kind.NOTED, 0, at)


class Log(Struct):
    """A line of `wf.logger`. Goes out after the commit."""

    level: int
    message: str

    def record(self, seq: int, at: int) -> Event | None:
        return None


@dataclass(slots=True)
class End:
    """The body has ended.

    `failed`: the operation whose failure ended it (0: the body failed by itself).
    """

    status: Status
    output: bytes | None = None
    failure: bytes | None = None
    failed: int = 0
    error: BaseException | None = field(default=None, compare=False, repr=False)
    never_awaited: Sequence[Operation[Any]] = field(default=(), compare=False, repr=False)
    """What a body that COMPLETED had called, and neither awaited nor scheduled."""

    def record(self, seq: int, at: int) -> Event | None:
        return None


class Restart(Struct):
    """The body goes on with a fresh history."""

    payload: bytes
    digest: int

    def record(self, seq: int, at: int, attempt: int = 1) -> Event:
        return Event(seq, Kind.RESTARTED, 0, at, digest=self.digest, attempt=attempt)


Made = (
    TriggerChild
    | AwaitRun
    | TriggerBatch
    | AwaitBatch
    | CancelRun
    | CreateToken
    | AwaitToken
    | AwaitMessage
    | SendMessage
)
"""Decisions that touch something outside the run: they happen in the commit."""
Decision = RunStep | CancelStep | Made | Patched | WriteNote | Noted | Log | Restart | End
