"""Messages: `wf.wait.for_message(name, Model)` in the run that reads, `handle.send(name, data)` in
the one that writes."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final, TypeVar

from wf.engine.core.decisions import AwaitMessage, SendMessage
from wf.engine.core.execution import Execution
from wf.engine.core.info import digest_of
from wf.engine.core.names import check_name
from wf.engine.core.operation import Operation, OperationFuture
from wf.engine.core.values import Shape
from wf.history.errors import AlreadyEnded, Error, MessageTimedOut, NotFound
from wf.history.events import Event, Kind
from wf.history.ids import show
from wf.history.messages import Sent

if TYPE_CHECKING:
    from wf.engine.core.callers import StepCaller

T = TypeVar("T")

_any_json: Final = Shape(Any, "message")

Send = Callable[[str, bytes], Coroutine[Any, Any, None]]
"""(name, data) → what sending does outside any body."""


def encode_message(name: Any, data: Any) -> tuple[str, bytes]:
    """What is stored of a message. Raises DeclarationError, PayloadError."""
    return check_name(name, "name"), _any_json.encode_plain(data)


def unsent(outcome: Sent, run_id: bytes) -> Error | None:
    """The error for a message that did not arrive."""
    shown = show("run", run_id)
    match outcome:
        case Sent.SENT:
            return None
        case Sent.ENDED:
            return AlreadyEnded(f"{shown} has ended: it takes no more messages, trigger it anew")
        case Sent.UNKNOWN:
            return NotFound(f"there is no run {shown}: `wf runs list` shows those that are there")


class AwaitMessageCall(Operation[T]):
    """`await wf.wait.for_message(…)`. The time-out is a timer under the operation's own number, so
    that whichever fact comes first settles it."""

    __slots__ = ("_name", "_timeout_ms", "shape")
    verb = "wait for message"

    def __init__(self, name: str, kind: Any, timeout_ms: int) -> None:
        self._name = check_name(name, "name")
        self.shape = Shape(kind, f"message {name!r}")
        self._timeout_ms = timeout_ms
        super().__init__(3)

    @property
    def name(self) -> str:
        return self._name

    def issue(self, execution: Execution) -> OperationFuture:
        recorded = execution.next_recorded()
        ordinal = execution.number(self, self.verb, self._name, self._timeout_ms)
        future = execution.open_operation(ordinal, self._settle)
        future.on_cancel = _give_up
        execution.waits[ordinal] = Kind.MESSAGE_RECEIVED
        execution.listening[ordinal] = self._name
        if self._timeout_ms:
            execution.timers.open(
                ordinal,
                execution.now + self._timeout_ms,
                self._timeout_ms,
                kind=Kind.MESSAGE_TIMED_OUT,
            )
        if recorded is None:
            execution.decide(AwaitMessage(ordinal, self._name, self._timeout_ms))
        return future

    def _settle(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        _give_up(execution, future)
        if event.kind == Kind.MESSAGE_TIMED_OUT:
            execution.issued_when[event.ordinal] = execution.ordinal
            future.set_exception(
                MessageTimedOut(
                    f"no message {self._name!r} came within {self._timeout_ms / 1_000:g} s",
                    type="MessageTimedOut",
                    ordinal=event.ordinal,
                )
            )
            return
        try:
            future.set_result(self.shape.decode(event.data or b"null"))
        except Exception as error:
            future.set_exception(error)


def _give_up(execution: Execution, future: OperationFuture) -> bool:
    """The body waits no more: the message stays for the next who asks."""
    execution.timers.drop(future.ordinal)
    execution.listening.pop(future.ordinal, None)
    return False


class SendCall(Operation[None]):
    """`await handle.send(name, data)`. In a body it happens once, in the commit that records it."""

    __slots__ = ("_data", "_name", "_outside", "_run_id")
    verb = "send"

    def __init__(self, run_id: bytes, name: str, data: Any, outside: Send | None) -> None:
        self._run_id = run_id
        self._name, self._data = encode_message(name, data)
        self._outside = outside
        super().__init__(3)

    def issue(self, execution: Execution) -> OperationFuture:
        digest = digest_of(self._data)
        recorded = execution.next_recorded()
        ordinal = execution.number(self, self.verb, self._name, digest)
        future = execution.open_operation(ordinal, self._settle)
        execution.waits[ordinal] = Kind.SEND_SETTLED
        if recorded is None:
            execution.decide(SendMessage(ordinal, self._run_id, self._name, digest, self._data))
        return future

    def _settle(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        error = unsent(Sent[event.name], self._run_id)
        if error is None:
            future.set_result(None)
        else:
            future.set_exception(error)

    def begin_in(self, step: StepCaller) -> bool:
        return False

    def outside(self) -> Coroutine[Any, Any, None]:
        if self._outside is None:
            return super().outside()
        return self._outside(self._name, self._data)


__all__ = ["AwaitMessageCall", "SendCall", "encode_message", "unsent"]
