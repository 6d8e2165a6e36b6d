"""A step that is run on the stage, at once."""

from __future__ import annotations

import inspect
from typing import Any

from wf.engine.author import StepCallInfo, step_call
from wf.engine.core.decisions import RunStep
from wf.engine.core.info import RunInfo


def run_step(
    run: RunInfo, step: RunStep, attempt: int
) -> tuple[bytes | None, BaseException | None]:
    """Run a step here. An async one may not wait for anything real."""
    step_call.set(StepCallInfo(run, step.step, attempt, step.digest, step.repeat))
    signature = step.runnable.signature
    try:
        args, kwargs = signature.decode_call(step.arguments)
        value = step.runnable.fn(*args, **kwargs)
        if inspect.iscoroutine(value):
            value = _finish(value)
        return signature.encode_result(value), None
    except Exception as error:
        return None, error


def _finish(coroutine: Any) -> Any:
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value
    raise AssertionError("a step on the stage may not wait")
