"""`wf.Engine`: workers in this process. `wf.run`: one run to its end."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping
from concurrent.futures import Executor
from types import ModuleType
from typing import Any, Self, TypeVar

from wf.engine.clock import Clock
from wf.engine.config import Config, load_config
from wf.engine.core.handles import run_error
from wf.engine.core.runnable import Runnable
from wf.engine.host import STOP_SECONDS, Host
from wf.engine.observer import Observer
from wf.engine.registry import Registry, check_runnable
from wf.engine.worker import WorkerSettings
from wf.history import connections, project
from wf.history.errors import InitFailed, NonDeterminism, NotConnected
from wf.history.events import Status
from wf.history.open import open_store, sealed
from wf.history.sealing import Codec, check_codec
from wf.history.store import Store

T = TypeVar("T")


class Engine:
    """Runs tasks in this process: `async with wf.Engine(database=…, tasks=[…]):`, or `await
    start()` and `stop()`.

    database: a URL or path. tasks: runnables, modules. environment: default WF_ENVIRONMENT or
    "dev". paranoid: check every body by a second one (default: no). executors: by the name that
    steps give. codec: seals values in the database; default the config's. config: default that of
    the project here. Raises BadURL, StoreUnavailable,
    StoreNewer, DeclarationError, ConfigError; UnknownExecutor when it starts.
    """

    def __init__(
        self,
        database: str | None = None,
        tasks: Registry | Iterable[Runnable[..., Any] | ModuleType] = (),
        *,
        environment: str | None = None,
        paranoid: bool = False,
        store: Store | None = None,
        clock: Clock | None = None,
        observer: Observer | None = None,
        settings: WorkerSettings | None = None,
        executors: Mapping[str, Executor] | None = None,
        codec: Codec | None = None,
        config: Config | None = None,
    ) -> None:
        database = database or os.environ.get("WF_URL") or project.database()
        registry = tasks if isinstance(tasks, Registry) else Registry(tasks)
        if store is None and not database:
            raise NotConnected(
                "name the database: wf.Engine(database='sqlite:///.wf/wf.db'), or set WF_URL"
            )
        self.environment = environment or connections.environment()
        self.registry = registry
        config = config or load_config()
        self._hooks = config.hooks
        if codec is not None:
            check_codec(codec)
        elif store is None:
            codec = config.codec
        self._owns_store = store is None
        store = store if store is not None else open_store(database or "")
        self.store = store if codec is None else sealed(store, codec)
        self._settings = settings or WorkerSettings(
            environment=self.environment,
            paranoid=paranoid,
            policies=config.policies(self.environment),
            executors=config.executors,
        )
        self._settings.middleware = config.middleware
        if executors is not None:
            self._settings.executors = executors
        self._clock = clock
        self._observer = observer
        self._host: Host | None = None

    async def start(self) -> Engine:
        """Raises InitFailed."""
        await asyncio.to_thread(self.start_now)
        return self

    async def stop(self) -> None:
        """Steps under way may end, at most 10 s; the rest is handed over."""
        await asyncio.to_thread(self.stop_now)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.stop()

    def start_now(self) -> None:
        """`start` for code that is not async. Raises InitFailed."""
        if self._host is None:
            registry = self.registry.with_hooks(self._hooks)
            host = Host(
                self.store,
                registry.with_middleware(self._settings.middleware),
                self._settings,
                clock=self._clock,
                observer=self._observer,
            )
            try:
                host.start()
            except InitFailed:
                self._let_go()
                raise
            self._host = host
            connections.push_process_wide(self)

    @property
    def failure(self) -> BaseException | None:
        """What ended the worker, where it was not `stop`."""
        return self._host.failure if self._host is not None else None

    def request_stop(self, seconds: float = STOP_SECONDS) -> None:
        """`stop_now` without waiting (signal handlers); also makes one under way quicker."""
        if self._host is not None:
            self._host.request_stop(seconds)

    def stop_now(self, seconds: float = STOP_SECONDS) -> None:
        """`stop` for code that is not async."""
        host = self._host
        if host is not None:
            connections.pop_process_wide(self)
            host.stop(seconds)
            self._host = None
            self._let_go()

    def _let_go(self) -> None:
        if self._owns_store:
            self.store.close()


def run(
    task: Runnable[..., T],
    payload: Any = None,
    /,
    *,
    database: str | None = None,
    executors: Mapping[str, Executor] | None = None,
    codec: Codec | None = None,
    **options: Any,
) -> T:
    """Run a task to its end in this process and answer its output; in a script or a notebook.

    database: default WF_URL, else the project's, else `.wf/wf.db` at its root. codec: default the
    project's. Raises RunFailed and its like, PayloadError.
    """
    check_runnable(task)
    from wf.engine.core.triggers import trigger_options
    from wf.engine.run import Session

    registry = Registry([task, *known_beside(task)])
    store = open_store(
        database or os.environ.get("WF_URL") or project.database() or default_database(),
        codec=codec or project.codec(),
    )
    session = Session(store, registry, environment=connections.environment(), executors=executors)
    try:
        session.begin(task.id, task.signature.encode_payload(payload), trigger_options(options))
        ended = session.wait()
        assert ended is not None
    finally:
        session.stop()
        store.close()
    if ended.blocked is not None:
        raise NonDeterminism(ended.blocked.detail)
    if ended.status is not Status.COMPLETED:
        raise run_error(ended.status, ended.failure, ended.id, ended.task)
    return task.signature.decode_result(ended.output)


def known_beside(task: Runnable[..., Any]) -> list[Runnable[..., Any]]:
    """The runnables of the module that defines a task: its children are found there."""
    namespace = task.fn.__globals__
    return [value for value in list(namespace.values()) if isinstance(value, Runnable)]


def default_database() -> str:
    """`.wf/wf.db` at the project's root. The folder is made."""
    folder = project.root() / ".wf"
    folder.mkdir(exist_ok=True)
    return str(folder / "wf.db")
