"""What a worker is told, and its limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Final

from msgspec import Struct

from wf.engine.middleware import Middleware
from wf.engine.policies import NO_POLICIES, Policies
from wf.history.limits import LEASE_MS

MAX_OWNED: Final = 1_000
"""Runs with work under way at once in one worker: bounds memory and what a crash puts back."""
CLAIM_LIMIT: Final = 500
"""Runs claimed in one transaction: large enough to fill a group, small enough to share with other
workers."""
CACHE_SIZE: Final = 1_000
"""Bodies of waiting runs kept in memory; a miss is a replay."""
LIVE_BYTES: Final = 256 * 1024 * 1024
"""Values of runs with work under way in one worker, as they are stored: some 25 of the largest.
What Python makes of them is several times as large. A run that is larger than that is taken up
alone."""
CACHE_BYTES: Final = 128 * 1024 * 1024
"""The same of bodies that are kept."""
GRACE_MS: Final = 30_000
"""How long a canceled step may go on before the body goes on without it."""
POLL_MS: Final = 1_000
"""Without a hint the store is asked this often: hints are not the truth."""
MAX_TAKEOVERS: Final = 5
"""A run that lost its worker so often without any progress is parked: it kills workers."""
SUSPECT: Final = 3
"""From so many on it may be the reason, and a worker tries one such run at a time: two losses in a
row are still bad luck, and its neighbours in the first workers come to no more."""
BACK_OFFS_MS: Final = (1_000, 5_000, 20_000, 60_000)
"""Before a run is tried again whose worker was lost twice in a row, three times, …: a machine that
is short of memory recovers meanwhile, and a killer does not take worker after worker."""
BLOCKED_MS: Final = 30_000
"""A body that computes for so long without awaiting anything is interrupted, and its run parked:
ten times what a body may do, and still before people lose patience."""


class WorkerSettings(Struct):
    environment: str = "dev"
    paranoid: bool = False
    root: bytes | None = None
    """Only this run and what it started."""
    max_owned: int = MAX_OWNED
    cache_size: int = CACHE_SIZE
    cache_bytes: int = CACHE_BYTES
    live_bytes: int = LIVE_BYTES
    python: str = ""
    poll_ms: int = POLL_MS
    lease_ms: int = LEASE_MS
    """A worker that has not beaten for so long is taken over."""
    grace_ms: int = GRACE_MS
    executors: Mapping[str, Executor] = {}
    """Where steps run that name one of these."""
    back_offs_ms: Sequence[int] = BACK_OFFS_MS
    policies: Policies = NO_POLICIES
    """What the project says of runnables that say nothing themselves."""
    middleware: Sequence[Middleware] = ()
    """Around bodies and steps."""
    blocked_ms: int = BLOCKED_MS

    @property
    def beat_ms(self) -> int:
        """An idle worker beats so often: three beats may be lost before its lease is."""
        return self.lease_ms // 4
