"""What hooks are told, and the task that tells them.

A moment of a run that hooks are told of is a run of its own (`history.hooks`). Its task is made
here: for each hook one step, so that a hook is retried and recorded like all that touches the
world. A hook that fails for good fails the hook run, after the others had their turn, and nothing
else.
"""

from __future__ import annotations

import asyncio
import inspect
import json
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from msgspec.structs import replace

from wf.engine.author import Context, context_of, logger, step_call
from wf.engine.chapters import run_info
from wf.engine.core.handles import RunHandle, run_error
from wf.engine.core.hooks import MOMENTS, Hook, Hooks
from wf.engine.core.retry import DEFAULT_STEP_RETRY, NO_RETRY
from wf.engine.core.runnable import THREAD, Runnable, Settings
from wf.engine.core.values import Signature
from wf.history.errors import NotFound, PayloadError, RunError, StepFailed
from wf.history.events import Status
from wf.history.hooks import task_of_hooks
from wf.history.ids import parse

R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Started:
    """The run's body began. `payload`: what the run was given; `ctx`: the run, as `wf.current()`
    tells it in a body."""

    payload: Any
    ctx: Context


@dataclass(frozen=True, slots=True)
class Waiting:
    """The run has nothing to do until something outside happens: a time, a child, a token, a
    message."""

    payload: Any
    ctx: Context


@dataclass(frozen=True, slots=True)
class Resumed:
    """The run goes on after a wait."""

    payload: Any
    ctx: Context


@dataclass(frozen=True, slots=True)
class Succeeded(Generic[R]):
    """The run completed with this output."""

    payload: Any
    ctx: Context
    output: R


@dataclass(frozen=True, slots=True)
class Failed:
    """The run failed (`error`: RunFailed), timed out (RunTimedOut) or did not start within its ttl
    (RunExpired). `error.type`, `.message` and `.traceback` tell of what its body raised."""

    payload: Any
    ctx: Context
    error: RunError


@dataclass(frozen=True, slots=True)
class Canceled:
    """The run was canceled."""

    payload: Any
    ctx: Context


@dataclass(frozen=True, slots=True)
class Completed(Generic[R]):
    """The run ended, in whatever way: `output` where it is COMPLETED, else `error`."""

    payload: Any
    ctx: Context
    status: Status
    output: R | None = None
    error: RunError | None = None


@dataclass(frozen=True, slots=True)
class Notice:
    """Payload of a hook run. `run`: of which hooks are told. `after`: the hook run of an earlier
    moment, or ""."""

    run: str
    moment: str
    after: str = ""


def hooks_task(of: Runnable[..., Any], hooks: Hooks) -> Runnable[..., Any]:
    """The task of the hook runs of a runnable's runs."""
    calls = {
        moment: [_call(of, name, hook) for name, hook in hooks.of(moment)] for moment in MOMENTS
    }

    async def tell(notice: Notice) -> None:
        if notice.after:
            with suppress(RunError):
                await RunHandle(parse("run", notice.after), of.id, bool).result()
        failed: list[Exception] = []
        for call in calls[notice.moment]:
            try:
                await call(notice.moment)
            except StepFailed as error:
                logger.warning("a hook of %s: %s", of.id, error)
                failed.append(error)
        if len(failed) > 1:
            raise ExceptionGroup(f"{len(failed)} hooks failed", failed)
        if failed:
            raise failed[0]

    return Runnable(tell, "task", task_of_hooks(of.id), Settings(NO_RETRY))


def _call(of: Runnable[..., Any], name: str, hook: Hook) -> Runnable[[str], None]:
    """A hook as a step. Its argument is for people, who read the history."""
    settings = _DEFAULT
    if isinstance(hook, Runnable):
        settings = replace(hook.settings, executor=THREAD, queue=None, limits=None)
        hook = hook.fn
    is_async = inspect.iscoroutinefunction(hook) or inspect.iscoroutinefunction(
        getattr(hook, "__call__", None)  # noqa: B004 - an object whose __call__ is async
    )

    async def call_async(moment: str) -> None:
        told: Any = hook(await asyncio.to_thread(_event, of, name))
        await told

    def call(moment: str) -> None:
        told = hook(_event(of, name))
        if inspect.iscoroutine(told):
            asyncio.run(told)

    called = getattr(hook, "__name__", "")
    id = (called if called.isidentifier() else name).strip("_").replace("_", "-")
    return Runnable(call_async if is_async else call, "step", id, settings)


_DEFAULT: Final = Settings(DEFAULT_STEP_RETRY, retry_is_default=True)


def _event(of: Runnable[..., Any], name: str) -> object:
    """What the hook is told, of the run as it is in the store. Called in its step."""
    call = step_call.get()
    assert call.store is not None
    shown = json.loads(call.run.payload)["run"]
    run_id = parse("run", shown)
    run = call.store.get_runs([run_id]).get(run_id)
    if run is None:
        raise NotFound(f"the run {shown} was removed before its hooks were told of it")
    tags = (*run.tags, *run.added_tags)
    ctx = context_of(run_info(run), tags, False, run.status is Status.CANCELED, None)
    payload = _payload_of(of.signature, run.restarted_with or run.payload)
    output = error = None
    if run.status is Status.COMPLETED:
        output = of.signature.decode_result(run.output)
    elif run.status.ended:
        error = run_error(run.status, run.failure, run.id, run.task)
    match name:
        case "on_success":
            return Succeeded(payload, ctx, output)
        case "on_failure":
            assert error is not None
            return Failed(payload, ctx, error)
        case "on_complete":
            return Completed(payload, ctx, run.status, output, error)
        case _:
            return _PLAIN[name](payload, ctx)


_PLAIN: Final = {
    "on_start": Started,
    "on_wait": Waiting,
    "on_resume": Resumed,
    "on_cancel": Canceled,
}


def _payload_of(signature: Signature, data: bytes) -> Any:
    """As `trigger` was given it: bare, an object of several parameters, or None. One that does not
    fit (a run may have failed for that) is told as plain JSON."""
    try:
        args, kwargs = signature.decode_call(data)
    except PayloadError:
        return json.loads(data)
    given = dict(zip(signature.names, args, strict=False)) | kwargs
    match signature.form:
        case "none":
            return None
        case "bare":
            return given.get(signature.bare.name, signature.bare.default)
        case "object":
            return given
