"""One database, virtual time, and processes that can be lost: what tests with a script need."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from wf.engine.core.runnable import Runnable
from wf.engine.core.runs import new_run
from wf.engine.middleware import Middleware
from wf.engine.notebook import Notebook
from wf.engine.registry import Registry
from wf.engine.settings import WorkerSettings
from wf.engine.steps import StepOrder
from wf.engine.worker import Worker
from wf.history.errors import StoreUnavailable
from wf.history.events import Event, Kind
from wf.history.ids import derived_id
from wf.history.model import Run, WorkerInfo
from wf.history.open import sealed
from wf.history.postgres import PostgresStore
from wf.history.sealing import Codec
from wf.history.sqlite import SQLiteStore
from wf.history.store import Store
from wf.testing.clock import VirtualClock
from wf.testing.ledger import MemoryLedger
from wf.testing.memory import MemoryDatabase
from wf.testing.runner import VirtualRunner
from wf.testing.watched import Cut, Door, WatchedStore

T = TypeVar("T")

ENVIRONMENT: Final = "dev"
ROUNDS: Final = 3_000
"""Rounds after which a run that should have ended is stuck."""


def straight(name: str, call: Callable[[], T]) -> T:
    """The door where nothing happens."""
    return call()


@dataclass(slots=True)
class Process:
    store: WatchedStore
    worker: Worker
    runner: VirtualRunner
    is_asleep: bool = False
    """It does nothing until it is woken; its steps go on."""


@dataclass
class World:
    """`url`: of an empty database, or one in which nobody else has `environment`; "": in memory.
    Time is virtual on both stores, but for Postgres' own beats."""

    url: str
    registry: Registry
    door: Door = straight
    """What stands before each process' store."""
    environment: str = ENVIRONMENT
    clock: VirtualClock = field(default_factory=VirtualClock)
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    outside: Callable[[World], object] = lambda world: None
    """What people do meanwhile: called in every round. True: they did something."""
    appointments: Callable[[World], list[int]] = lambda world: []
    """When people mean to do something, so that time stops there."""
    processes: list[Process] = field(default_factory=list[Process])
    seed: int = 1
    watch: Callable[[Store, Door], WatchedStore] = WatchedStore
    """How a process sees its store."""
    before_step: Callable[[StepOrder], object] | None = None
    """Called with each attempt of a step as it begins."""
    middleware: Sequence[Middleware] = ()
    settings: dict[str, Any] = field(default_factory=dict[str, Any])
    """Of every process."""
    at_once: bool = False
    """A lost process is known to be lost, so that no lease has to pass."""
    memory: MemoryDatabase | None = None
    codec: Codec | None = None
    """Seals what stands in the database."""

    def __post_init__(self) -> None:
        if not self.url:
            self.memory = self.memory or MemoryDatabase()
        self.store = self.open()
        self.client = WatchedStore(self.store, self.door)
        """The store as clients see it, who may be lost, too."""
        self.client.clock = self.clock.now
        if self.is_postgres:
            self.clock.advance_to(self.store.now())

    @property
    def is_postgres(self) -> bool:
        return self.url.startswith("postgres")

    def open(self) -> Store:
        store = self._open()
        return sealed(store, self.codec) if self.codec is not None else store

    def _open(self) -> Store:
        if self.is_postgres:
            return PostgresStore(self.url)
        path = Path(self.url.removeprefix("sqlite:///") or ":memory:")
        random = Random(self.seed)
        return SQLiteStore(path, clock=self.clock.now, random=random, database=self.memory)

    def close(self) -> None:
        for process in list(self.processes):
            self.lose(process)
        self.store.close()

    # -- processes

    def start(self, **settings: Any) -> Process:
        """A new process: its own connection, nothing remembered."""
        self.seed += 1
        store = self.watch(self.open(), self.door)
        store.clock = self.clock.now
        random = Random(self.seed)
        given: dict[str, Any] = {"python": "3.11", "paranoid": True}
        given |= {**self.settings, **settings, "environment": self.environment}
        worker = Worker(
            store,
            self.registry,
            self.clock,
            WorkerSettings(**given),
            WorkerInfo("test", self.seed, self.registry.ids, "code", self.registry.hooked_ends),
            random,
        )
        notebook = Notebook(store, self.clock)
        runner = VirtualRunner(
            self.clock,
            worker.deliver,
            notebook=notebook,
            before=self.before_step,
            around=self.middleware,
        )
        worker.orders.runner = runner
        process = Process(store, worker, runner)
        self.processes.append(process)
        return process

    def lose(self, process: Process) -> None:
        """kill -9, as far as one process can: all its memory is gone, its row stays."""
        self.processes.remove(process)
        process.runner.stop()
        process.worker.orders.runner = None
        process.worker.drop()
        process.store.close()

    def pass_lease(self) -> None:
        """The lost workers' leases are over."""
        if self.at_once:
            there = {one.worker.lease.worker for one in self.processes if one.worker.lease}
            workers = {worker for worker, _ in self.store.workers(self.environment)}
            self.store.take_over(self.clock.now(), 10**12, sorted(workers - there))
        elif self.is_postgres:
            gone = [worker for worker, _ in self.store.workers(self.environment)]
            self.store.take_over(self.clock.now(), 3_600_000, gone)
        else:
            self.clock.advance(10_001)

    # -- runs

    def trigger(
        self, task: Runnable[..., Any], payload: Any = None, number: int = 0, **options: Any
    ) -> bytes:
        """The same number is the same run, however often it is asked for."""
        now = self.clock.now()
        run_id = derived_id(1_700_000_000_000 + number, b"trigger".ljust(16), 0, number)
        encoded = task.signature.encode_payload(payload)
        run = new_run(run_id, task.id, encoded, options, environment=self.environment, now=now)
        return self.client.trigger([run])[0][0]

    def run(self, run_id: bytes) -> Run:
        return self.store.get_runs([run_id])[run_id]

    def runs(self) -> list[Run]:
        ids = [row[0] for row in self.rows("SELECT id FROM runs ORDER BY id")]
        return list(self.store.get_runs(ids).values())

    def kinds(self, run_id: bytes) -> list[Kind]:
        return [Kind(event.kind) for _, event in self.store.history(run_id)]

    def events(self, run_id: bytes, kind: Kind) -> list[Event]:
        return [event for _, event in self.store.history(run_id) if event.kind == kind]

    def rows(self, sql: str) -> list[tuple[Any, ...]]:
        store: Any = self.store
        return store._query(sql, ())

    # -- living

    def tick(self, process: Process) -> bool:
        """One tick; a Cut loses the process, an unreachable store is tried again later."""
        notebook = process.runner.notebook

        def tick() -> bool:
            if notebook is not None:
                notebook.flush()
            return process.worker.tick()

        return self._survive(process, tick)

    def _survive(self, process: Process, act: Callable[[], bool]) -> bool:
        try:
            return act()
        except StoreUnavailable:
            return True
        except Cut:
            self.lose(process)
            self.pass_lease()
            self.start()
            return True

    def settle(self) -> None:
        """Until nothing is to be done at this time."""
        for _ in range(ROUNDS):
            worked = False
            for process in list(self.processes):
                worked |= self.tick(process)
                if process in self.processes:
                    worked |= self._survive(process, process.runner.run_one)
            worked |= self._act()
            if not worked:
                return
        raise AssertionError("the workers do not come to rest")

    def _act(self) -> bool:
        try:
            return bool(self.outside(self))
        except (StoreUnavailable, Cut):
            return False  # they try again

    def live(self, run_ids: Iterable[bytes]) -> None:
        """Until these runs and all others have ended. Time goes from event to event."""
        wanted = list(run_ids)
        for _ in range(ROUNDS):
            self.settle()
            runs = {run.id: run for run in self.runs()}
            if all(run_id in runs for run_id in wanted) and not self.alive():
                return
            self.clock.advance_to(self.next_event())
        states = [f"{run.task} {run.status} {run.blocked}" for run in self.runs()]
        raise AssertionError(f"these runs do not end: {states}")

    def alive(self) -> list[bytes]:
        return [row[0] for row in self.rows("SELECT id FROM runs WHERE status = 0")]

    def next_event(self) -> int:
        """When something happens next, or may (ms)."""
        at = self.next_at()
        return at if at is not None else self.clock.now() + 1_000

    def next_at(self) -> int | None:
        """When something happens next (ms)."""
        now = self.clock.now()
        times = [self.store.next_due(self.environment) or 0, *self.appointments(self)]
        for process in self.processes:
            times += [process.runner.next_at() or 0, now + process.worker.wait_ms()]
        return min((at for at in times if at > now), default=None)
