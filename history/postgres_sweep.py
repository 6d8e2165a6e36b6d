"""What runs leave in `ready` and `owned` on Postgres: swept while they run.

A run that is claimed and ends leaves a dead row in both, with five index entries: 300 bytes, over
which every later claim walks. The server's own vacuum looks once a minute, a hundred thousand runs
later. So workers do it, in a thread of its own: what is there already is used again.
"""

from __future__ import annotations

import time
from contextlib import suppress
from threading import Thread
from typing import Final

import psycopg

from wf.history.errors import Error
from wf.history.postgres_pool import Pool, send

SWEEP: Final = "VACUUM (SKIP_LOCKED, TRUNCATE OFF) ready, owned"
"""Waits for nobody, and nobody waits for it. To a role that does not own the tables it is a
warning."""
EVERY: Final = 1_000
"""Runs claimed between two sweeps: a sweep takes a millisecond then."""
REST: Final = 30
"""So many times as long as a sweep took there is none: where a million marks wait, or an old
snapshot holds on to what is dead, it takes longer."""
STOP_S: Final = 1.0


class Sweeper:
    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._claimed = 0
        self._rests_until = 0.0
        self._thread: Thread | None = None

    def claimed(self, runs: int) -> None:
        """So many more; begins a sweep where it is time."""
        self._claimed += runs
        is_at_work = self._thread is not None and self._thread.is_alive()
        if self._claimed < EVERY or is_at_work or time.monotonic() < self._rests_until:
            return
        self._claimed = 0
        self._thread = Thread(target=self._sweep, name="wf-postgres-sweep", daemon=True)
        self._thread.start()

    def close(self) -> None:
        if self._thread is not None:
            self._thread.join(STOP_S)

    def _sweep(self) -> None:
        begun = time.monotonic()
        with suppress(Error, psycopg.Error):
            self._pool.run(lambda connection: send(connection, SWEEP))
        ended = time.monotonic()
        self._rests_until = ended + REST * (ended - begun)
