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
"""After looks, as a multiple of the time that they took: who waits for thousands of runs takes no
more than a quarter of a core of the database."""
CREDIT_SECONDS: Final = 0.01
"""So much rest may be owed: who waits for one run after the other is told at once."""
CHECK_SECONDS: Final = 0.5
"""Between looks for runs that are not there, of which nobody tells."""
LINGER_SECONDS: Final = 1.0
"""After the last wait the thread stays for so long: who asks for one result after the other does
not pay for a thread and for listening each time."""


class Wait(Future[Run]):
    """Somebody waits for the end of a run. One that is canceled is forgotten at the next look."""

    def __init__(self, ends: Ends) -> None:
        super().__init__()
        self._ends = ends

    def cancel(self) -> bool:
        canceled = super().cancel()
        self._ends.has_canceled = True
        return canceled


class Ends:
    """`wait(run_id)` answers a future of the ended Run. The thread lives while somebody waits,
    and a moment longer."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._waiting: dict[bytes, list[Wait]] = {}
        self.has_canceled = False
        """Among those who waited."""
        self._changed = threading.Event()
        self._checked_at = 0.0
        self._thread: threading.Thread | None = None

    def wait(self, run_id: bytes) -> Future[Run]:
        future = Wait(self)
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
        idle_from = rested_at = time.monotonic()
        try:
            while True:
                self._changed.clear()
                with self._lock:
                    if self.has_canceled:
                        self._forget()
                    waiting = list(self._waiting)
                    if not waiting and time.monotonic() > idle_from + LINGER_SECONDS:
                        self._thread = None
                        return
                if not waiting:
                    self._changed.wait(LINGER_SECONDS)
                    delay = POLL_SECONDS[0]
                    continue
                idle_from = time.monotonic()
                with suppress(StoreUnavailable):
                    self._settle(waiting)
                now = time.monotonic()
                rested_at = max(rested_at, idle_from) + (1 + REST) * (now - idle_from)
                time.sleep(min(max(0.0, rested_at - now - CREDIT_SECONDS), POLL_SECONDS[1]))
                delay = (
                    POLL_SECONDS[0]
                    if self._changed.wait(delay)
                    else min(delay * 2, POLL_SECONDS[1])
                )
        finally:
            unlisten()

    def _forget(self) -> None:
        """Who was canceled waits no more."""
        self.has_canceled = False
        for run_id, waits in list(self._waiting.items()):
            left = [wait for wait in waits if not wait.cancelled()]
            if left:
                self._waiting[run_id] = left
            else:
                del self._waiting[run_id]

    def _settle(self, waiting: list[bytes]) -> None:
        if time.monotonic() > self._checked_at + CHECK_SECONDS:
            live = self._store.live(waiting)
            over = [run_id for run_id in waiting if run_id not in live]
            runs = self._store.ended(over) if over else {}
            self._checked_at = time.monotonic()
        else:
            runs = self._store.ended(waiting)
            over = list(runs)
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
