"""Where those who want to write a SQLite file stand in line: an OS lock (`flock`), which the kernel
hands on to the next, and takes from who dies. Who looks again and again instead takes most of a
machine's time, and that from the one who writes.

It is a courtesy. What keeps writers apart is SQLite's own lock, so that who has waited for long
leaves the line and tries. The kernel knows no such end: where the lock is not free at once, a
thread waits for it that can be left behind.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import suppress
from queue import SimpleQueue
from threading import Lock, Thread

from msgspec import Struct, field


class _Wait(Struct, eq=False):
    fd: int
    has_come: Lock = field(default_factory=Lock)
    """Released by the thread that has the lock now."""
    decided: Lock = field(default_factory=Lock)
    """Taken by who says how it ends: the lock has come, or nobody waits for it any more."""


class Line:
    """Of one process: its threads take turns before they come here."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._fd = -1
        self._reset()

    def _reset(self) -> None:
        self._waits: SimpleQueue[_Wait | None] | None = None
        self.is_first = False
        """Nobody else is, until `leave`."""

    def wait(self, seconds: float) -> None:
        """Until we are the first, or so long."""
        if self._fd < 0:
            flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
            self._fd = os.open(self._path, flags, 0o644)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            self.is_first = self._has_come(_Wait(self._fd), seconds)
        else:
            self.is_first = True

    def _has_come(self, wait: _Wait, seconds: float) -> bool:
        if self._waits is None:
            self._waits = SimpleQueue()
            Thread(target=_stand, args=(self._waits,), name="wf-line", daemon=True).start()
        wait.has_come.acquire()
        self._waits.put(wait)
        if not wait.has_come.acquire(timeout=seconds) and wait.decided.acquire(blocking=False):
            self._fd, self._waits = -1, None  # the thread's, until the lock comes
            return False
        return True

    def leave(self) -> None:
        if self.is_first:
            self.is_first = False
            fcntl.flock(self._fd, fcntl.LOCK_UN)

    def close(self) -> None:
        if self._waits is not None:
            self._waits.put(None)
        self.after_fork()

    def after_fork(self) -> None:
        """In the child: what is locked is the parent's, which holds it whatever is closed here."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        self._reset()


def _stand(waits: SimpleQueue[_Wait | None]) -> None:
    while (wait := waits.get()) is not None:
        fcntl.flock(wait.fd, fcntl.LOCK_EX)
        if not wait.decided.acquire(blocking=False):
            with suppress(OSError):
                fcntl.flock(wait.fd, fcntl.LOCK_UN)
            os.close(wait.fd)
            return
        wait.has_come.release()
