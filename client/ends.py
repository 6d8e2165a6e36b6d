"""Waiting for runs to end: one thread per client looks for all who wait, woken by hints of the
store."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from typing import Final

from wf.history.errors import NotFound, StoreUnavailable
from wf.history.ids import show
from wf.history.model import Run
from wf.history.store import Store

POLL_SECONDS: Final = (0.02, 1.0)
"""Between looks without a hint: from, to. Hints are not the truth."""
REST: Final = 3.0
"""After a look, as a multiple of the time that it took: who waits for thousands of runs takes no
more than a quarter of a core of the database."""


class Ends:
    """`wait(run_id)` answers a future of the ended Run. The thread lives while somebody waits."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: dict[bytes, list[Future[Run]]] = {}
        self._changed = threading.Event()
        self._thread: threading.Thread | None = None

    def wait(self, run_id: bytes) -> Future[Run]:
        future: Future[Run] = Future()
        with self._lock:
            self._waiting.setdefault(run_id, []).append(future)
            if self._thread is None or not self._thread.is_alive():
                self._thread = threading.Thread(target=self._look, name="wf-client", daemon=True)
                self._thread.start()
        self._changed.set()
        return future

    def _look(self) -> None:
        unlisten: Callable[[], None] = self._store.listen(self._changed.set)
        delay = POLL_SECONDS[0]
        try:
            while True:
                self._changed.clear()
                with self._lock:
                    waiting = [
                        run_id
                        for run_id, futures in self._waiting.items()
                        if any(not future.cancelled() for future in futures)
                    ]
                    if not waiting:
                        self._waiting.clear()
                        self._thread = None
                        return
                begun = time.monotonic()
                with suppress(StoreUnavailable):
                    self._settle(waiting)
                time.sleep(min(REST * (time.monotonic() - begun), POLL_SECONDS[1]))
                delay = (
                    POLL_SECONDS[0]
                    if self._changed.wait(delay)
                    else min(delay * 2, POLL_SECONDS[1])
                )
        finally:
            unlisten()

    def _settle(self, waiting: list[bytes]) -> None:
        live = self._store.live(waiting)
        over = [run_id for run_id in waiting if run_id not in live]
        runs = self._store.get_runs(over) if over else {}
        for run_id in over:
            with self._lock:
                futures = self._waiting.pop(run_id, [])
            for future in futures:
                if not future.set_running_or_notify_cancel():
                    continue
                run = runs.get(run_id)
                if run is None:
                    future.set_exception(NotFound(f"there is no run {show('run', run_id)}"))
                else:
                    future.set_result(run)
