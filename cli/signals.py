"""SIGINT and SIGTERM: the first asks, the second ends the process at once.

A handler runs between any two instructions of the main thread, whatever lock that holds. So it only
counts, and puts into queues that are made for that; nothing is ever raised out of one.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager, suppress
from queue import Empty, SimpleQueue
from types import FrameType
from typing import Final

from wf.cli.errors import SIGNALED

AT_ONCE_SECONDS: Final = 1.0
"""After the second signal, the process is gone within this time."""


class Bell:
    """Wakes who waits; may be rung from any thread and from signal handlers."""

    def __init__(self) -> None:
        self._rings: SimpleQueue[None] = SimpleQueue()

    def ring(self) -> None:
        self._rings.put(None)

    def wait(self, seconds: float) -> bool:
        """True: it was rung since the last time."""
        try:
            self._rings.get(timeout=seconds)
        except Empty:
            return False
        with suppress(Empty):
            while True:
                self._rings.get_nowait()
        return True


class Signals:
    """`signum`: the first that came; `times`: how many did. `at_once` is called on the second, and
    `last_words` before the process is ended for good."""

    def __init__(self, bell: Bell) -> None:
        self.signum = 0
        self.times = 0
        self.at_once: Callable[[], None] = _nothing
        self.last_words: Callable[[], None] = _nothing
        self._bell = bell
        self._second: SimpleQueue[bool] = SimpleQueue()

    def handle(self, signum: int, frame: FrameType | None) -> None:
        self.times += 1
        self.signum = self.signum or signum
        self._bell.ring()
        if self.times > 1:
            self._second.put(True)

    def _guard(self) -> None:
        if not self._second.get():
            return
        with suppress(Exception):
            self.at_once()
        with suppress(Empty):
            if not self._second.get(timeout=AT_ONCE_SECONDS):
                return
        with suppress(Exception):
            self.last_words()
        os._exit(SIGNALED + self.signum)

    @contextmanager
    def caught(self) -> Generator[None]:
        """Meanwhile they come here."""
        threading.Thread(target=self._guard, name="wf-signals", daemon=True).start()
        numbers = (signal.SIGINT, signal.SIGTERM)
        before = {number: signal.signal(number, self.handle) for number in numbers}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)
            self._second.put(False)


def _nothing() -> None: ...
