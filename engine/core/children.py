"""Runs that a body starts: awaited (`trigger_and_wait`) or not (`trigger`)."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast

from wf.engine.core.callers import Begun, StepCaller, Trigger, cannot_wait
from wf.engine.core.decisions import CancelRun, TriggerChild
from wf.engine.core.handles import RunHandle, settle_run
from wf.engine.core.info import digest_of
from wf.engine.core.operation import OperationFuture
from wf.engine.core.steps import just_run, step_error
from wf.engine.core.triggers import is_keyed, with_defaults
from wf.history.errors import DeclarationError
from wf.history.events import Event, Kind, Status
from wf.history.ids import derived_id
from wf.history.model import Triggered
from wf.history.settling import conflict

if TYPE_CHECKING:
    from wf.engine.core.execution import Execution
    from wf.engine.core.loop import BodyFuture
    from wf.engine.core.runnable import Runnable

T = TypeVar("T")

DIFFERS: Final = Triggered.CACHED_DIFFERS.value
"""`attempt` of a CHILD_STARTED whose key another payload has taken."""

Outside = Callable[
    ["Runnable[..., Any]", Callable[[], bytes], dict[str, Any], bool], Coroutine[Any, Any, Any]
]
"""(runnable, payload, options, awaited) → what a trigger outside any body does."""
_outside: list[Outside] = []


def when_outside(handler: Outside) -> None:
    """Say what a trigger outside any body does. Called by the part of wf that knows stores."""
    _outside[:] = [handler]


class ChildCall(Trigger[T]):
    """`await task.trigger(x)` and `await task.trigger_and_wait(x)`.

    `encode` gives the payload when it is issued.
    """

    __slots__ = ("_awaited_child", "_encode", "_options", "_runnable")
    verb = "child"

    def __init__(
        self,
        runnable: Runnable[..., Any],
        encode: Callable[[], bytes],
        options: dict[str, Any],
        *,
        awaited: bool,
        depth: int = 4,
    ) -> None:
        self._runnable = runnable
        self._encode = encode
        self._options = options
        self._awaited_child = awaited
        super().__init__(depth)

    def issue(self, execution: Execution) -> BodyFuture:
        runnable, options = self._runnable, self._options
        if "connection" in options:
            raise DeclarationError(
                "connection= has no place in a body, whose triggers are written with its history: "
                "leave it out, or trigger in a step"
            )
        payload = self._encode()
        digest = digest_of(
            payload + json.dumps(options, sort_keys=True).encode() if options else payload
        )
        recorded = execution.next_recorded()
        ordinal = execution.number(self, "child", runnable.id, digest)
        run = execution.run
        if recorded is not None and recorded.data is not None:
            child_id = recorded.data
        else:
            child_id = derived_id(execution.now, run.id, run.chapter, ordinal)
            execution.decide(
                TriggerChild(
                    ordinal,
                    child_id,
                    runnable.id,
                    digest,
                    payload,
                    self._awaited_child,
                    with_defaults(runnable.settings, options),
                )
            )
        if not self._awaited_child and not is_keyed(options):
            ready = execution.loop.create_future()
            ready.set_result(RunHandle(child_id, runnable.id, runnable.signature.decode_result))
            return ready
        future = execution.open_operation(
            ordinal, self._settle_awaited if self._awaited_child else self._settle_started
        )
        future.child = child_id
        execution.waits[ordinal] = Kind.CHILD_ENDED if self._awaited_child else Kind.CHILD_STARTED
        if self._awaited_child:
            future.on_cancel = _on_cancel
        return future

    def _settle_started(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        """CHILD_STARTED: which run it is."""
        runnable = self._runnable
        if self._conflicts(event):
            future.set_exception(conflict(runnable.id, event.data or future.child))
            return
        future.set_result(
            RunHandle(
                event.data or future.child,
                runnable.id,
                runnable.signature.decode_result,
                is_cached=event.attempt > 0,
                payload_differs=event.attempt > 1,
            )
        )

    def _settle_awaited(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        if event.kind == Kind.CHILD_STARTED and self._conflicts(event):
            future.on_cancel = None
            future.set_exception(conflict(self._runnable.id, event.data or future.child))
        elif event.kind == Kind.CHILD_STARTED:
            future.child = event.data or future.child
            if event.attempt:
                future.on_cancel = None
            execution.open[future.ordinal] = future
        else:
            settle_run(
                execution, future, event, self._runnable.id, self._runnable.signature.decode_result
            )

    def _conflicts(self, event: Event) -> bool:
        return self._options.get("on_conflict") == "raise" and event.attempt == DIFFERS

    def call_in(self, step: StepCaller) -> Begun[Any]:
        runnable = self._runnable
        if self._awaited_child:
            raise cannot_wait(f"a run of {runnable.id}", f"{runnable.__name__}.trigger(…)")
        options = with_defaults(runnable.settings, self._options)
        return step.trigger(runnable, self._encode(), options)

    def just_do(self) -> Coroutine[Any, Any, Any]:
        if not _outside:
            import_module("wf.client.outside")
        return _outside[0](self._runnable, self._encode, self._options, self._awaited_child)


class QueuedStepCall(ChildCall[T]):
    """`await some_step(x)` of a step that has a queue: a child run, which waits there. It fails as
    a step does."""

    __slots__ = ()
    verb = "step"

    def _settle_awaited(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        if event.kind == Kind.CHILD_ENDED and event.name == Status.FAILED:
            execution.issued_when[event.ordinal] = execution.ordinal
            future.set_exception(step_error(self._runnable.id, event))
        else:
            super()._settle_awaited(execution, future, event)

    def begin_in(self, step: StepCaller) -> bool:
        """A step that another one awaits just runs, as a part of it."""
        return False

    def outside(self) -> Coroutine[Any, Any, Any]:
        args, kwargs = cast("partial[bytes]", self._encode).args
        return just_run(self._runnable, args, kwargs)


def _on_cancel(execution: Execution, future: OperationFuture) -> bool:
    """The child that the body waits for is canceled with it; not one that somebody else started
    (its idempotency key was taken)."""
    execution.decide(CancelRun(future.child))
    return False
