"""Things that can be called and are no functions, as functions: `wf.step(callable, id=…)`.

Partials, bound methods, objects with `__call__`, builtins. A worker finds such a step as it finds
all others, by importing the module that declares it; so an object behind it is the one of that
process, and nothing of it is stored.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from types import FunctionType
from typing import Any, Final

from wf.history.errors import DeclarationError

THREAD: Final = "thread"
"""In the worker's own process: `def` in a thread, `async def` on the loop of all steps."""


def as_function(fn: Any, name: str, kind: str, given: dict[str, Any]) -> Callable[..., Any]:
    """A function that calls it, with its signature; `__wrapped__` is the function in it, or the
    builtin. Raises DeclarationError."""
    if kind != "step" or not callable(fn):
        raise DeclarationError(
            f"@wf.{kind} takes a function, not {name!r}; "
            f"write `@wf.{kind}` above `async def {kind}_name(…)`"
        )
    if "id" not in given:
        raise DeclarationError(
            f"{name} is no function of your own, so name the step: wf.step(…, id='…')"
        )
    if given.get("executor", THREAD) != THREAD and not inspect.isbuiltin(fn):
        raise DeclarationError(
            f"{name} cannot be found by its name where executor={given['executor']!r} runs it: "
            "write a function that calls it, at the top of a module"
        )
    inner = innermost(fn)
    if (
        inspect.isclass(fn)
        or inspect.isgeneratorfunction(inner)
        or inspect.isasyncgenfunction(inner)
    ):
        raise DeclarationError(f"{name} returns no result: write a function that calls it")
    try:
        signature = inspect.signature(fn)
    except (ValueError, TypeError) as error:
        raise DeclarationError(
            f"{name} says no signature: write a function that calls it, and wrap that"
        ) from error
    made = _async(fn) if is_async(fn) else _sync(fn)
    made.__wrapped__ = inner
    made.__signature__ = signature
    made.__name__ = getattr(inner, "__name__", type(fn).__name__)
    made.__qualname__ = getattr(inner, "__qualname__", made.__name__)
    made.__module__ = getattr(inner, "__module__", None) or __name__
    made.__doc__ = inspect.getdoc(fn)
    made.__annotations__ = dict(getattr(inner, "__annotations__", {}))
    return made


def is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(innermost(fn))


def innermost(fn: Any) -> Any:
    """What is called in the end: below partials, methods and `__call__`."""
    while not isinstance(fn, FunctionType):
        if isinstance(fn, partial):
            fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
        elif inspect.ismethod(fn):
            fn = fn.__func__
        elif inspect.isfunction(type(fn).__call__):
            fn = type(fn).__call__
        else:
            break
    return fn  # pyright: ignore[reportUnknownVariableType]


def _sync(fn: Callable[..., Any]) -> Any:
    def call(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return call


def _async(fn: Callable[..., Any]) -> Any:
    async def call(*args: Any, **kwargs: Any) -> Any:
        return await fn(*args, **kwargs)

    return call
