"""While a body is replayed, what it prints does not come out, and no `breakpoint()` stops: in this
thread, and in this thread only."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final

_here = threading.local()
_OURS: Final = ("wf.", "asyncio")
"""Loggers of the engine, which has things to say while a body is replayed."""

asides: Final[list[Callable[[], None]]] = []
"""Called before a debugger opens: who draws on the terminal steps aside."""


class _Stdout:
    """sys.stdout, except in threads that are silent."""

    def __init__(self, real: Any) -> None:
        self._real = real

    def write(self, text: str) -> int:
        if getattr(_here, "silent", 0):
            return len(text)
        return self._real.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class _Breakpoint:
    """sys.breakpointhook, except in threads that are silent."""

    def __init__(self, real: Callable[..., Any]) -> None:
        self._real = real

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if getattr(_here, "silent", 0):
            return None
        is_pdb = self._real is sys.__breakpointhook__ and not os.environ.get("PYTHONBREAKPOINT")
        for aside in asides:
            aside()
        if not is_pdb or args or kwargs:
            return self._real(*args, **kwargs)
        import pdb  # noqa: T100

        # pdb.set_trace() would stop here, in the frame that calls it.
        return pdb.Pdb().set_trace(sys._getframe(1))  # pyright: ignore[reportPrivateUsage]


OPENING: Final = _Breakpoint.__call__.__code__
"""A thread that has a frame of this is about to open a debugger, or in it."""


def guard_breakpoints() -> None:
    if not isinstance(sys.breakpointhook, _Breakpoint):
        sys.breakpointhook = _Breakpoint(sys.breakpointhook)


_handle: Final = logging.Logger.handle


def _handle_aloud(logger: logging.Logger, record: logging.LogRecord) -> None:
    """`Logger.handle`, except in threads that are silent."""
    if not getattr(_here, "silent", 0) or record.name.startswith(_OURS):
        _handle(logger, record)


@contextmanager
def silent() -> Generator[None]:
    if not isinstance(sys.stdout, _Stdout):
        sys.stdout = _Stdout(sys.stdout)  # pyright: ignore[reportAttributeAccessIssue]
    guard_breakpoints()
    if logging.Logger.handle is not _handle_aloud:
        logging.Logger.handle = _handle_aloud  # type: ignore[method-assign]
    _here.silent = getattr(_here, "silent", 0) + 1
    try:
        yield
    finally:
        _here.silent -= 1
