"""The rows of a history: what they are and what their columns mean.

A history is a list of events, numbered 1..n per chapter. Two sorts stand in it: *facts* came from
outside and are delivered to the body one by one; *records* are decisions of the body that had to be
written because they make something (a child, a token). An operation of the body is known by its
ordinal (1, 2, … in the order in which the body issued them); facts and records about an operation
carry its ordinal, all others 0.

A step that succeeds is one row, STEP_FINISHED, written when it ends. A timer leaves a row only when
it fires.
"""

from __future__ import annotations

import json
from enum import IntEnum, StrEnum, unique
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from wf.history.sealing import check_open


@unique
class Kind(IntEnum):
    """What an event tells. Numbers are stored: never reuse one."""

    STARTED = 1
    """Fact: the chapter begins. `name`: the Python minor ("3.11"). After a restart `attempt`: how
    many there have been, `data`: the payload of the last one. Of a fork `took`: the fact of the
    other run at which it begins."""
    STEP_STARTED = 2
    """Record: an `at_most_once` step is about to be handed out. `name`: step id, `digest`: of its
    arguments."""
    STEP_FINISHED = 3
    """Fact: a step returned `data`. `attempt`: which one did, `took`: its milliseconds."""
    STEP_FAILED = 4
    """Fact: a step failed for good; `data` is a Failure."""
    STEP_ATTEMPT_FAILED = 5
    """Fact: attempt `attempt` failed and is tried again `took` ms later; `data` is a Failure."""
    TIMER_FIRED = 6
    """Fact: a timer is due. `digest`: its delay in ms, or the moment of an `until`: which of the
    two, MOMENTS_FROM_MS tells."""
    CHILD_TRIGGERED = 7
    """Record: a child run exists. `name`: its task, `digest`: of its payload and options, `data`:
    its id (16 bytes); `attempt`: for what the body waits, a member of Awaits."""
    CHILD_AWAITED = 8
    """Record: this operation waits for the end of the run whose id is `data`."""
    CHILD_ENDED = 9
    """Fact: that run ended. `name`: its status; `data`: output or Failure. `attempt`: 1 if it had
    been cached."""
    TOKEN_CREATED = 10
    """Record: a token exists. `data`: its id (16 bytes); `name`: "token"; `digest`: of its
    options."""
    TOKEN_AWAITED = 11
    """Record: this operation waits for the token whose id is `data`."""
    TOKEN_ENDED = 12
    """Fact: the token ended. `name`: COMPLETED, TIMED_OUT or CANCELED; `data`: what it was
    completed with."""
    MESSAGE_AWAITED = 13
    """Record: this operation waits for the next message `name`. `digest`: its time-out in ms."""
    MESSAGE_RECEIVED = 14
    """Fact: that message came. `name`: the message's; `data`: what was sent."""
    CANCEL_REQUESTED = 15
    """Fact: somebody canceled the run."""
    TAKEN = 16
    """Fact: the run's worker was lost, another one goes on."""
    PATCHED = 17
    """Record: `wf.patched(name)` was true here."""
    CHILD_STARTED = 18
    """Fact: a trigger with an idempotency key is settled. `data`: the id of the run; `attempt`: 1
    if it was there before."""
    ATTEMPT_FAILED = 19
    """Record, last of a chapter: the attempt failed and the run is tried again in the next one,
    `took` ms later; `data` is a Failure."""
    ENDED = 20
    """The end of a run. It is not stored: `Store.history` tells it, as the last event, from the
    run's row. `name`: its status, `data`: a Failure where it did not complete."""

    NOTED = 22
    """Record: what the body noted on STARTED is written. That fact is written by a claim, before
    the body is asked; other notes ride on the commit of their fact, and need no row."""

    TIME_OUT = 21
    """Fact: the run was active for longer than its `max_duration`; `took`: the limit in ms."""
    MESSAGE_TIMED_OUT = 26
    """Fact: no message came in time. `digest`: the time-out in ms."""
    MESSAGE_SENT = 27
    """Record: a message `name` is sent to the run whose id is `data`. `digest`: of what is sent."""
    SEND_SETTLED = 28
    """Fact: what became of it. `name`: that of a Sent member."""
    RESTARTED = 29
    """Record, last of a chapter: the body asked for a fresh history. `attempt`: which one it was,
    `digest`: of the payload with which it goes on."""
    ATTEMPT_STARTED = 30
    """Fact: attempt `attempt` begins after a back-off, on what is kept of the one before."""
    BATCH_TRIGGERED = 31
    """Record: `took` child runs exist, the members of the batch whose id is `data`. `name`: their
    task, `digest`: of all payloads and options; `attempt`: a member of Awaits."""
    BATCH_STARTED = 32
    """Fact: the idempotency keys of a batch are settled. `data`: JSON, [place, id, how] of each
    item whose run was there before."""
    BATCH_AWAITED = 33
    """Record: this operation waits for the ends of `took` runs, those of the batch `data`."""
    BATCH_ENDED = 34
    """Fact: some of the runs that an operation waits for ended. `data`: a page of ends
    (`history.ends`), `took` of them; `attempt`: how many are still missing; `name`: FAILED where
    the operation ends here because a run did not complete."""
    HOOKED = 35
    """Record: hooks are told of this moment of the run. `name`: STARTED, WAITING or RESUMED;
    `data`: the id of the hook run, if there is one; `took`: of a wait, how many operations the body
    had issued."""
    FORKED = 36
    """Fact: what is before it happened in the run whose id is `data`, and is shared with it; the
    body goes on as this run. `attempt`: so many of the facts that follow came from there, too (they
    are told anew); `digest`: the ms that the run stood still; `name`: when that run was made, in
    ms."""


class Awaits(IntEnum):
    """For which fact a body waits that triggers runs."""

    NOTHING = 0
    START = 1
    """CHILD_STARTED or BATCH_STARTED: an idempotency key is to be settled."""
    END = 2


FACTS: Final = frozenset(
    {
        Kind.STARTED,
        Kind.STEP_FINISHED,
        Kind.STEP_FAILED,
        Kind.STEP_ATTEMPT_FAILED,
        Kind.TIMER_FIRED,
        Kind.CHILD_STARTED,
        Kind.CHILD_ENDED,
        Kind.TOKEN_ENDED,
        Kind.MESSAGE_RECEIVED,
        Kind.MESSAGE_TIMED_OUT,
        Kind.SEND_SETTLED,
        Kind.ATTEMPT_STARTED,
        Kind.CANCEL_REQUESTED,
        Kind.TIME_OUT,
        Kind.TAKEN,
        Kind.BATCH_STARTED,
        Kind.BATCH_ENDED,
        Kind.FORKED,
    }
)
COMPLETIONS: Final = frozenset(
    {
        Kind.STEP_FINISHED,
        Kind.STEP_FAILED,
        Kind.TIMER_FIRED,
        Kind.CHILD_STARTED,
        Kind.CHILD_ENDED,
        Kind.TOKEN_ENDED,
        Kind.MESSAGE_RECEIVED,
        Kind.MESSAGE_TIMED_OUT,
        Kind.SEND_SETTLED,
        Kind.BATCH_STARTED,
        Kind.BATCH_ENDED,
    }
)
"""The facts that settle an operation: at most one per ordinal and chapter (a start and an end may
share one; the ends of a batch come in pages)."""
MOMENTS_FROM_MS: Final = 1_000_000_000_000
"""The `digest` of a timer from which it is a moment: no delay is that long."""
UNKNOWN_DIGEST: Final = -(2**63)
"""The digest of a value that was replaced in a saved history: it is like any other. That of a
STARTED says that values of the run were replaced."""
CHAPTER_ENDS: Final = frozenset({Kind.ATTEMPT_FAILED, Kind.RESTARTED})


class Status(StrEnum):
    """What a run is doing. Only the last five are stored; the others follow from the hot tables."""

    PENDING_VERSION = "PENDING_VERSION"
    DELAYED = "DELAYED"
    QUEUED = "QUEUED"
    EXECUTING = "EXECUTING"
    WAITING = "WAITING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CANCELED = "CANCELED"
    EXPIRED = "EXPIRED"
    TIMED_OUT = "TIMED_OUT"

    @property
    def ended(self) -> bool:
        return self in STORED


STORED: Final = {
    Status.COMPLETED: 1,
    Status.FAILED: 2,
    Status.CANCELED: 3,
    Status.EXPIRED: 4,
    Status.TIMED_OUT: 5,
}
"""The number in `runs.status`; 0 is a live run."""
LIVE: Final = 0


class Event(Struct, frozen=True, gc=False):
    """One row of a history. Times in ms since the epoch (UTC), `took` in ms."""

    seq: int
    kind: int
    ordinal: int
    at: int
    name: str = ""
    digest: int = 0
    attempt: int = 0
    took: int = 0
    data: bytes | None = None

    def but(self, **changes: Any) -> Event:
        """The same, with these changed."""
        return replace(self, **changes)


class Failure(Struct, frozen=True):
    """An exception as data: classes are named, never pickled."""

    type: str
    message: str
    traceback: str = ""
    code: str = ""

    def encode(self) -> bytes:
        return json.dumps(
            {
                "type": self.type,
                "message": self.message,
                "traceback": self.traceback,
                "code": self.code,
            }
        ).encode()

    @staticmethod
    def decode(data: bytes | None) -> Failure:
        """Raises CodecError where it is sealed."""
        check_open(data, "a failure")
        value = json.loads(data or b"{}")
        return Failure(
            str(value.get("type", "")),
            str(value.get("message", "")),
            str(value.get("traceback", "")),
            str(value.get("code", "")),
        )
