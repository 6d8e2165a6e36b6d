"""What a project puts around every body and every step: context managers.

A middleware is called with what `wf.current()` answers there (`.step` is None around a body), and
answers a context manager, or None where it has nothing to do. Around a step it is entered for each
attempt. A body is run anew whenever it is replayed, and so is what is around it: there it must be
as deterministic as the body, and `wf.current().run.is_replay` tells whether this has been before.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
)
from typing import Any

from wf.engine.author import Context, current
from wf.engine.core.runnable import Runnable
from wf.history.errors import DeclarationError

Manager = AbstractContextManager[Any] | AbstractAsyncContextManager[Any]
Middleware = Callable[[Context], Manager | None]


async def call_async(around: Sequence[Middleware], call: Callable[[], Any]) -> Any:
    """What an async `call` answers, inside of all these, the first one outermost."""
    async with AsyncExitStack() as stack:
        for middleware in around:
            manager = middleware(current())
            if isinstance(manager, AbstractAsyncContextManager):
                await stack.enter_async_context(manager)
            elif manager is not None:
                stack.enter_context(manager)
        return await call()


def call_sync(around: Sequence[Middleware], call: Callable[[], Any]) -> Any:
    """The same for a sync `call`, around which nothing can be awaited. Raises DeclarationError."""
    with ExitStack() as stack:
        for middleware in around:
            manager = middleware(current())
            if manager is not None and not isinstance(manager, AbstractContextManager):
                step = current().step
                raise DeclarationError(
                    f"middleware {name_of(middleware)} answers an async context manager around "
                    f"{step.id if step else ''}, a sync step: answer a sync one, or None"
                )
            if manager is not None:
                stack.enter_context(manager)
        return call()


def surrounded(task: Runnable[..., Any], around: Sequence[Middleware]) -> Runnable[..., Any]:
    """The same task, its body inside of these."""
    inner = task.body

    async def body(*args: Any, **kwargs: Any) -> Any:
        return await call_async(around, lambda: inner(*args, **kwargs))

    copied = copy.copy(task)
    vars(copied)["body"] = body
    return copied


def check_middleware(given: object) -> tuple[Middleware, ...]:
    """Raises DeclarationError for what is no list of functions."""
    if not isinstance(given, Sequence) or isinstance(given, str) or not all(map(callable, given)):  # pyright: ignore[reportUnknownArgumentType]
        raise DeclarationError(f"middleware={given!r}: give a list of functions of one context")
    return tuple(given)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]


def name_of(function: object) -> str:
    return getattr(function, "__qualname__", None) or type(function).__name__


__all__ = ["Middleware", "call_async", "call_sync", "check_middleware", "surrounded"]
