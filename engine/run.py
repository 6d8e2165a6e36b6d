"""One run, executed here to its end: what `wf.run` and `wf run` are made of.

A Session is an engine on a store that executes its own run and the runs that it starts, nothing
else in the store. With `skip_waits` time jumps to the next moment at which something is due,
whenever nothing is under way.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from concurrent.futures import Executor
from typing import Any

from wf.engine.clock import SkippingClock
from wf.engine.config import load_config
from wf.engine.core.runs import new_run
from wf.engine.host import STOP_SECONDS, Host
from wf.engine.observer import Observer
from wf.engine.registry import Registry
from wf.engine.worker import Worker, WorkerSettings
from wf.history.errors import AlreadyEnded, NotFound, StoreUnavailable
from wf.history.events import Status
from wf.history.hooks import is_of_hooks
from wf.history.ids import new_id, show
from wf.history.limits import MAX_LIST
from wf.history.model import Run, RunFilter
from wf.history.store import Store


class Session:
    """`begin` or `resume` a run, then `wait` for its end; `stop` at any time leaves a run that can
    be resumed."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        *,
        environment: str = "dev",
        paranoid: bool = True,
        skip_waits: bool = False,
        observer: Observer | None = None,
        executors: Mapping[str, Executor] | None = None,
    ) -> None:
        self.store = store
        self.registry = registry
        self.environment = environment
        self.clock = SkippingClock()
        self.clock.sync(store.now())
        self.run_id = b""
        self._root = b""
        self._paranoid = paranoid
        self._skips = skip_waits
        self._observer = observer
        self._executors = executors
        self._host: Host | None = None
        self._changed = threading.Event()

    def begin(self, task: str, payload: bytes, options: dict[str, Any] | None = None) -> str:
        """Make the run and start working on it; answers its id."""
        self.make(task, payload, options)
        self.start()
        return show("run", self.run_id)

    def resume(self, run_id: bytes) -> Run:
        """Go on with a run. Raises NotFound, AlreadyEnded."""
        run = self.find(run_id)
        self.start()
        return run

    def make(self, task: str, payload: bytes, options: dict[str, Any] | None = None) -> None:
        """Make the run; `start` begins to work on it."""
        now = self.clock.now()
        run = new_run(
            new_id(now), task, payload, options or {}, environment=self.environment, now=now
        )
        [(self.run_id, _)] = self.store.trigger([run])
        self._root = self.run_id

    def find(self, run_id: bytes) -> Run:
        """A run that is there; `start` goes on with it. Raises NotFound, AlreadyEnded."""
        run = self.store.get_runs([run_id]).get(run_id)
        if run is None or run.environment != self.environment:
            raise NotFound(
                f"there is no run {show('run', run_id)} in environment {self.environment!r}: "
                "`wf runs list` shows those that are there"
            )
        if run.status.ended:
            raise AlreadyEnded(f"{show('run', run_id)} has ended: {run.status}")
        self.registry.get(run.task)
        self.run_id, self._root = run_id, run.root_id or run_id
        return run

    def look(self) -> Run:
        """The run as it is now."""
        return self.store.get_runs([self.run_id])[self.run_id]

    def wait(self, seconds: float | None = None) -> Run | None:
        """The run, when it has ended and its hooks were told, or is parked; None after so many
        seconds. Raises what ended the worker."""
        host = self._host
        assert host is not None
        unlisten = self.store.listen(self._changed.set)
        try:
            while True:
                self._changed.clear()
                run = self.look()
                if run.blocked is not None or (run.status.ended and not self._tells_hooks()):
                    return run
                self.check()
                if seconds is not None:
                    if not self._changed.wait(seconds):
                        return None
                    seconds = 0.0
                else:
                    self._changed.wait(1.0)
        finally:
            unlisten()

    def _tells_hooks(self) -> bool:
        """Of the run and what it started, hooks are still to be told something."""
        if not self.registry.has_hooks:
            return False
        live = [status for status in Status if not status.ended]
        wanted = RunFilter(self.environment, status=live, root_id=self._root, limit=MAX_LIST)
        hooks = [
            run
            for run in self.store.list_runs(wanted)
            if is_of_hooks(run.task) and run.task in self.registry
        ]
        return bool(hooks) and all(run.blocked is None for run in hooks)

    @property
    def trouble(self) -> StoreUnavailable | None:
        """Why nothing goes on at the moment: the database is out of reach."""
        return self._host.trouble if self._host is not None else None

    def check(self) -> None:
        """Raises what ended the worker, if something did."""
        if self._host is not None and self._host.failure is not None:
            raise self._host.failure

    def request_stop(self, seconds: float) -> None:
        """`stop` without waiting (signal handlers); also makes one under way quicker."""
        if self._host is not None:
            self._host.request_stop(seconds)

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        if self._host is not None:
            self._host.stop(seconds)

    @property
    def steps_in_flight(self) -> int:
        return self._host.worker.steps_in_flight if self._host is not None else 0

    def join(self, seconds: float) -> bool:
        """Wait for the worker's end after `request_stop`. False: it is still at work."""
        return self._host is None or self._host.join(seconds)

    def start(self, observer: Observer | None = None) -> None:
        """Work on the run that was made or found. Raises InitFailed."""
        config = load_config()
        self.registry = self.registry.with_hooks(config.hooks).with_middleware(config.middleware)
        settings = WorkerSettings(
            environment=self.environment,
            paranoid=self._paranoid,
            root=self._root,
            executors=self._executors if self._executors is not None else config.executors,
            policies=config.policies(self.environment),
            middleware=config.middleware,
        )
        host = Host(
            self.store,
            self.registry,
            settings,
            clock=self.clock,
            observer=observer or self._observer,
            idle=self._skip if self._skips else None,
        )
        host.start()
        self._host = host

    def _skip(self, worker: Worker) -> None:
        """Nothing to do now: jump to when something is due. Called in the worker's thread."""
        if worker.steps_in_flight:
            return
        due = self.store.next_due(self.environment, worker.settings.root)
        if due is not None and due > self.clock.now():
            self.clock.skip_to(due)
            worker.hint()
