"""A step that runs in another process: the call goes there as data, its outcome comes back as data.

The function is found by where it stands (module, file, name), never pickled. Arguments and results
are the JSON that is stored. `perform` is what an executor is given to run.
"""

from __future__ import annotations

import asyncio
import json
import secrets
import sys
import threading
from collections.abc import Sequence
from contextvars import copy_context
from datetime import UTC, datetime
from functools import reduce
from importlib import import_module
from importlib.util import module_from_spec
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

from msgspec import Struct
from msgspec.structs import replace

from wf.engine.attempts import StepOutcome
from wf.engine.author import StepCallInfo
from wf.engine.core.info import RunInfo
from wf.engine.core.outcome import failure_of
from wf.engine.core.retry import Elsewhere, kinds_of
from wf.engine.core.runnable import Runnable, step
from wf.engine.limits import Limits
from wf.engine.notebook import MAX_UNWRITTEN_BYTES
from wf.engine.source import spec_of
from wf.engine.steps import StepOrder, run_async, run_sync
from wf.history.errors import CannotLoad, PayloadTooLarge, RetryAfter
from wf.history.events import Failure
from wf.history.notes import Note, Notes, first_metadata, operate

_PROCESS: Final = secrets.token_hex(8)
"""Of this process, and of those that are forked from it: they have its modules."""
_MAIN: Final = "__main__"
_importing: Final = threading.Lock()


class Place(Struct, frozen=True):
    """Where a function stands."""

    process: str
    module: str
    file: str
    name: str


class Call(Struct, frozen=True):
    """One attempt of a step. `timeout_ms`: 0 where the caller sees to it."""

    place: Place
    step: str
    arguments: bytes
    run: RunInfo
    attempt: int
    digest: int
    repeat: int
    timeout_ms: int = 0


class Reply(Struct, frozen=True):
    """How it ended: `data`, or what it raised as a Failure with the names of its classes."""

    data: bytes | None
    took_ms: int
    timed_out: bool = False
    failure: Failure | None = None
    kinds: frozenset[str] = frozenset()
    seconds: float | None = None
    notes: Sequence[Note] = ()

    def outcome(self, ordinal: int) -> StepOutcome:
        error = None if self.failure is None else Elsewhere(self.kinds, self.seconds)
        return StepOutcome(
            ordinal,
            self.data,
            error,
            self.took_ms,
            self.timed_out,
            failure=self.failure,
            notes=self.notes,
        )


class Pocket:
    """A Pad whose notes go back with the reply. It knows of the run's metadata what the trigger
    gave."""

    def __init__(self, run: RunInfo) -> None:
        self._run = run
        self._lock = threading.Lock()
        self._notes = Notes()

    def add(self, note: Note) -> None:
        with self._lock:
            if self._notes.size + note.size > MAX_UNWRITTEN_BYTES:
                raise PayloadTooLarge(
                    f"a step in an executor notes over {MAX_UNWRITTEN_BYTES:,} bytes: "
                    "return less, or run it in a thread or a process of the worker"
                )
            self._notes.add(note)

    def metadata(self) -> dict[str, Any]:
        document = json.loads(first_metadata(self._run.options))
        for note in self.notes():
            if note.run_id == self._run.id:
                operate(document, note)
        return document

    def notes(self) -> list[Note]:
        with self._lock:
            return list(self._notes)


def call_of(order: StepOrder, timeout_ms: int = 0) -> Call:
    info = order.info
    return Call(
        place_of(order.runnable.fn),
        order.runnable.id,
        order.arguments,
        replace(info.run, payload=b""),
        info.attempt,
        info.digest,
        info.repeat,
        timeout_ms,
    )


def perform(call: Call) -> Reply:
    """Run a step here and now. Never raises."""
    try:
        order = order_of(call)
    except Exception as error:
        return refused(error)
    pocket = order.info.pad = Pocket(call.run)
    return replace(carry_out(order), notes=pocket.notes())


def order_of(call: Call) -> StepOrder:
    """The call as an order of this process. Raises CannotLoad."""
    found = _find(call.place)
    runnable: Runnable[..., Any]
    if isinstance(found, Runnable):
        runnable = cast("Runnable[..., Any]", found)
    else:
        runnable = step(found, id=call.step)
    info = StepCallInfo(call.run, call.step, call.attempt, call.digest, call.repeat)
    return StepOrder(call.run.id, 0, runnable, call.arguments, info, call.timeout_ms)


def carry_out(order: StepOrder) -> Reply:
    if order.runnable.is_async:
        return _reply(asyncio.run(_run(order)))
    return _reply(copy_context().run(run_sync, order))


def refused(error: Exception) -> Reply:
    """It cannot even begin."""
    return _reply(StepOutcome(0, None, error, 0))


async def _run(order: StepOrder) -> StepOutcome:
    return await run_async(order, Limits(asyncio.get_running_loop()))


def _reply(outcome: StepOutcome) -> Reply:
    error = outcome.error
    if error is None:
        return Reply(outcome.data, outcome.took_ms)
    seconds = error.seconds if isinstance(error, RetryAfter) else None
    if isinstance(error, RetryAfter) and error.at is not None:
        seconds = (error.at - datetime.now(UTC)).total_seconds()
    return Reply(
        None, outcome.took_ms, outcome.timed_out, failure_of(error), kinds_of(error), seconds
    )


# --- where a function stands ----------------------------------------------------------------------


def place_of(fn: Any) -> Place:
    module = sys.modules.get(fn.__module__)
    name = fn.__module__
    spec = getattr(module, "__spec__", None)
    if name == _MAIN and spec is not None:
        name = spec.name  # python -m package.module
    return Place(_PROCESS, name, getattr(module, "__file__", None) or "", fn.__qualname__)


def _find(place: Place) -> Any:
    """The function that stands there, or its runnable. Raises CannotLoad."""
    try:
        with _importing:
            module = _module(place)
        return reduce(getattr, place.name.split("."), module)
    except Exception as error:
        where = f"{place.module}.{place.name}"
        raise CannotLoad(
            f"{where} cannot be found in the process that is to run it "
            f"({type(error).__name__}: {error}): make its module importable there"
        ) from error


def _module(place: Place) -> ModuleType:
    if place.process == _PROCESS and place.module in sys.modules:
        return sys.modules[place.module]
    name = place.module
    if name == _MAIN:
        name = "wf_main"
    else:
        try:
            return import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name or not place.file:
                raise
    if name in sys.modules:
        return sys.modules[name]
    spec = spec_of(name, Path(place.file))
    if spec is None or spec.loader is None:
        raise ImportError(f"{place.file or 'its module'} is no Python file")
    module = sys.modules[name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
