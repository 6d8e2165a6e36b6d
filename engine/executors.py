"""Steps that say where they run: `executor="process"`, or the name of an executor that the engine
was given (any `concurrent.futures.Executor`: Dask's, Ray's, a pool of one's own)."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import CancelledError, Executor, Future
from functools import partial
from typing import TYPE_CHECKING

from wf.engine.attempts import StepOutcome
from wf.engine.away import Reply, call_of, perform
from wf.engine.core.runnable import PROCESS, THREAD
from wf.engine.registry import Registry
from wf.engine.steps import Deliver, StepOrder, canceled
from wf.history.errors import UnknownExecutor

if TYPE_CHECKING:
    from wf.engine.processes import Processes


class Executors:
    """`named` stay their owner's: they are never shut down here. `kill_after`: of Processes."""

    def __init__(self, named: Mapping[str, Executor], deliver: Deliver, kill_after: float) -> None:
        self._named = named
        self._deliver = deliver
        self._kill_after = kill_after
        self._processes: Processes | None = None

    def start(self, order: StepOrder) -> None:
        if order.runnable.settings.executor == PROCESS:
            self._own_processes().start(order)
        else:
            self._submit(order)

    def stop(self) -> None:
        if self._processes is not None:
            self._processes.stop()

    def _own_processes(self) -> Processes:
        if self._processes is None:
            from wf.engine.processes import Processes

            self._processes = Processes(self._deliver, self._kill_after)
        return self._processes

    def _submit(self, order: StepOrder) -> None:
        name = order.runnable.settings.executor
        try:
            if name not in self._named:
                raise UnknownExecutor(_unknown(order.runnable.id, name, self._named))
            future = self._named[name].submit(perform, call_of(order, order.timeout_ms))
        except Exception as error:
            self._deliver(order, StepOutcome(order.ordinal, None, error, 0))
            return
        order.stop = future.cancel
        if order.info.is_canceled:
            future.cancel()
        future.add_done_callback(partial(self._done, order))

    def _done(self, order: StepOrder, future: Future[Reply]) -> None:
        """What the executor itself raises (its workers are gone, say) is a failed attempt."""
        try:
            outcome = future.result().outcome(order.ordinal)
        except CancelledError:
            outcome = canceled(order)
        except BaseException as error:
            outcome = StepOutcome(order.ordinal, None, error, 0)
        self._deliver(order, outcome)


def check_executors(registry: Registry, named: Mapping[str, Executor]) -> None:
    """Raises UnknownExecutor where a step names one that is not there."""
    for runnable in registry:
        name = runnable.settings.executor
        if name not in (THREAD, PROCESS) and name not in named:
            raise UnknownExecutor(_unknown(runnable.id, name, named))


def _unknown(step: str, name: str, named: Mapping[str, Executor]) -> str:
    there = ", ".join((THREAD, PROCESS, *sorted(named)))
    return (
        f"the step {step} wants the executor {name!r}, and there are {there}: "
        f"give it, wf.Engine(executors={{{name!r}: …}})"
    )
