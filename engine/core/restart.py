"""`wf.restart`: end this history, and go on as a fresh one under the same run id."""

from __future__ import annotations

from asyncio import CancelledError
from typing import Any, NoReturn

from wf.engine.core.decisions import Restart
from wf.engine.core.execution import Execution
from wf.engine.core.info import digest_of
from wf.engine.core.loop import BodyFuture
from wf.engine.core.operation import Operation


class RestartCall(Operation[NoReturn]):
    __slots__ = ("_args", "_kwargs")
    verb = "restart"

    def __init__(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        super().__init__(3)
        self._args = args
        self._kwargs = kwargs

    def issue(self, execution: Execution) -> BodyFuture:
        if execution.cancel_requested or execution.timed_out:
            raise CancelledError("a run that was told to end does not restart")
        payload = execution.runnable.signature.encode_call(self._args, self._kwargs)
        execution.restart(Restart(payload, digest_of(payload)))
        return execution.loop.create_future()


def restart(*args: Any, **kwargs: Any) -> Operation[NoReturn]:
    """Go on with an empty history, and these arguments of the task: what keeps an endless loop
    small.

    The run stays the same one: its id, its tags, who waits for its end, and the messages that it
    has not read. Nothing after this line runs, `finally` blocks get no operation any more, steps
    in flight are stopped, awaited children and open tokens are canceled: finish first what has to
    be finished. A run that was canceled, or is over its max_duration, ends here instead. Raises
    PayloadError.
    """
    return RestartCall(args, kwargs)
