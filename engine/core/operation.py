"""An operation: what a body awaits. A coroutine that can also be `yield from`ed.

It gets its number (its ordinal) when it is first awaited or scheduled. Outside any body the same
call does the thing at once: a step just runs, a task is triggered and waited for.
"""

from __future__ import annotations

import sys
import warnings
from asyncio import events
from collections.abc import Callable, Coroutine, Generator
from contextvars import ContextVar
from types import CodeType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

from wf.engine.core.loop import BodyFuture, BodyLoop
from wf.history.errors import NotConnected, NotInStep

if TYPE_CHECKING:
    from wf.engine.core.callers import StepCaller
    from wf.engine.core.execution import Execution

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)


calling_step: Final[ContextVar[StepCaller]] = ContextVar("wf_calling_step")
"""The step whose code is running."""


class Dropped(BaseException):
    """What an operation raises in a body that is dropped from memory: its `finally` blocks may run,
    but no operation any more."""


def current_execution() -> Execution | None:
    """The run whose body is running in this thread now; None outside bodies."""
    loop = events._get_running_loop()  # pyright: ignore[reportPrivateUsage]
    if type(loop) is BodyLoop:
        return loop.execution  # type: ignore[return-value]
    return None


class OperationFuture(BodyFuture):
    """An operation under way: what `Execution.open` holds until a fact settles it.

    `settle(execution, future, event)` gives it its outcome. `on_cancel` says what else a cancel
    does; where it answers True the operation ends only when a fact comes (a step that is in flight
    has to end first).
    """

    __slots__ = ("on_cancel", "ordinal", "settle")
    ordinal: int
    settle: Callable[[Execution, OperationFuture, Any], None]
    on_cancel: Callable[[Execution, OperationFuture], bool] | None
    is_canceled = False
    cancel_message: Any = None
    attempt = 1
    """Of a step: which attempt is, or will be, under way."""
    retry_at = 0
    """Of a step: when that attempt is due."""
    child = b""
    """Of a child: the id of its run."""

    def cancel(self, msg: Any = None) -> bool:
        if self.done():
            return False
        execution: Execution = cast("Any", self.get_loop()).execution
        first = not self.is_canceled
        self.is_canceled = True
        self.cancel_message = msg
        if (
            self.on_cancel is not None
            and not execution.is_closing
            and (not first or self.on_cancel(execution, self))
        ):
            return True
        execution.open.pop(self.ordinal, None)
        return super().cancel(msg)

    def cancel_now(self) -> None:
        """The cancel that had to wait. Its message is kept: anyio knows its own cancels by it."""
        super().cancel(self.cancel_message)


def line_of(code: CodeType, instruction: int) -> int:
    line = code.co_firstlineno
    for start, end, number in code.co_lines():
        if start <= instruction < end and number is not None:
            line = number
    return line


class Guard:
    """Beside an operation that was made outside any body: warns when it is dropped un-awaited.

    An object of its own, so that operations of bodies, which are many, have no finalizer.
    """

    __slots__ = ("code", "has_loop", "instruction", "verb")

    def __init__(self, operation: Operation[Any]) -> None:
        self.verb = operation.verb
        self.code = operation._code  # pyright: ignore[reportPrivateUsage]
        self.instruction = operation._instruction  # pyright: ignore[reportPrivateUsage]
        self.has_loop = events._get_running_loop() is not None  # pyright: ignore[reportPrivateUsage]

    def __del__(self) -> None:
        if not self.verb or sys.is_finalizing():
            return
        other = _IN_PLAIN_CODE.get(self.verb, "write it in an `async def`, with `await`")
        remedy = "write `await` before it" if self.has_loop else other
        warnings.warn_explicit(
            f"a {self.verb} was called outside a task body and never awaited, so nothing has "
            f"happened: {remedy}",
            RuntimeWarning,
            self.code.co_filename,
            line_of(self.code, self.instruction),
        )


_IN_PLAIN_CODE: Final = {
    "child": "in code that is not async, `wf.client().trigger(task, payload)` does it",
    "batch": "in code that is not async, `wf.client().batch_trigger(task, items)` does it",
    "step": "in code that is not async, `step.fn(…)` is the plain function",
}


class Operation(Coroutine[Any, Any, T_co], Generic[T_co]):
    """Await it once in a task body (or `yield from` it in a generator task)."""

    __slots__ = (
        "__weakref__",
        "_awaited",
        "_code",
        "_future",
        "_guard",
        "_hash",
        "_instruction",
        "_iterator",
    )
    verb: ClassVar[str] = "operation"
    """For messages: "step", "timer", …"""

    def __init__(self, depth: int) -> None:
        frame = sys._getframe(depth)  # pyright: ignore[reportPrivateUsage]
        self._code: CodeType = frame.f_code
        self._instruction: int = frame.f_lasti
        self._future: BodyFuture | None = None
        self._iterator: Any = None
        self._awaited = False
        self._watch()

    def _watch(self) -> None:
        """That it is awaited, or scheduled: a body keeps what it made until then, elsewhere it
        warns when it is dropped."""
        loop = events._get_running_loop()  # pyright: ignore[reportPrivateUsage]
        if type(loop) is BodyLoop:
            execution: Execution = loop.execution  # type: ignore[assignment]
            execution.made[id(self)] = self
            return
        step = calling_step.get(None)
        if step is None or not self.begin_in(step):
            self._guard = Guard(self)

    @property
    def is_taken(self) -> bool:
        """It was awaited or scheduled."""
        return self._awaited or self._future is not None

    # -- what a kind of operation defines

    def issue(self, execution: Execution) -> BodyFuture:
        """Number it, and decide what it needs."""
        raise NotImplementedError

    def begin_in(self, step: StepCaller) -> bool:
        """It is called in a step's code. True: it is under way, whether it is awaited or not.

        Raises NotInStep where it has no place there.
        """
        raise NotInStep(
            f"a {self.verb} has no place in a step, which would hold its worker while it waits: "
            "call it in the body of a task"
        )

    def outside(self) -> Coroutine[Any, Any, Any]:
        """What awaiting it does where no body is running."""
        raise NotConnected(
            f"a {self.verb} is awaited outside a task body: call it in a function with @wf.task"
        )

    def __hash__(self) -> int:
        """By (run, number), like the loop's tasks: `as_completed` walks a set of operations."""
        try:
            return self._hash
        except AttributeError:
            loop = events._get_running_loop()  # pyright: ignore[reportPrivateUsage]
            self._hash: int = loop.next_hash() if type(loop) is BodyLoop else id(self)
            return self._hash

    # -- being awaited

    @property
    def where(self) -> str:
        """The call in the author's code: "file.py:12"."""
        return f"{self._code.co_filename}:{line_of(self._code, self._instruction)}"

    def schedule(self) -> None:
        """Number it now (`create_task`, `gather`)."""
        if self._future is None:
            execution = current_execution()
            if execution is not None:
                self._future = self.issue(execution)

    def __await__(self) -> Generator[Any, Any, T_co]:
        if self._awaited:
            raise RuntimeError(
                f"a {self.verb} was awaited twice ({self.where}): call it again for another one"
            )
        self._awaited = True
        future = self._future
        if future is None:
            execution = current_execution()
            if execution is None:
                if sys.is_finalizing():
                    raise Dropped
                self._disarm()
                return self.outside().__await__()
            try:
                self._future = future = self.issue(execution)
            except BaseException:
                if not execution.is_stuck:
                    raise
                future = execution.loop.create_future()
        return future.__await__()

    def __iter__(self) -> Generator[Operation[Any], Any, T_co]:
        return (yield self)

    def send(self, value: Any, /) -> Any:
        if self._iterator is None:
            self._iterator = self.__await__()
        return self._iterator.send(value)

    def throw(self, *error: Any) -> Any:
        if self._iterator is None:
            if self._future is None or self._future.done():
                self._awaited = True
                self._disarm()
                raise error[0]
            # Canceled after it was scheduled, before its task ran: it is under way and has to end.
            self._iterator = self.__await__()
            self._future.cancel()
            return self._iterator.send(None)
        return self._iterator.throw(*error)

    def _disarm(self) -> None:
        guard: Guard | None = getattr(self, "_guard", None)
        if guard is not None:
            guard.verb = ""

    def close(self) -> None:
        self._awaited = True
        self._disarm()
        if self._iterator is not None:
            self._iterator.close()


Gen = Generator[Operation[Any], Any, T]
"""The return annotation of a generator task: `def onboarding(user: User) -> wf.Gen[str]`."""
