"""`@wf.step` and `@wf.task`: functions as runnables.

A runnable is called from a task body, or triggered as a run of its own. To `inspect` it looks like
the function that it wraps, and like a coroutine function, so that agent libraries take it as a tool
and web frameworks as a handler.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Coroutine, Generator, Iterable
from functools import cached_property, partial
from types import MethodType
from typing import (
    TYPE_CHECKING,
    Any,
    Final,
    Generic,
    Literal,
    ParamSpec,
    Protocol,
    TypeVar,
    Unpack,
    cast,
    overload,
)

from msgspec import Struct

from wf.engine.core.batches import BatchCall, BatchHandle, Item
from wf.engine.core.callables import THREAD, as_function
from wf.engine.core.callers import Trigger
from wf.engine.core.children import ChildCall, QueuedStepCall
from wf.engine.core.durations import Duration, milliseconds
from wf.engine.core.handles import RunHandle
from wf.engine.core.hooks import NO_HOOKS, Hookable, HookOptions, Hooks, hooks_of
from wf.engine.core.names import check_name
from wf.engine.core.operation import Gen, Operation
from wf.engine.core.queues import Queue, queue_name
from wf.engine.core.retry import DEFAULT_STEP_RETRY, NO_RETRY, Retry
from wf.engine.core.steps import StepCall, settle_step
from wf.engine.core.triggers import BatchOptions, TriggerOptions, trigger_options
from wf.engine.core.values import Signature
from wf.history.errors import DeclarationError, RunError
from wf.history.queues import Limits

if TYPE_CHECKING:
    from wf.engine.core.schedules import Declared

P = ParamSpec("P")
T = TypeVar("T")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
In = TypeVar("In")
In_contra = TypeVar("In_contra", contravariant=True)


PROCESS: Final = "process"
"""In a process that it has for itself."""


class StepOptions(HookOptions, total=False):
    """What `@wf.step(…)` takes."""

    id: str
    retry: Retry
    timeout: Duration
    executor: str
    at_most_once: bool
    tags: Iterable[str]
    ttl: Duration
    max_duration: Duration
    queue: str | Queue


class TaskOptions(HookOptions, total=False):
    """What `@wf.task(…)` takes."""

    id: str
    retry: Retry
    tags: Iterable[str]
    ttl: Duration
    max_duration: Duration
    queue: str | Queue


class Settings(Struct, frozen=True):
    """The options of a runnable, checked; durations in ms (0: none)."""

    retry: Retry
    retry_is_default: bool = False
    """A step that names no policy: its project may."""
    timeout_ms: int = 0
    executor: str = THREAD
    at_most_once: bool = False
    tags: tuple[str, ...] = ()
    ttl_ms: int = 0
    max_duration_ms: int = 0
    queue: str | None = None
    limits: Limits | None = None
    """What the decorator says of that queue; None: only its name."""


class _Zero(Protocol[R_co]):
    def __call__(self) -> Operation[R_co]: ...


class _One(Protocol[In_contra, R_co]):
    def __call__(self, payload: In_contra, /) -> Operation[R_co]: ...


class Runnable(Hookable[R], Generic[P, R]):
    """A step or a task. `.id`: its name in kebab-case unless given; `.fn`: the plain function."""

    def __init__(
        self,
        fn: Callable[..., Any],
        kind: str,
        id: str,
        settings: Settings,
        hooks: Hooks = NO_HOOKS,
    ) -> None:
        self.fn = fn
        self.kind = kind
        """"step" or "task"."""
        self.id = id
        self.settings = settings
        self._is_inline = kind == "step" and settings.queue is None
        self.hooks = hooks
        self.is_async = inspect.iscoroutinefunction(fn)
        self.signature = Signature(fn, id)
        self.schedules: tuple[Declared, ...] = ()
        self.settle_step = MethodType(settle_step, self)
        self.__wrapped__ = fn
        self.__name__ = fn.__name__
        self.__qualname__ = fn.__qualname__
        self.__module__ = fn.__module__
        self.__doc__ = fn.__doc__
        self.__annotations__ = fn.__annotations__
        self.__defaults__ = fn.__defaults__
        self.__kwdefaults__ = fn.__kwdefaults__
        flags = (fn.__code__.co_flags | inspect.CO_COROUTINE) & ~(
            inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR
        )
        self.__code__ = fn.__code__.replace(co_flags=flags)
        if hasattr(inspect, "markcoroutinefunction"):
            inspect.markcoroutinefunction(self)  # pyright: ignore[reportUnknownMemberType, reportAttributeAccessIssue]

    def __repr__(self) -> str:
        return f"<wf.{self.kind} {self.id}>"

    @property
    def location(self) -> str:
        """Where the function stands: "file.py:12"; of a builtin, its name."""
        fn = inspect.unwrap(self.fn)
        code = getattr(fn, "__code__", None)
        if code is None:
            return f"{fn.__module__}.{fn.__qualname__}"
        return f"{code.co_filename}:{code.co_firstlineno}"

    @cached_property
    def body(self) -> Callable[..., Coroutine[Any, Any, Any]]:
        """What a run of it executes: a task's function; for a step, a body with that one step in
        it."""
        if self.kind == "step":
            return self._call_step
        return drive(self.fn) if inspect.isgeneratorfunction(self.fn) else self.fn

    async def _call_step(self, *args: Any, **kwargs: Any) -> Any:
        return await StepCall(self, args, kwargs, depth=1)

    # -- in a body

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Operation[R]:
        """Run the step, or start the task as a child and wait for it. A step with a queue goes
        through that, as a child."""
        if self._is_inline:
            return StepCall(self, args, kwargs)
        if self.kind == "step":
            encode = partial(self.signature.encode_call, args, kwargs)
            return QueuedStepCall(self, encode, {}, awaited=True, depth=3)
        return self._child(partial(self.signature.encode_call, args, kwargs), {}, awaited=True)

    @overload
    def trigger(self: _Zero[T], /, **options: Unpack[TriggerOptions]) -> Trigger[RunHandle[T]]: ...
    @overload
    def trigger(
        self: _One[In, T], payload: In, /, **options: Unpack[TriggerOptions]
    ) -> Trigger[RunHandle[T]]: ...
    def trigger(self, payload: Any = None, /, **options: Any) -> Any:
        """Start a run and go on. In a body, and in a step, it is a child of this run; in a step
        the plain call starts it, once, however often the step is tried: `.id`, `.handle`."""
        return self._child(
            partial(self.signature.encode_payload, payload), trigger_options(options), awaited=False
        )

    @overload
    def trigger_and_wait(self: _Zero[T], /, **options: Unpack[TriggerOptions]) -> Operation[T]: ...
    @overload
    def trigger_and_wait(
        self: _One[In, T], payload: In, /, **options: Unpack[TriggerOptions]
    ) -> Operation[T]: ...
    def trigger_and_wait(self, payload: Any = None, /, **options: Any) -> Any:
        """Start a run and wait for its output.

        Raises RunFailed, RunCanceled, RunExpired, RunTimedOut.
        """
        return self._child(
            partial(self.signature.encode_payload, payload), trigger_options(options), awaited=True
        )

    @overload
    def batch_trigger(
        self: _Zero[T], items: Iterable[Item[None] | None], /, **options: Unpack[BatchOptions]
    ) -> Trigger[BatchHandle[T]]: ...
    @overload
    def batch_trigger(
        self: _One[In, T], items: Iterable[In | Item[In]], /, **options: Unpack[BatchOptions]
    ) -> Trigger[BatchHandle[T]]: ...
    def batch_trigger(self, items: Iterable[Any], /, **options: Any) -> Any:
        """Start a run for each item (a payload, or `wf.Item(payload, **options)`), all or none, and
        go on. In a body, and in a step (as `trigger`), they are children of this run.

        Raises PayloadError, naming the item, before any run exists.
        """
        return BatchCall(self, items, options, awaited=False)

    @overload
    def batch_trigger_and_wait(
        self: _Zero[T],
        items: Iterable[Item[None] | None],
        /,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[BatchOptions],
    ) -> Operation[list[T]]: ...
    @overload
    def batch_trigger_and_wait(
        self: _One[In, T],
        items: Iterable[In | Item[In]],
        /,
        *,
        return_exceptions: Literal[False] = False,
        **options: Unpack[BatchOptions],
    ) -> Operation[list[T]]: ...
    @overload
    def batch_trigger_and_wait(
        self: _Zero[T],
        items: Iterable[Item[None] | None],
        /,
        *,
        return_exceptions: bool,
        **options: Unpack[BatchOptions],
    ) -> Operation[list[T | RunError]]: ...
    @overload
    def batch_trigger_and_wait(
        self: _One[In, T],
        items: Iterable[In | Item[In]],
        /,
        *,
        return_exceptions: bool,
        **options: Unpack[BatchOptions],
    ) -> Operation[list[T | RunError]]: ...
    def batch_trigger_and_wait(
        self, items: Iterable[Any], /, *, return_exceptions: bool = False, **options: Any
    ) -> Any:
        """Start a run for each item and wait for their outputs, in the order of the items.

        The first run that does not complete raises its error at once (RunFailed, RunCanceled, …),
        and the others go on, as under `asyncio.gather`; those that have not ended when this run
        does are canceled. With `return_exceptions` errors stand in the list instead.
        """
        return BatchCall(self, items, options, awaited=True, return_exceptions=return_exceptions)

    def options(self, **options: Unpack[TriggerOptions]) -> Configured[P, R]:
        """The same runnable with trigger options set, called with its own parameters:
        `r.options(tags=["a"]).trigger(1, name="x")`."""
        return Configured(self, trigger_options(dict(options)))

    def _child(
        self, encode: Callable[[], bytes], options: dict[str, Any], *, awaited: bool
    ) -> Trigger[Any]:
        return ChildCall(self, encode, options, awaited=awaited, depth=4)


class Configured(Generic[P, R]):
    """A runnable with trigger options. Its calls take the function's own parameters."""

    def __init__(self, runnable: Runnable[P, R], options: dict[str, Any]) -> None:
        self.runnable = runnable
        self._options = options

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> Operation[R]:
        """Start a run and wait for its output."""
        return self._child(args, kwargs, awaited=True)

    def trigger_and_wait(self, *args: P.args, **kwargs: P.kwargs) -> Operation[R]:
        """Start a run and wait for its output."""
        return self._child(args, kwargs, awaited=True)

    def trigger(self, *args: P.args, **kwargs: P.kwargs) -> Trigger[RunHandle[R]]:
        """Start a run and go on."""
        return self._child(args, kwargs, awaited=False)

    call = trigger

    def _child(
        self, args: tuple[Any, ...], kwargs: dict[str, Any], *, awaited: bool
    ) -> Trigger[Any]:
        encode = partial(self.runnable.signature.encode_call, args, kwargs)
        return ChildCall(self.runnable, encode, self._options, awaited=awaited, depth=4)


# --- the decorators -----------------------------------------------------------------------------


@overload
def step(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Runnable[P, R]: ...
@overload
def step(fn: Callable[P, R], /) -> Runnable[P, R]: ...
@overload
def step(
    fn: Callable[P, Coroutine[Any, Any, R]], /, **options: Unpack[StepOptions]
) -> Runnable[P, R]: ...
@overload
def step(fn: Callable[P, R], /, **options: Unpack[StepOptions]) -> Runnable[P, R]: ...
@overload
def step(**options: Unpack[StepOptions]) -> StepDecorator: ...
def step(fn: Any = None, /, **options: Any) -> Any:
    """A function that touches the world. It runs for real, once for its place in a run; its result
    is recorded.

    `def` runs in a thread, `async def` on the worker's shared loop. `wf.step(fn, id="…")` wraps
    what is there already: a function of a library, a partial, a bound method, a builtin. Options:
    id, retry, timeout (per attempt), executor ("process", or a name that the engine knows),
    at_most_once, tags, ttl, queue.
    Raises DeclarationError for a function that cannot be one.
    """
    if fn is None:
        return partial(_declare, kind="step", given=options)
    return _declare(fn, "step", options)


@overload
def task(fn: Callable[P, Generator[Operation[Any], Any, R]], /) -> Runnable[P, R]: ...
@overload
def task(fn: Callable[P, Coroutine[Any, Any, R]], /) -> Runnable[P, R]: ...
@overload
def task(**options: Unpack[TaskOptions]) -> TaskDecorator: ...
def task(fn: Any = None, /, **options: Any) -> Any:
    """A durable function: `async def`, or a generator that returns `wf.Gen[T]`.

    Its body is replayed from the history, so it only orchestrates: steps, waits, tokens, other
    tasks, and plain Python in between. Options: id, retry, tags, ttl, queue. Raises
    DeclarationError for a function that cannot be one.
    """
    if fn is None:
        return partial(_declare, kind="task", given=options)
    return _declare(fn, "task", options)


class StepDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Runnable[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, R], /) -> Runnable[P, R]: ...


class TaskDecorator(Protocol):
    @overload
    def __call__(self, fn: Callable[P, Generator[Operation[Any], Any, R]], /) -> Runnable[P, R]: ...
    @overload
    def __call__(self, fn: Callable[P, Coroutine[Any, Any, R]], /) -> Runnable[P, R]: ...


ID_PATTERN: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,127}")
"""Ids go into URLs, file names and command lines."""


def _declare(fn: Any, kind: str, given: dict[str, Any]) -> Runnable[..., Any]:
    if isinstance(fn, Runnable):
        fn = cast("Runnable[..., Any]", fn).fn
    name = getattr(fn, "__name__", repr(fn))
    if not inspect.isfunction(fn):
        fn = as_function(fn, name, kind, given)
    parameters = list(inspect.signature(fn).parameters)
    if parameters and parameters[0] in ("self", "cls"):
        raise DeclarationError(
            f"{name} is a method: a run has no object to call it on; write a function, "
            f"`@wf.{kind}` and `async def {name}(payload: …)`, at the top of a module"
        )
    if kind == "task" and inspect.isasyncgenfunction(fn):
        raise DeclarationError(
            f"{name} is an async generator: a task returns one result; write `async def` without "
            "yield, or a generator that returns `wf.Gen[…]`"
        )
    if kind == "task" and not (inspect.iscoroutinefunction(fn) or inspect.isgeneratorfunction(fn)):
        raise DeclarationError(
            f"{name} is a plain def: a task waits, so write `async def {name}(…)`, "
            "or `@wf.step` if it only works"
        )
    if kind == "step" and (inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn)):
        raise DeclarationError(
            f"{name} is a generator: a step returns one result; "
            "write `@wf.task` if it orchestrates, or return a list"
        )
    id = given.get("id") or fn.__name__.strip("_").replace("_", "-")
    if not ID_PATTERN.fullmatch(id):
        raise DeclarationError(
            f"id={id!r}: use letters, digits and . _ / - (at most 128), "
            "starting with one of the first two"
        )
    settings = _settings(kind, name, id, given)
    if settings.executor != THREAD:
        _check_importable(fn, settings.executor)
    return Runnable(fn, kind, id, settings, hooks_of(given, f"@wf.{kind} {name}"))


def _settings(kind: str, name: str, id: str, given: dict[str, Any]) -> Settings:
    options = StepOptions if kind == "step" else TaskOptions
    allowed = options.__required_keys__ | options.__optional_keys__
    for option in given:
        if option not in allowed:
            raise DeclarationError(
                f"@wf.{kind} {name}: there is no option {option!r}; "
                f"there are {', '.join(sorted(allowed))}"
            )
    at_most_once = bool(given.get("at_most_once", False))
    retry = given.get("retry")
    if retry is not None and not isinstance(retry, Retry):
        raise DeclarationError(f"@wf.{kind} {name}: retry={retry!r}: give wf.Retry(max_attempts=…)")
    if at_most_once and retry is not None and retry.max_attempts > 1:
        raise DeclarationError(
            f"@wf.step {name}: at_most_once and a retry exclude each other; "
            "take retry= away, or at_most_once="
        )
    queue = given.get("queue")
    default = NO_RETRY if kind == "task" or at_most_once else DEFAULT_STEP_RETRY
    return Settings(
        retry=retry or default,
        retry_is_default=retry is None and default is DEFAULT_STEP_RETRY,
        timeout_ms=milliseconds(given["timeout"], "timeout")
        if given.get("timeout") is not None
        else 0,
        executor=check_name(given.get("executor", THREAD), "executor"),
        at_most_once=at_most_once,
        tags=tuple(given.get("tags", ())),
        ttl_ms=milliseconds(given["ttl"], "ttl") if given.get("ttl") is not None else 0,
        max_duration_ms=milliseconds(given["max_duration"], "max_duration")
        if given.get("max_duration") is not None
        else 0,
        queue=queue_name(queue, id),
        limits=queue.limits if isinstance(queue, Queue) else None,
    )


def _check_importable(fn: Any, executor: str) -> None:
    """Another process finds a function by its module and name. Raises DeclarationError."""
    if "<" in fn.__qualname__:
        raise DeclarationError(
            f"{fn.__qualname__} is defined in a function, where executor={executor!r} cannot find "
            "it: define it at the top of a module"
        )
    main = sys.modules.get("__main__")
    if executor == PROCESS and fn.__module__ == "__main__" and not hasattr(main, "__file__"):
        raise DeclarationError(
            f"{fn.__qualname__} stands in no file, where executor='process' cannot find it: "
            "write it into a module, and import that here"
        )


def drive(
    fn: Callable[..., Generator[Operation[Any], Any, Any]],
) -> Callable[..., Coroutine[Any, Any, Any]]:
    """A generator task as a coroutine: awaits what it yields, sends back what came of it."""

    async def body(*args: Any, **kwargs: Any) -> Any:
        generator = fn(*args, **kwargs)
        try:
            operation = next(generator)
            while True:
                try:
                    value = await operation
                except BaseException as error:
                    operation = generator.throw(error)
                else:
                    operation = generator.send(value)
        except StopIteration as end:
            return end.value
        finally:
            generator.close()

    return body


__all__ = ["Configured", "Gen", "Runnable", "Settings", "step", "task"]
