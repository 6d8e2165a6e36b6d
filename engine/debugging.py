"""Is somebody looking at this with a debugger? Then nothing is hurried, and nothing runs twice."""

from __future__ import annotations

import sys
import threading
import time
from types import FrameType
from typing import Any, Final

from wf.engine.silence import OPENING, asides, guard_breakpoints

LOOK_SECONDS: Final = 0.05
"""How often it is looked whether a debugger that was opened was told to go on."""


def is_debugged() -> bool:
    """A debugger is attached to this thread or to all."""
    monitoring: Any = getattr(sys, "monitoring", None)
    return (
        sys.gettrace() is not None
        or threading.gettrace() is not None
        or (monitoring is not None and monitoring.get_tool(monitoring.DEBUGGER_ID) is not None)
    )


def frame_of(thread: int) -> FrameType | None:
    """Where a thread is now; None: it has ended."""
    return sys._current_frames().get(thread)  # pyright: ignore[reportPrivateUsage]


def stands_in_debugger(thread: int) -> bool:
    """A debugger is attached to all threads, or follows that one."""
    return is_followed(thread) or is_debugged()


def is_followed(thread: int) -> bool:
    """A debugger has stopped in that thread, and has not been told to go on. (pdb leaves its mark
    on the outermost frame for ever.)"""
    frame = frame_of(thread)
    while frame is not None and frame.f_back is not None:
        if frame.f_trace is not None or frame.f_code is OPENING:
            return True
        frame = frame.f_back
    return False


class Standstill:
    """For how long threads of this process have stood in debuggers that they opened: time that no
    step has to answer for."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._over = 0.0
        self._since: dict[int, float] = {}

    def count(self) -> None:
        """From now on; may be called again."""
        guard_breakpoints()
        if self._opened not in asides:
            asides.append(self._opened)

    @property
    def seconds(self) -> float:
        if not self._since:
            return self._over
        with self._lock:
            now = time.monotonic()
            return self._over + sum(now - since for since in self._since.values())

    def _opened(self) -> None:
        """In the thread that opens a debugger."""
        thread = threading.get_ident()
        with self._lock:
            if thread in self._since:
                return
            self._since[thread] = time.monotonic()
        threading.Thread(
            target=self._follow, args=(thread,), name="wf-debugger", daemon=True
        ).start()

    def _follow(self, thread: int) -> None:
        while is_followed(thread):
            time.sleep(LOOK_SECONDS)
        with self._lock:
            self._over += time.monotonic() - self._since[thread]
            del self._since[thread]  # last: whoever sees none under way does not wait for the lock


standstill: Final = Standstill()
