"""What the tests of stores say in one word: a run, a worker, an activation.

A `World` is an environment of a store. Its clock is the database's, until a test moves it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from threading import Barrier, Thread
from typing import Any

from msgspec.structs import replace

from wf.history.errors import StoreUnavailable
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import new_id
from wf.history.model import (
    Activation,
    Claim,
    Claimed,
    InboxKind,
    InboxRow,
    Lease,
    NewRun,
    NewToken,
    Run,
    Triggered,
    WorkerInfo,
)
from wf.history.open import open_store
from wf.history.sealing import Codec, Sealing
from wf.history.store import Store
from wf.history.turns import Ending

ENVIRONMENT = "test"
TASK = "task"
PYTHON = "3.11"
THREADS_TIMEOUT_S = 60.0


@dataclass
class World:
    url: str
    store: Store
    codec: Codec | None = None
    stores: list[Store] = field(default_factory=list[Store])
    skipped_ms: int = 0

    def close(self) -> None:
        for store in (self.store, *self.stores):
            store.close()

    def another_store(self) -> Store:
        """The same database seen by another process, as far as one process can."""
        store = open_store(self.url, codec=self.codec)
        self.stores.append(store)
        return store

    def opened(self, data: bytes) -> bytes:
        """A value as it was before it was stored."""
        return data if self.codec is None else bytes(Sealing(self.codec).open(data))

    def now(self) -> int:
        return self.store.now() + self.skipped_ms

    def new(self, task: str = TASK, **columns: Any) -> NewRun:
        """A run that is not in the store yet."""
        at = self.now()
        columns = {"payload": b'{"n":1}', "created_at": at, "environment": ENVIRONMENT} | columns
        return NewRun(id=columns.pop("id", new_id(at)), task=task, **columns)

    def trigger(self, task: str = TASK, **columns: Any) -> bytes:
        return self.store.trigger([self.new(task, **columns)])[0][0]

    def trigger_how(self, run: NewRun) -> tuple[bytes, Triggered]:
        return self.store.trigger([run])[0]

    def token(self, **columns: Any) -> NewToken:
        """A token that is not in the store yet."""
        at = self.now()
        columns = {"created_at": at, "environment": ENVIRONMENT} | columns
        return NewToken(id=columns.pop("id", new_id(at)), **columns)

    def run(self, run_id: bytes) -> Run:
        return self.store.get_runs([run_id])[run_id]

    def status(self, run_id: bytes) -> Status:
        return self.run(run_id).status

    def kinds(self, run_id: bytes, chapter: int | None = None) -> list[Kind]:
        return [Kind(event.kind) for _, event in self.store.history(run_id, chapter)]

    def worker(
        self,
        *tasks: str,
        environment: str = ENVIRONMENT,
        code: str = "c1",
        store: Store | None = None,
        hooks: Mapping[str, int] | None = None,
    ) -> Worker:
        store = store or self.store
        names = tasks or (TASK,)
        info = WorkerInfo(host="h", pid=1, tasks=names, code=code, hooks=hooks or {})
        lease = store.join(environment, info)
        return Worker(self, store, lease, names)

    def begun(self, worker: Worker, task: str = TASK, **columns: Any) -> Claimed:
        """A run that this worker has just claimed."""
        run_id = self.trigger(task, **columns)
        return next(claimed for claimed in worker.claim() if claimed.run.id == run_id)

    def waiting(self, worker: Worker, task: str = TASK, **columns: Any) -> Claimed:
        """A run that has begun, has nothing to do and belongs to nobody."""
        claimed = self.begun(worker, task, **columns)
        worker.commit(Activation(claimed.run.id, 1, release=True))
        return claimed


@dataclass
class Worker:
    world: World
    store: Store
    lease: Lease
    tasks: Sequence[str]

    def claim(self, limit: int = 1000, *activations: Activation, **options: Any) -> list[Claimed]:
        """What is handed out after these activations."""
        wanted = Claim(limit, self.tasks, PYTHON, **options)
        return self.store.commit(self.lease, activations, wanted, self.world.now()).claimed

    def claim_ids(self, limit: int = 1000, **options: Any) -> list[bytes]:
        return [claimed.run.id for claimed in self.claim(limit, **options)]

    def commit(self, *activations: Activation) -> None:
        self.store.commit(self.lease, activations, None, self.world.now())

    def end(self, run_id: bytes, status: Status = Status.COMPLETED, **more: Any) -> None:
        self.commit(self.ending(run_id, status, **more))

    def ending(self, run_id: bytes, status: Status = Status.COMPLETED, **more: Any) -> Activation:
        """The activation that ends a run."""
        at = self.world.now()
        good = status is Status.COMPLETED
        failure = None if good else Failure("Boom", status).encode()
        output = more.pop("output", b'"done"') if good else None
        return Activation(
            run_id,
            more.pop("chapter", 1),
            ending=Ending(status, output, failure, at),
            **more,
        )


def step(seq: int, ordinal: int = 1, **columns: Any) -> Event:
    """A step that finished."""
    columns = {"name": "s"} | columns
    return Event(seq, Kind.STEP_FINISHED, ordinal, 1_000 + seq, **columns)


def shape(rows: Iterable[InboxRow]) -> list[tuple[InboxKind, int, int, str, bytes | None]]:
    """Inbox rows without what differs from store to store."""
    return [(InboxKind(row.kind), row.chapter, row.ordinal, row.name, row.data) for row in rows]


def copy_lease(lease: Lease) -> Lease:
    """What a worker that was stopped, or never got an answer, still believes."""
    return replace(lease)


def at_once(*jobs: Any) -> list[Any]:
    """Run all jobs in threads that start together; their answers. The first error is raised."""
    barrier = Barrier(len(jobs))
    answers: list[Any] = [None] * len(jobs)
    errors: list[BaseException] = []

    def work(place: int, job: Any) -> None:
        try:
            barrier.wait(THREADS_TIMEOUT_S)
            answers[place] = job()
        except BaseException as error:
            errors.append(error)

    threads = [Thread(target=work, args=(n, job), daemon=True) for n, job in enumerate(jobs)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(THREADS_TIMEOUT_S)
        assert not thread.is_alive(), "a thread hangs"
    if errors:
        raise errors[0]
    return answers


__all__ = [
    "ENVIRONMENT", "PYTHON", "TASK", "StoreUnavailable", "Worker", "World",
    "at_once", "copy_lease", "shape", "step",
]  # fmt: skip
