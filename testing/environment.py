"""`wf.testing.Env`: an engine for one test. Time is virtual and moves only when everything is idle.

The store, the worker and the code of bodies and steps are the real ones; they run in the thread of
the test, one after the other, so that a test comes to the same every time.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime
from types import ModuleType
from typing import Any, Final, Self, TypeVar, Unpack, overload
from uuid import uuid4

from wf.client.asking import plain
from wf.client.client import Client
from wf.client.views import TokenView
from wf.engine.author import test_clocks
from wf.engine.config import Config
from wf.engine.core.durations import Duration, from_ms, milliseconds, show_duration, to_ms
from wf.engine.core.runnable import Runnable
from wf.engine.core.triggers import TriggerOptions
from wf.engine.engine import known_beside
from wf.engine.registry import AnyRunnable, Registry, check_runnable
from wf.engine.scheduler import Scheduler
from wf.engine.steps import StepOrder
from wf.history import connections
from wf.history.ids import show
from wf.history.limits import MAX_LIST
from wf.history.model import Run as StoredRun
from wf.history.model import RunFilter, WorkerInfo
from wf.history.open import open_store
from wf.history.store import Store
from wf.testing.asked import Answers, ToMessage, ToToken, fits, waiting_tokens
from wf.testing.clock import BEGINNING, VirtualClock
from wf.testing.cuts import CrashingStore, StepCuts
from wf.testing.door import Door
from wf.testing.memory import MemoryDatabase
from wf.testing.outside_loop import outside_loop
from wf.testing.run import Run
from wf.testing.stand_ins import Call, StandIns, id_of, raising, returning, stand_in_of
from wf.testing.story import story_of
from wf.testing.watched import WatchedStore
from wf.testing.world import World, straight

T = TypeVar("T")
In = TypeVar("In")

FOREVER_MS: Final = 10**15
"""Of a lease and a poll: nothing but what the test does may wake a worker."""
LONG_MS: Final = 4_000_000_000
"""Postgres keeps the half of it in 31 bits."""
FAR_MS: Final = 100 * 365 * 86_400_000
"""What is due later than that is not waited for."""
MOST_EVENTS: Final = 10_000
"""Moments at which something was due: a run that has seen as many does not end."""
DEFAULT_TIMEOUT: Final[Duration] = 10 * 365 * 86_400
"""Of virtual time, in seconds: a run may wait for years in a test."""
IO_SECONDS: Final = 5.0
"""Real time for sockets of async steps, before virtual time goes on without them."""

_GIVEN: Final = object()


class Env:
    """`with wf.testing.Env() as env:`, or the pytest fixture `wf_env`.

    tasks: runnables and modules that the env knows besides the modules of what it is given to run.
    database: a URL or path; default: in memory. In a database that is named, each env has a wf
    environment of its own. crash: lose the process at every step, before its result is written
    and after it. paranoid: check every body by a second one that runs beside it. config: whose
    hooks, policies and middleware hold (default: none). now: when the test begins. schedules: fire
    those of the tasks, as time moves.
    """

    def __init__(
        self,
        tasks: Iterable[AnyRunnable | ModuleType] = (),
        *,
        database: str | None = None,
        crash: bool = False,
        paranoid: bool = True,
        config: Config | None = None,
        now: datetime | None = None,
        schedules: bool = False,
    ) -> None:
        self.crash = crash
        self._paranoid = paranoid
        self._tasks = list(tasks)
        self._database = database or ""
        if database:
            open_store(database).close()
        self._config = config or Config()
        self._begin = to_ms(now) if now is not None else BEGINNING
        self._has_schedules = schedules
        self._world: World | None = None
        self._memory: MemoryDatabase | None = None
        self._open(straight)

    def _open(self, door: Door) -> None:
        self.environment = f"test-{uuid4().hex[:12]}" if self._database else "dev"
        self.clock = VirtualClock(self._begin)
        self.registry = Registry(self._tasks)
        self.stand_ins = StandIns()
        self._answers = Answers()
        self._scheduler: Scheduler | None = None
        self._is_known = False
        cuts = StepCuts()

        def watch(store: Any, door: Door) -> WatchedStore:
            return CrashingStore(cuts, store, door) if self.crash else WatchedStore(store, door)

        self._world = World(
            self._database,
            self.registry,
            door,
            self.environment,
            self.clock,
            outside=lambda world: self._act(),
            watch=watch,
            before_step=self._before_step,
            middleware=self._config.middleware,
            settings={
                "python": ".".join(map(str, sys.version_info[:2])),
                "paranoid": self._paranoid,
                "poll_ms": FOREVER_MS,
                "lease_ms": LONG_MS if self._database.startswith("postgres") else FOREVER_MS,
                "back_offs_ms": (0,),
                "policies": self._config.policies("dev"),
            },
            at_once=True,
            memory=self._memory,
        )
        self._memory = self._world.memory
        store = WatchedStore(self._world.store, straight)
        store.clock = self.clock.now
        self.store: Store = store
        self.client = Client(store=store, environment=self.environment)

    # -- its life

    def __enter__(self) -> Self:
        connections.push_process_wide(self)
        test_clocks.append(self.clock.now)
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        connections.pop_process_wide(self)
        self._shut()

    def _shut(self) -> None:
        if self.clock.now in test_clocks:
            test_clocks.remove(self.clock.now)
        if self._world is not None:
            with outside_loop():
                self._world.close()
            self._world = None

    def reset(self, door: Door = straight) -> None:
        """As it was made: no runs, no stand-ins, the first moment. `door`: what stands before the
        worker's store."""
        self._shut()
        if self._memory is not None:
            self._memory.empty()
        self._open(door)
        test_clocks.append(self.clock.now)

    @property
    def world(self) -> World:
        assert self._world is not None, "this env is closed: make a new one"
        return self._world

    # -- what runs, and in whose place

    def add(self, *tasks: AnyRunnable | ModuleType) -> None:
        """Let it know further tasks."""
        for one in tasks:
            if isinstance(one, ModuleType):
                self.registry.add_module(one)
            else:
                self.learn(one)
        self._is_known = False

    def learn(self, runnable: AnyRunnable) -> None:
        """With all that stands in its module, and in theirs."""
        if learn(self.registry, runnable):
            self._is_known = False

    @overload
    def replace(self, target: AnyRunnable | str, by: object, /) -> None: ...
    @overload
    def replace(self, target: AnyRunnable | str, /, *, returns: Any) -> None: ...
    @overload
    def replace(
        self, target: AnyRunnable | str, /, *, raises: BaseException | type[BaseException]
    ) -> None: ...
    def replace(
        self,
        target: AnyRunnable | str,
        by: object = _GIVEN,
        /,
        *,
        returns: Any = _GIVEN,
        raises: BaseException | type[BaseException] | None = None,
    ) -> None:
        """Let something stand in for a step, or for a child task, here or by its id. by: a function
        of the same arguments (`async` or not), or a Hypothesis strategy of results."""
        if by is not _GIVEN:
            stand_in = stand_in_of(by)
        elif raises is not None:
            stand_in = raising(raises)
        else:
            stand_in = returning(None if returns is _GIVEN else returns)
        if isinstance(target, Runnable):
            self.learn(target)
        self.stand_ins.add(target, stand_in)
        self._is_known = False

    def attempts(self, step: AnyRunnable | str) -> Sequence[Call]:
        """All that were begun, in order, those that a crash cut short, too."""
        return [call for call in self.stand_ins.calls if call.step == id_of(step)]

    def calls(self, step: AnyRunnable | str) -> Sequence[Call]:
        """The first attempt of each call: what a vendor sees who knows idempotency keys."""
        return list({call.key: call for call in reversed(self.attempts(step))}.values())[::-1]

    # -- running

    @overload
    def start(
        self, task: Runnable[[In], T], payload: In, /, **options: Unpack[TriggerOptions]
    ) -> Run[T]: ...
    @overload
    def start(self, task: Runnable[[], T], /, **options: Unpack[TriggerOptions]) -> Run[T]: ...
    @overload
    def start(
        self, task: Runnable[..., T], payload: Any = None, /, **options: Unpack[TriggerOptions]
    ) -> Run[T]: ...
    def start(self, task: Any, payload: Any = None, /, **options: Any) -> Run[Any]:
        """Trigger a run, and let it go on until it waits; time does not move. Raises
        PayloadError."""
        self.learn(task)
        made = self.client.trigger(task, payload, **options)
        run = Run[Any](self, self.client, made.raw_id, made.task, made.decode, made.is_cached)
        self.settle()
        return run

    @overload
    def run(
        self, task: Runnable[[In], T], payload: In, /, **options: Unpack[TriggerOptions]
    ) -> T: ...
    @overload
    def run(self, task: Runnable[[], T], /, **options: Unpack[TriggerOptions]) -> T: ...
    @overload
    def run(
        self, task: Runnable[..., T], payload: Any = None, /, **options: Unpack[TriggerOptions]
    ) -> T: ...
    def run(self, task: Any, payload: Any = None, /, **options: Any) -> Any:
        """Run a task to its end and answer its output. Time jumps over what is waited for. Raises
        as `Run.result`."""
        return self.start(task, payload, **options).result()

    @property
    def runs(self) -> Sequence[Run[Any]]:
        """All of them, children too, oldest first; their results are plain JSON."""
        found = self.store.list_runs(RunFilter(self.environment, limit=MAX_LIST))
        return [
            Run(self, self.client, one.id, one.task, plain, is_cached=False)
            for one in reversed(found)
        ]

    def now(self) -> datetime:
        """Virtual time."""
        return from_ms(self.clock.now())

    def settle(self) -> None:
        """Do all that can be done at this moment."""
        with outside_loop():
            self.know()
            while True:
                for process in self.world.processes:
                    process.worker.hint()
                self.world.settle()
                if not any(one.runner.wait_io(IO_SECONDS) for one in self.world.processes):
                    return

    def advance(
        self,
        duration: Duration | None = None,
        *,
        weeks: float = 0,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let time pass, from one event to the next."""
        whole = ((weeks * 7 + days) * 24 + hours) * 3600 + minutes * 60 + seconds
        until = self.clock.now() + round(whole * 1_000)
        until += milliseconds(duration) if duration is not None else 0
        self._pass(until, lambda: False)
        self.clock.advance_to(until)
        self.settle()

    def drive(self, run_id: bytes, timeout: Duration | None = None) -> StoredRun:
        """Let time pass until a run has ended. Raises AssertionError where it does not."""
        limit = milliseconds(timeout if timeout is not None else DEFAULT_TIMEOUT)
        until = self.clock.now() + limit

        def is_over() -> bool:
            run = self.store.get_runs([run_id])[run_id]
            return run.status.ended or run.blocked is not None

        self._pass(until, is_over)
        run = self.store.get_runs([run_id])[run_id]
        if not run.status.ended:
            raise AssertionError(self._why(run, limit))
        return run

    def _pass(self, until: int, is_over: Callable[[], bool]) -> None:
        for _ in range(MOST_EVENTS):
            self.settle()
            if is_over():
                return
            at = self.next_at()
            if at is None or at > until:
                return
            self.clock.advance_to(at)
        raise AssertionError(f"there is no end of what happens: {MOST_EVENTS:,} moments have come")

    def next_at(self) -> int | None:
        """When something is due (ms)."""
        times = [self.world.next_at() or 0, *(at for at, _ in self._answers.due(self.client))]
        if self._scheduler is not None:
            tasks = self.world.registry.ids
            times.append(self.store.next_schedule_at(self.environment, tasks) or 0)
        now = self.clock.now()
        return min((at for at in times if now < at < now + FAR_MS), default=None)

    # -- people

    @property
    def tokens(self) -> Sequence[TokenView]:
        """Those that wait for an answer, oldest first."""
        return waiting_tokens(self.client)

    def answer(self, data: Any = None, *, tag: str = "", run: str = "") -> None:
        """Complete the one token that waits (and has that tag, and is that run's). Raises
        AssertionError where there is none, or more than one; PayloadError."""
        found = [one for one in self.tokens if fits(one, tag) and run in ("", one.run)]
        if len(found) != 1:
            known = "; ".join(f"{one.id} {list(one.tags)}" for one in self.tokens) or "none"
            raise AssertionError(
                f"{len(found)} tokens wait{f' with tag {tag!r}' if tag else ''}, not one "
                f"(waiting: {known}): name its tag, or let time pass first"
            )
        self.client.tokens.complete(found[0].id, data)
        self.settle()

    def on_token(self, answer: Any, *, tag: str = "", after: Duration = 0) -> None:
        """Answer every token (with that tag) so long after it is made. answer: the data, or a
        function of the TokenView."""
        self._answers.tokens.append(ToToken(answer, tag, milliseconds(after)))

    def on_message(self, name: str, data: Any = None, *, after: Duration = 0) -> None:
        """Send that message to every run that waits for it, so long after it begins to."""
        self._answers.messages.append(ToMessage(name, data, milliseconds(after)))

    # -- inside

    def know(self) -> None:
        """Start the worker; or, where there is something new to know, let it join anew."""
        if self._is_known and self.world.processes:
            return
        self._is_known = True
        known = Registry(self.stand_ins.of_task(one) for one in self.registry)
        registry = known.with_hooks(self._config.hooks).with_middleware(self._config.middleware)
        self.world.registry = registry
        if self._has_schedules:
            self._scheduler = Scheduler(self.store, registry, self.environment, self.clock)
        for process in self.world.processes:
            worker = process.worker
            worker.leave()
            worker.registry = registry
            worker.info = WorkerInfo(
                "test", worker.info.pid, registry.ids, "code", registry.hooked_ends
            )
        if not self.world.processes:
            self.world.start()

    def _before_step(self, order: StepOrder) -> None:
        self.stand_ins.take(order, self.clock.now())

    def _act(self) -> bool:
        now = self.clock.now()
        due = [act for at, act in self._answers.due(self.client) if at <= now]
        for act in due:
            act()
        if self._scheduler is not None and self._scheduler.tick():
            due.append(self.settle)
        if due:
            for process in self.world.processes:
                process.worker.hint()
        return bool(due)

    def _why(self, run: StoredRun, limit_ms: int) -> str:
        why = self.client.runs.why(show("run", run.id))
        limit = show_duration(limit_ms)
        head = f"{run.task} has not ended within {limit} of virtual time: it {why.reason}"
        story = story_of(self.client.runs.history(why.run))
        return "\n    ".join([f"{head}. Until then:", *story])


def learn(registry: Registry, runnable: AnyRunnable) -> bool:
    """Add it with all that stands in its module, and in theirs. False: it was known."""
    check_runnable(runnable)
    if runnable.id in registry and registry.get(runnable.id) is runnable:
        return False
    registry.replace(runnable)
    rest = [runnable]
    while rest:
        for one in known_beside(rest.pop()):
            if one.id not in registry:
                registry.add(one)
                rest.append(one)
    return True


__all__ = ["Call", "Env", "Run"]
