"""`wf.wait`: timers, tokens and messages."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeVar, cast, overload

from wf.engine.core.decisions import AwaitToken, CreateToken
from wf.engine.core.durations import Duration, milliseconds, to_ms
from wf.engine.core.handles import Token
from wf.engine.core.info import digest_of
from wf.engine.core.messages import AwaitMessageCall
from wf.engine.core.operation import Operation, OperationFuture
from wf.engine.core.triggers import check_tags
from wf.engine.core.values import Shape, check_json
from wf.history.errors import TokenCanceled, TokenTimedOut
from wf.history.events import Event, Kind
from wf.history.ids import derived_id, parse, show

if TYPE_CHECKING:
    from wf.engine.core.execution import Execution
    from wf.engine.core.loop import BodyFuture

T = TypeVar("T")


class Sleep(Operation[None]):
    """A durable timer, by duration or until a moment."""

    __slots__ = ("_ms", "_until")
    verb = "timer"

    def __init__(self, ms: int, *, until: bool, depth: int) -> None:
        super().__init__(depth)
        self._ms = ms
        self._until = until

    def issue(self, execution: Execution) -> BodyFuture:
        delay = max(0, self._ms - execution.now) if self._until else self._ms
        future = SleepFuture(loop=execution.loop)
        future.on_cancel = None

        def fire() -> None:
            if not future.done():
                future.set_result(None)

        ordinal = execution.open_timer(self, delay, self._ms, fire, is_fixed=self._until)
        future.ordinal = ordinal
        return future


class SleepFuture(OperationFuture):
    """Settled by its timer; a cancel takes the timer away."""

    def cancel(self, msg: Any = None) -> bool:
        execution: Execution = cast("Any", self.get_loop()).execution
        execution.timers.drop(self.ordinal)
        return super().cancel(msg)


class CreateTokenCall(Operation[Token[T]]):
    __slots__ = ("_kind", "_tags", "_timeout_ms")
    verb = "token"

    def __init__(self, kind: Any, timeout_ms: int, tags: tuple[str, ...]) -> None:
        super().__init__(3)
        self._kind = kind
        self._timeout_ms = timeout_ms
        self._tags = tags

    def issue(self, execution: Execution) -> BodyFuture:
        shape = Shape(self._kind, "data of a token")
        schema = json.dumps(shape.json_schema()).encode() if self._kind is not Any else b"null"
        digest = digest_of(json.dumps([self._timeout_ms, self._tags]).encode())
        recorded = execution.next_recorded()
        ordinal = execution.number(self, "token", "token", digest)
        run = execution.run
        if recorded is not None and recorded.data is not None:
            token_id, made_at = recorded.data, recorded.at
        else:
            token_id = derived_id(execution.now, run.id, run.chapter, ordinal)
            made_at = execution.now
        timeout_at = made_at + self._timeout_ms if self._timeout_ms else 0
        if recorded is None:
            execution.decide(CreateToken(ordinal, token_id, digest, timeout_at, self._tags, schema))
        future = execution.loop.create_future()
        future.set_result(Token(token_id, shape.decode, timeout_at))
        return future


class AwaitTokenCall(Operation[T]):
    __slots__ = ("_decode", "_token_id")
    verb = "wait for token"

    def __init__(self, token: Token[T] | str, kind: Any) -> None:
        super().__init__(3)
        if isinstance(token, Token):
            self._token_id = token.raw_id
            self._decode = token.decode
        else:
            self._token_id = parse("token", token)
            self._decode = Shape(kind, "data of a token").decode

    def issue(self, execution: Execution) -> BodyFuture:
        recorded = execution.next_recorded()
        ordinal = execution.number(self, "wait for token", "", 0)
        future = execution.open_operation(ordinal, self._settle)
        execution.waits[ordinal] = Kind.TOKEN_ENDED
        if recorded is None:
            execution.decide(AwaitToken(ordinal, self._token_id))
        return future

    def _settle(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        shown = show("token", self._token_id)
        if event.name != "COMPLETED":
            execution.issued_when[event.ordinal] = execution.ordinal
        match event.name:
            case "COMPLETED":
                try:
                    future.set_result(self._decode(event.data or b"null"))
                except Exception as error:
                    check_json(event)
                    future.set_exception(error)
            case "TIMED_OUT":
                future.set_exception(
                    TokenTimedOut(
                        f"nobody completed {shown} in time",
                        type="TokenTimedOut",
                        ordinal=event.ordinal,
                    )
                )
            case _:
                future.set_exception(
                    TokenCanceled(
                        f"{shown} was canceled", type="TokenCanceled", ordinal=event.ordinal
                    )
                )


class WaitFor:
    """`wf.wait`: what a body waits for without using compute."""

    __slots__ = ()

    def for_(
        self,
        duration: Duration | None = None,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
        milliseconds: float = 0,
    ) -> Operation[None]:
        """Go on after so long: `for_("1d12h")` or `for_(days=1, hours=12)`.

        Survives restarts; rows, not compute.
        """
        total = _milliseconds(duration) if duration is not None else 0
        total += round(
            weeks * 604_800_000
            + days * 86_400_000
            + hours * 3_600_000
            + minutes * 60_000
            + seconds * 1_000
            + milliseconds
        )
        return Sleep(_milliseconds(total / 1_000), until=False, depth=3)

    def until(self, moment: datetime) -> Operation[None]:
        """Go on at that moment (aware; at once where it has passed)."""
        return Sleep(to_ms(moment, "until"), until=True, depth=3)

    @overload
    def create_token(
        self, /, *, timeout: Duration | None = None, tags: Iterable[str] = ()
    ) -> Operation[Token[Any]]: ...
    @overload
    def create_token(
        self, kind: type[T], /, *, timeout: Duration | None = None, tags: Iterable[str] = ()
    ) -> Operation[Token[T]]: ...
    def create_token(
        self, kind: Any = Any, /, *, timeout: Duration | None = None, tags: Iterable[str] = ()
    ) -> Operation[Token[Any]]:
        """A token that somebody outside completes with data of `kind` (validated there).

        `timeout`: then it times out.
        """
        return CreateTokenCall[Any](
            kind,
            _milliseconds(timeout, "timeout") if timeout is not None else 0,
            tuple(check_tags(tags)),
        )

    @overload
    def for_token(self, token: Token[T], /) -> Operation[T]: ...
    @overload
    def for_token(self, token: str, kind: type[T], /) -> Operation[T]: ...
    @overload
    def for_token(self, token: str, /) -> Operation[Any]: ...
    def for_token(self, token: Token[Any] | str, kind: Any = Any, /) -> Operation[Any]:
        """The data that the token is completed with. Raises TokenTimedOut, TokenCanceled."""
        return AwaitTokenCall(token, kind)

    @overload
    def for_message(
        self, name: str, kind: type[T], /, *, timeout: Duration | None = None
    ) -> Operation[T]: ...
    @overload
    def for_message(self, name: str, /, *, timeout: Duration | None = None) -> Operation[Any]: ...
    def for_message(
        self, name: str, kind: Any = Any, /, *, timeout: Duration | None = None
    ) -> Operation[Any]:
        """The next message sent to this run under that name, in order of arrival; earlier ones are
        kept until they are asked for.

        Raises MessageTimedOut after `timeout`; PayloadError, naming the field, where what was sent
        does not fit (it is read, then: the next call gets the next one).
        """
        return AwaitMessageCall(
            name, kind, _milliseconds(timeout, "timeout") if timeout is not None else 0
        )


def _milliseconds(value: Duration, what: str = "duration") -> int:
    return milliseconds(value, what)


wait = WaitFor()
