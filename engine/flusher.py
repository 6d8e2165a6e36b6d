"""The thread that writes the notes of steps while they run."""

from __future__ import annotations

from threading import Event, Lock, Thread, current_thread
from typing import Final

from wf.engine.clock import Clock
from wf.engine.notebook import Notebook
from wf.history.store import Store

FLUSH_SECONDS: Final = 0.05
"""Notes wait so long for others: one write of a process, and so of a run, in that time at most. As
often as an eye follows; and a step that is shorter needs none."""
AWAY_SECONDS: Final = 1.0
"""Between tries while the database is away."""
STOP_SECONDS: Final = 2.0
"""How long `stop` waits for a write that is under way."""


class Flusher:
    """Begins with the first note, and lives as long as its worker."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self.notebook = Notebook(store, clock, self._change)
        self._lock = Lock()
        self._is_changed = Event()
        self._is_stopped = Event()
        self._thread: Thread | None = None

    def stop(self) -> None:
        """What is not written by now went with its step, or is lost with it."""
        self._is_stopped.set()
        self._is_changed.set()
        thread = self._thread
        if thread is not None and thread is not current_thread():
            thread.join(STOP_SECONDS)

    def _change(self) -> None:
        self._is_changed.set()
        if self._thread is None:
            with self._lock:
                if self._thread is None:
                    self._thread = Thread(target=self._run, name="wf-notes", daemon=True)
                    self._thread.start()

    def _run(self) -> None:
        delay = FLUSH_SECONDS
        while True:
            self._is_changed.wait()
            if self._is_stopped.wait(delay):
                return
            self._is_changed.clear()
            delay = FLUSH_SECONDS
            if not self.notebook.flush():
                delay = AWAY_SECONDS
                self._is_changed.set()
