"""A step called in a body: run once for its place in the run, recorded when it ends."""

from __future__ import annotations

import sys
from collections.abc import Coroutine
from importlib import import_module
from typing import TYPE_CHECKING, Any, TypeVar

from wf.engine.core.decisions import CancelStep, RunStep
from wf.engine.core.info import digest_of
from wf.engine.core.operation import Operation, OperationFuture
from wf.engine.core.values import check_json
from wf.history.errors import StepFailed, StepInterrupted, StepTimedOut
from wf.history.events import Event, Failure, Kind

if TYPE_CHECKING:
    from wf.engine.core.callers import StepCaller
    from wf.engine.core.execution import Execution
    from wf.engine.core.runnable import Runnable

T = TypeVar("T")

INTERRUPTED = "StepInterrupted"
TIMED_OUT = "StepTimedOut"
_ERRORS: dict[str, type[StepFailed]] = {INTERRUPTED: StepInterrupted, TIMED_OUT: StepTimedOut}


class StepCall(Operation[T]):
    """`await some_step(x)`."""

    __slots__ = ("_args", "_kwargs", "_runnable")
    verb = "step"

    def __init__(
        self,
        runnable: Runnable[..., T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        depth: int = 2,
    ) -> None:
        frame = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]
        self._code = frame.f_code
        self._instruction = frame.f_lasti
        self._future = None
        self._iterator = None
        self._awaited = False
        self._runnable = runnable
        self._args = args
        self._kwargs = kwargs
        self._watch()

    def issue(self, execution: Execution) -> OperationFuture:
        runnable = self._runnable
        arguments = runnable.signature.encode_call(self._args, self._kwargs)
        digest = digest_of(arguments)
        ordinal = execution.number(self, "step", runnable.id, digest)
        future = execution.open_operation(ordinal, runnable.settle_step)
        future.on_cancel = _on_cancel
        repeat = execution.repeats(runnable.id, digest)
        recorded = execution.recorded.get(ordinal)
        if recorded is None or recorded.kind not in _ENDS:
            execution.decide(
                RunStep(ordinal, runnable.id, digest, arguments, repeat, execution.now, runnable)
            )
        return future

    def begin_in(self, step: StepCaller) -> bool:
        """A step that another one awaits just runs, as a part of it."""
        return False

    def outside(self) -> Coroutine[Any, Any, T]:
        return just_run(self._runnable, self._args, self._kwargs)


_FINISHED = Kind.STEP_FINISHED
_ENDS = frozenset({Kind.STEP_FINISHED, Kind.STEP_FAILED})


async def just_run(runnable: Runnable[..., T], args: tuple[Any, ...], kwargs: dict[str, Any]) -> T:
    """What a step's call outside any body does."""
    run_here = import_module("wf.engine.triggering").run_here
    return await run_here(runnable.fn, args, kwargs)


def _on_cancel(execution: Execution, future: OperationFuture) -> bool:
    """A step in flight ends first; one that waits for its next attempt is given up at once."""
    if future.retry_at > execution.now:
        return False
    execution.decide(CancelStep(future.ordinal))
    return True


def settle_step(
    runnable: Runnable[..., Any], execution: Execution, future: OperationFuture, event: Event
) -> None:
    """STEP_FINISHED or STEP_FAILED."""
    if future.is_canceled:
        future.cancel_now()
    elif event.kind == _FINISHED:
        try:
            future.set_result(runnable.signature.result.decode(event.data or b"null"))
        except Exception as error:
            check_json(event)
            future.set_exception(error)
    else:
        execution.issued_when[event.ordinal] = execution.ordinal
        future.set_exception(step_error(runnable.id, event))


def step_error(step: str, event: Event) -> StepFailed:
    """The exception for a step that failed for good, here or as a run of its own. A fresh one each
    time."""
    told = Failure.decode(event.data)
    after = f" after {event.attempt} attempt{'s' if event.attempt > 1 else ''}"
    error = _ERRORS.get(told.type, StepFailed)(
        f"{step} failed{after if event.attempt else ''}: {told.type}: {told.message}",
        type=told.type,
        traceback=told.traceback,
        ordinal=event.ordinal,
    )
    error.message = told.message
    return error
