"""How a command ends badly: one line on standard error, and an exit code that is not 0."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Final

FAILED: Final = 1
USAGE: Final = 2
SIGNALED: Final = 128


class Failed(Exception):
    """The thing asked for did not happen; `message` was not told yet."""

    def __init__(self, message: str = "", code: int = FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def told(run: Callable[[], int], *, debug: bool) -> int:
    """Run a command; answers its exit code, having said what went wrong."""
    try:
        code = run()
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        return _quiet()
    except BaseException as error:
        if debug and not isinstance(error, SystemExit):
            import traceback

            traceback.print_exception(error)
        return _say(error)


def _say(error: BaseException) -> int:
    match error:
        case SystemExit():
            return error.code if isinstance(error.code, int) else FAILED
        case KeyboardInterrupt():
            say("stopped")
            return SIGNALED + 2
        case Failed():
            say(error.message)
            return error.code
        case _:
            say(line_of(error))
            return FAILED


def line_of(error: BaseException) -> str:
    """An error in one line that says what to do next."""
    from wf.history.errors import Error

    if isinstance(error, Error):
        return _one_line(str(error))
    if isinstance(error, OSError) and error.strerror:
        place = f"{error.filename}: " if error.filename else ""
        return f"{place}{error.strerror}"
    name = type(error).__name__
    return f"a mistake of wf's own, {name}: {_one_line(str(error))} (--debug tells where)"


def say(message: str) -> None:
    if message:
        print(f"wf: {message}", file=sys.stderr)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _quiet() -> int:
    """Nobody reads any more (`| head`). What is left in the buffer goes nowhere."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, sys.stdout.fileno())
    os.close(null)
    return SIGNALED + 13
