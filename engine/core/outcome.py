"""How a run ends: what its body returned or raised, as data."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast

from wf.engine.core.decisions import End
from wf.history.errors import Error, OperationError, OperationNeverAwaited, PayloadError
from wf.history.events import Failure, Status

if TYPE_CHECKING:
    from wf.engine.core.operation import Operation
    from wf.engine.core.runnable import Runnable

MAX_TEXT: Final = 32_768
"""Characters of a message, and of a traceback: a failure is copied to all who wait for it, with
theirs around it."""


def outcome_of(
    root: asyncio.Task[Any], runnable: Runnable[..., Any], *, canceled: bool, timed_out: bool
) -> End:
    """The end of a body whose task is done."""
    if root.cancelled():
        if timed_out:
            told = "the run was active for longer than its max_duration"
            return End(
                Status.TIMED_OUT, failure=Failure("RunTimedOut", told, code="WF3024").encode()
            )
        if canceled:
            return End(
                Status.CANCELED, failure=Failure("RunCanceled", "the run was canceled").encode()
            )
        return End(
            Status.FAILED,
            failure=Failure(
                "CancelledError", "the body ended by a CancelledError of its own"
            ).encode(),
        )
    error = root.exception()
    if error is None:
        try:
            output = runnable.signature.encode_result(root.result())
        except PayloadError as unfit:
            return End(Status.FAILED, failure=failure_of(unfit).encode())
        return End(Status.COMPLETED, output=output)
    return End(
        Status.FAILED,
        failure=failure_of(error).encode(),
        failed=failed_operation(error),
        error=unwrap(error),
    )


def never_awaited(operations: Sequence[Operation[Any]]) -> OperationNeverAwaited:
    """The error for a body that ended with these un-awaited."""
    places = ", ".join(f"{one.verb} at {one.where}" for one in operations)
    return OperationNeverAwaited(
        f"called in the body and never awaited, so it never happened: {places}; "
        "write `await` before it"
    )


def failure_of(error: BaseException) -> Failure:
    """An exception as data.

    What an operation reported keeps its own type and message; groups of one are unwrapped.
    """
    error = unwrap(error)
    code = error.code if isinstance(error, Error) else ""
    if isinstance(error, OperationError):
        return Failure(
            text_of(error.type) or type(error).__name__,
            text_of(error.message),
            shortened(f"{error.traceback}\n" if error.traceback else "") + own_traceback(error),
            code,
        )
    return Failure(type(error).__qualname__, text_of(error), own_traceback(error), code)


def text_of(value: object, form: Callable[[object], str] = str) -> str:
    """`form(value)`, for what people wrote: its __str__ may raise, and it may be of any length."""
    try:
        return shortened(form(value))
    except Exception as error:
        return f"<{type(value).__qualname__}: its text raised {type(error).__qualname__}>"


def shortened(text: str) -> str:
    """At most MAX_TEXT characters: the middle goes."""
    if len(text) <= MAX_TEXT:
        return text
    half = MAX_TEXT // 2
    return f"{text[:half]}\n… {len(text) - 2 * half:,} characters left out …\n{text[-half:]}"


def own_traceback(error: BaseException) -> str:
    """The traceback without the frames of wf and asyncio above the author's code."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not _is_engine(frame.filename)]
    lines = traceback.format_list(own or frames)
    try:
        lines += traceback.format_exception_only(error)
    except Exception:
        lines.append(f"{type(error).__qualname__}: {text_of(error)}\n")
    return shortened("".join(["Traceback (most recent call last):\n", *lines]))


def unwrap(error: BaseException) -> BaseException:
    """The one cause of a group of one (of a group of one, …)."""
    inner = _grouped(error)
    while len(inner) == 1:
        error = inner[0]
        inner = _grouped(error)
    return error


def _grouped(error: BaseException) -> tuple[BaseException, ...]:
    if not isinstance(error, BaseExceptionGroup):
        return ()
    return cast("BaseExceptionGroup[BaseException]", error).exceptions


def failed_operation(error: BaseException | None) -> int:
    """The ordinal of the operation whose failure this error comes from; 0 where there is none.

    Looks through single-cause groups and `raise … from`; of a group, the operation that failed
    last.
    """
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        inner = _grouped(error)
        if inner:
            return max(failed_operation(one) for one in inner)
        if isinstance(error, OperationError) and error.ordinal:
            return error.ordinal
        error = error.__cause__ or error.__context__
    return 0


_ENGINE_PARTS = ("/engine/core/", "/asyncio/", "\\asyncio\\", "/engine/steps")


def _is_engine(filename: str) -> bool:
    return any(part in filename for part in _ENGINE_PARTS)
