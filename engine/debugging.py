"""Is somebody looking at this with a debugger? Then nothing is hurried, and nothing runs twice."""

from __future__ import annotations

import sys
import threading
from types import FrameType
from typing import Any

from wf.engine.silence import OPENING


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
