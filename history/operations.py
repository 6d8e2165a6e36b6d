"""What people do to runs that are there, beside canceling them: the part of a Store for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from wf.history.model import Awaited


class OperationStore(Protocol):
    """Every method is one transaction."""

    def reschedule(self, run_id: bytes, at: int, now: int) -> bool:
        """A delayed run starts at that time. False: it is not delayed (any more)."""
        ...

    def unblock(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        """Mark parked runs ready; answers those that were parked."""
        ...

    def awaited(self, run_id: bytes) -> Awaited:
        """What a waiting run waits for, in the order in which it asked."""
        ...
