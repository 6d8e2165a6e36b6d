"""Log lines from the worker's thread: the author's handlers and filters run here, and may raise."""

from __future__ import annotations

import logging
import sys
import traceback


def say(
    log: logging.Logger, level: int, message: str, *args: object, error: BaseException | None = None
) -> None:
    """Never raises: a line that cannot be written is told of on standard error, like one that a
    handler cannot emit."""
    try:
        log.log(level, message, *args, exc_info=error)
    except Exception:
        if logging.raiseExceptions and sys.stderr is not None:
            traceback.print_exc()
