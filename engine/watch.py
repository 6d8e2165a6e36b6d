"""Bodies that block the worker's thread: seen, told of, and in the end interrupted.

Facts are applied to bodies in the worker's one thread. While a body computes there, no other run of
this worker goes on and the worker does not beat. The worker notes in its `Watch` what it applies;
a `Watcher`, from a thread of its own, beats meanwhile, says which body it is and where it stands,
and after a longer time raises an Interrupt in that thread: the run is parked. Where the thread does
not come back even then (it is inside C code), the watcher beats no longer: others take over.

*Nobody else gets the Interrupt.* It is set at most once per application, and under a lock only
while that application is under way. Its end, under the same lock, takes back one that was set and
has not come; one that comes between belongs to this application still.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from enum import IntEnum
from threading import Lock, get_ident
from typing import Final

from msgspec import Struct

from wf.engine.core.loop import BodyLoop
from wf.engine.debugging import frame_of, stands_in_debugger
from wf.engine.lines import say
from wf.history.errors import BodyBlocked
from wf.history.ids import show
from wf.history.model import Run

log = logging.getLogger("wf.worker")

SAY_SECONDS: Final = 2.0
"""A body that has computed for so long without awaiting anything is told of: all runs of its worker
wait for it."""
GIVE_UP_SECONDS: Final = 10.0
"""After an Interrupt the thread comes back at once, unless it is inside C code."""


class Interrupt(BaseException):
    """Raised in a body that blocks its worker. Nothing else ever sees it."""


class Watch:
    """The worker's side."""

    def __init__(self) -> None:
        self.number = 0
        self.run: Run | None = None
        """To which facts are being applied now."""
        self.thread = 0
        self._lock = Lock()
        self._blocked: BodyBlocked | None = None

    def apply(self, run: Run, work: Callable[..., object], *args: object) -> BaseException | None:
        """Do it, and answer what it raised; BodyBlocked where it was interrupted."""
        error: BaseException | None = None
        try:
            self.thread = get_ident()
            self.number += 1
            self.run = run
            try:
                work(*args)
            except BaseException as raised:
                error = raised
            self._end()
        except Interrupt:
            self._end()
        blocked, self._blocked = self._blocked, None
        return blocked or error

    def _end(self) -> None:
        with self._lock:
            self.run = None
            if self._blocked is not None:
                _raise_in(self.thread, None)

    def interrupt(self, number: int, blocked: BodyBlocked) -> None:
        """(Another thread.) `number`: of the application that is meant."""
        with self._lock:
            if self.run is not None and self.number == number and self._blocked is None:
                self._blocked = blocked
                _halt_loop_in(self.thread)
                _raise_in(self.thread, Interrupt)


def _halt_loop_in(thread: int) -> None:
    """The Interrupt ends one asyncio task of the body, and is kept there as its exception: no other
    is to run."""
    frame = frame_of(thread)
    while frame is not None and frame.f_code is not BodyLoop.drain.__code__:
        frame = frame.f_back
    if frame is not None:
        frame.f_locals["self"].halt()


def _raise_in(thread: int, error: type[BaseException] | None) -> None:
    """None takes back what has not been raised yet."""
    import ctypes

    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), ctypes.py_object(error) if error is not None else None
    )


class Stage(IntEnum):
    """How far the watcher has gone with an application."""

    NONE = 0
    TOLD = 1
    INTERRUPTED = 2
    GIVEN_UP = 3


class Watcher(Struct):
    """The other side: `look` again and again, with the seconds of a clock that never steps back.

    `beat` is called at every look at which a body is at work, unless it was given up.
    """

    watch: Watch
    limit_seconds: float
    beat: Callable[[], None]
    stage: Stage = Stage.NONE
    _number: int = 0
    _since: float = 0.0

    def look(self, now: float) -> None:
        watch = self.watch
        number, run = watch.number, watch.run
        if run is None or number != self._number or stands_in_debugger(watch.thread):
            self._number, self._since, self.stage = number, now, Stage.NONE
        if run is None:
            return
        seconds = now - self._since
        if seconds >= SAY_SECONDS and self.stage < Stage.TOLD:
            self.stage = Stage.TOLD
            say(log, logging.WARNING, "%s", _words(run, seconds, watch.thread))
        if seconds >= self.limit_seconds and self.stage < Stage.INTERRUPTED:
            self.stage = Stage.INTERRUPTED
            watch.interrupt(number, BodyBlocked(_words(run, seconds, watch.thread)))
        if seconds >= self.limit_seconds + GIVE_UP_SECONDS and self.stage < Stage.GIVEN_UP:
            self.stage = Stage.GIVEN_UP
            told = _words(run, seconds, watch.thread)
            say(log, logging.CRITICAL, "%sIt does not come back, so its worker ends", told)
        if self.stage < Stage.GIVEN_UP:
            self.beat()


def _words(run: Run, seconds: float, thread: int) -> str:
    frame = frame_of(thread)
    stack = "".join(traceback.format_stack(frame)) if frame is not None else ""
    return (
        f"WF1012 the body of {run.task} {show('run', run.id)} has not awaited anything for "
        f"{seconds:.0f} s, and all runs of this worker wait for it: move what it computes into a "
        f"step. It stands here:\n{stack}"
    )
