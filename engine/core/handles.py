"""What a body holds of things outside itself: runs and tokens."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from datetime import datetime
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from wf.engine.core.callers import cannot_wait
from wf.engine.core.decisions import AwaitRun
from wf.engine.core.durations import from_ms
from wf.engine.core.messages import Send, SendCall
from wf.engine.core.operation import Operation, OperationFuture
from wf.engine.core.values import check_json
from wf.history.errors import (
    NotDeterministic,
    RunCanceled,
    RunError,
    RunExpired,
    RunFailed,
    RunTimedOut,
)
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import show

if TYPE_CHECKING:
    from wf.client.views import ChunkView, RunView
    from wf.engine.core.callers import StepCaller
    from wf.engine.core.execution import Execution

T = TypeVar("T")

_ERRORS: dict[str, type[RunError]] = {
    Status.FAILED: RunFailed,
    Status.CANCELED: RunCanceled,
    Status.EXPIRED: RunExpired,
    Status.TIMED_OUT: RunTimedOut,
}
_WORDS = {
    Status.FAILED: "failed",
    Status.CANCELED: "was canceled",
    Status.EXPIRED: "did not start within its ttl",
    Status.TIMED_OUT: "was active longer than its max_duration",
}


def run_error(
    status: str, failure: bytes | None, run_id: bytes, task: str, ordinal: int = 0
) -> RunError:
    """The exception for a run that ended badly. A fresh one each time."""
    told = Failure.decode(failure)
    shown = show("run", run_id)
    word = _WORDS[Status(status)]
    message = (
        f"{task} {word}: {told.type}: {told.message}"
        if status == Status.FAILED
        else f"{task} {word}"
    )
    error = _ERRORS[status](
        f"{message} ({shown})",
        run_id=shown,
        type=told.type,
        traceback=told.traceback,
        ordinal=ordinal,
    )
    error.message = told.message
    return error


class RunHandle(Generic[T]):
    """A run: `handle.id` (run_…), `await handle.result()`."""

    __slots__ = (
        *("_id", "_sends", "decode", "id", "is_cached", "outside", "payload_differs", "task"),
    )

    def __init__(
        self,
        run_id: bytes,
        task: str,
        decode: Callable[[bytes | None], T],
        *,
        is_cached: bool = False,
        payload_differs: bool = False,
        outside: Callable[[RunHandle[T]], Coroutine[Any, Any, T]] | None = None,
        sends: Send | None = None,
    ) -> None:
        self._id = run_id
        self.id = show("run", run_id)
        self.task = task
        self.decode = decode
        self.is_cached = is_cached
        """An idempotency key was taken: this is the run that was there before."""
        self.payload_differs = payload_differs
        """… and it was given another payload."""
        self.outside = outside
        self._sends = sends

    def result(self) -> Operation[T]:
        """The output, when the run has ended.

        Raises RunFailed, RunCanceled, RunExpired or RunTimedOut.
        """
        return ResultOf(self)

    def send(self, name: str, data: Any = None) -> Operation[None]:
        """Send the run a message, for its `wf.wait.for_message(name)`. In a body exactly once.

        Raises AlreadyEnded, NotFound.
        """
        return SendCall(self._id, name, data, self._sends)

    def subscribe(self) -> AsyncGenerator[RunView]:
        """Outside bodies: the run now, then at each change of its status, metadata, tags or output,
        until it has ended."""
        raise self._cannot_be_followed("subscribe()")

    def stream(self, name: str, *, after: int = 0) -> AsyncGenerator[ChunkView]:
        """Outside bodies: the chunks of a stream in order, those to come too, until the run has
        ended. `after`: the `seq` of the last one that was read before."""
        raise self._cannot_be_followed(f"stream({name!r})")

    def _cannot_be_followed(self, call: str) -> NotDeterministic:
        return NotDeterministic(
            f"{self!r}.{call} is called in a task body, where a run can only be waited for: "
            "`await handle.result()`, or follow it from outside"
        )

    @property
    def raw_id(self) -> bytes:
        return self._id

    def __repr__(self) -> str:
        return f"<RunHandle {self.task} {self.id}>"


class ResultOf(Operation[T]):
    """Wait for a run that was triggered before."""

    __slots__ = ("handle",)
    verb = "result"

    def __init__(self, handle: RunHandle[T]) -> None:
        self.handle = handle
        super().__init__(3)

    def issue(self, execution: Execution) -> OperationFuture:
        handle = self.handle
        recorded = execution.next_recorded()
        ordinal = execution.number(self, "result", "", 0)
        future = execution.open_operation(
            ordinal,
            lambda execution, future, event: settle_run(
                execution, future, event, handle.task, handle.decode
            ),
        )
        future.child = handle.raw_id
        execution.waits[ordinal] = Kind.CHILD_ENDED
        if recorded is None:
            execution.decide(AwaitRun(ordinal, handle.raw_id))
        return future

    def begin_in(self, step: StepCaller) -> bool:
        raise cannot_wait(f"the result of {self.handle!r}")

    def outside(self) -> Coroutine[Any, Any, T]:
        if self.handle.outside is None:
            return super().outside()
        return self.handle.outside(self.handle)


def settle_run(
    execution: Execution,
    future: OperationFuture,
    event: Event,
    task: str,
    decode: Callable[[bytes | None], Any],
) -> None:
    """CHILD_ENDED: the output, or the error by which the run ended."""
    if event.name == Status.COMPLETED:
        try:
            future.set_result(decode(event.data))
        except Exception as error:
            check_json(event)
            future.set_exception(error)
    else:
        execution.issued_when[event.ordinal] = execution.ordinal
        future.set_exception(run_error(event.name, event.data, future.child, task, event.ordinal))


class Token(Generic[T]):
    """A place where somebody outside hands in data: `token.id` (token_…)."""

    __slots__ = ("_id", "decode", "id", "timeout_at")

    def __init__(self, token_id: bytes, decode: Callable[[bytes], T], timeout_at: int) -> None:
        self._id = token_id
        self.id = show("token", token_id)
        self.decode = decode
        self.timeout_at: datetime | None = from_ms(timeout_at) if timeout_at else None

    @property
    def raw_id(self) -> bytes:
        return self._id

    def __repr__(self) -> str:
        return f"<Token {self.id}>"


__all__ = ["RunHandle", "Token", "run_error", "settle_run"]
