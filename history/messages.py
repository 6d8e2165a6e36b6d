"""Messages to runs: sent, unread, and what becomes of one that is sent.

What is sent to a run waits in `messages` until its body asks for it. `listening` says for which
names that is now: a message of another name makes no mark. Who sends and who begins to listen lock
the run's row, so that they cannot miss each other.
"""

from __future__ import annotations

from enum import IntEnum

from msgspec import Struct


class NewMessage(Struct):
    """A message to be sent to a run. `data` is JSON."""

    run_id: bytes
    name: str
    data: bytes
    settle: int = 0
    """Of one that a body sends: its operation, that learns by a SEND_SETTLED inbox row, written in
    the same transaction, what became of it."""


class Sent(IntEnum):
    SENT = 0
    ENDED = 1
    """The run has ended: it takes no more messages."""
    UNKNOWN = 2
    """There is no such run."""


class Message(Struct):
    """What was sent to a run, and is not read yet. `id` rises in the order in which it came."""

    id: int
    run_id: bytes
    name: str
    at: int
    data: bytes
