"""A store behind a door: every call goes through one function, which may count, delay, cut or lie.

The Store itself is the real one. A `Cut` is a process that is lost at that point.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

from wf.history.errors import Error, StoreUnavailable
from wf.history.events import Event
from wf.history.messages import NewMessage, Sent
from wf.history.model import (
    Activation,
    Awaited,
    Claim,
    Committed,
    Lease,
    NewRun,
    NewToken,
    Run,
    RunFilter,
    Token,
    Triggered,
    WorkerInfo,
)
from wf.history.notes import Chunk, Note
from wf.history.step import AsyncStepTransaction, StepPlace, StepTransaction
from wf.history.store import Meanwhile, Store, nothing
from wf.testing.door import Door as Door
from wf.testing.queued import WatchedQueues
from wf.testing.scheduled import WatchedSchedules

WRITES: Final = frozenset(
    {
        *("trigger", "cancel", "send", "create_tokens", "end_token", "note"),
        *("join", "commit", "commit_step", "beat", "take_over", "leave"),
        *("add_schedules", "move_schedules", "drop_schedules", "reschedule", "unblock"),
        *("fork", "prune", "declare_queues", "change_queue"),
    }
)
"""The calls that change the store."""


class Cut(BaseException):
    """The process is lost here: nothing in memory survives."""


class WatchedStep:
    """A `StepTransaction` whose commit goes through `door`. Where that does not happen, it is
    rolled back, as a database does when it loses a client."""

    def __init__(self, step: StepTransaction, door: Door) -> None:
        self._step = step
        self._door = door
        self.connection = step.connection
        self.roll_back = step.roll_back

    @property
    def lost(self) -> Error | None:
        return self._step.lost

    def commit(self, took_ms: int, data: bytes) -> None:
        tried: list[bool] = []

        def call() -> None:
            tried.append(True)
            self._step.commit(took_ms, data)

        try:
            self._door("commit_step", call)
        except BaseException:
            if not tried:
                self._step.roll_back()
            raise


class WatchedStore(WatchedSchedules, WatchedQueues):
    """A `Store` whose calls go through `door`. Where the door raises StoreUnavailable the caller's
    lease is as it was before, whatever has happened in the store: the answer is lost."""

    def __init__(self, store: Store, door: Door) -> None:
        super().__init__(store, door)
        self._queues = store
        self.inner = store
        self.url = store.url
        self.clock: Callable[[], int] | None = None
        """Where time is virtual whatever the database says."""

    def close(self) -> None:
        self.inner.close()

    def now(self) -> int:
        return self.clock() if self.clock is not None else self.door("now", self.inner.now)

    def birth_time(self) -> int:
        return self.now()

    def trigger(self, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        return self.door("trigger", lambda: self.inner.trigger(runs))

    def trigger_in(self, connection: Any, runs: Sequence[NewRun]) -> list[tuple[bytes, Triggered]]:
        return self.inner.trigger_in(connection, runs)

    async def trigger_in_async(
        self, connection: Any, runs: Sequence[NewRun]
    ) -> list[tuple[bytes, Triggered]]:
        return await self.inner.trigger_in_async(connection, runs)

    def cancel(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        return self.door("cancel", lambda: self.inner.cancel(run_ids, now))

    def send(self, messages: Sequence[NewMessage], now: int) -> list[Sent]:
        return self.door("send", lambda: self.inner.send(messages, now))

    def create_tokens(self, tokens: Sequence[NewToken]) -> None:
        return self.door("create_tokens", lambda: self.inner.create_tokens(tokens))

    def end_token(self, token_id: bytes, status: str, data: bytes | None, now: int) -> Token:
        return self.door("end_token", lambda: self.inner.end_token(token_id, status, data, now))

    def note(self, notes: Sequence[Note], now: int) -> None:
        return self.door("note", lambda: self.inner.note(notes, now))

    def reschedule(self, run_id: bytes, at: int, now: int) -> bool:
        return self.door("reschedule", lambda: self.inner.reschedule(run_id, at, now))

    def unblock(self, run_ids: Sequence[bytes], now: int) -> list[bytes]:
        return self.door("unblock", lambda: self.inner.unblock(run_ids, now))

    def prunable(
        self, wanted: RunFilter, ended_before: int
    ) -> tuple[list[bytes], RunFilter | None]:
        return self.door("prunable", lambda: self.inner.prunable(wanted, ended_before))

    def fork(self, run: NewRun, events: Sequence[Event]) -> None:
        self.door("fork", lambda: self.inner.fork(run, events))

    def prune(self, run_ids: Sequence[bytes]) -> list[bytes]:
        return self.door("prune", lambda: self.inner.prune(run_ids))

    def scrub(self) -> None:
        self.inner.scrub()

    def awaited(self, run_id: bytes) -> Awaited:
        return self.door("awaited", lambda: self.inner.awaited(run_id))

    def begin(self, place: StepPlace | None) -> StepTransaction:
        return WatchedStep(self.inner.begin(place), self.door)

    async def begin_async(self, place: StepPlace | None) -> AsyncStepTransaction:
        return await self.inner.begin_async(place)

    def is_done(self, place: StepPlace) -> bool:
        return self.door("is_done", lambda: self.inner.is_done(place))

    def get_runs(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        return self.door("get_runs", lambda: self.inner.get_runs(run_ids))

    def ended(self, run_ids: Sequence[bytes]) -> dict[bytes, Run]:
        return self.door("ended", lambda: self.inner.ended(run_ids))

    def live(self, run_ids: Sequence[bytes]) -> set[bytes]:
        return self.door("live", lambda: self.inner.live(run_ids))

    def list_runs(self, filter: RunFilter) -> list[Run]:
        return self.door("list_runs", lambda: self.inner.list_runs(filter))

    def get_token(self, token_id: bytes) -> Token | None:
        return self.door("get_token", lambda: self.inner.get_token(token_id))

    def list_tokens(
        self, environment: str, *, status: str = "", run_id: bytes | None = None, limit: int = 50
    ) -> list[Token]:
        def call() -> list[Token]:
            return self.inner.list_tokens(environment, status=status, run_id=run_id, limit=limit)

        return self.door("list_tokens", call)

    def history(
        self, run_id: bytes, chapter: int | None = None, after: tuple[int, int] = (0, 0)
    ) -> list[tuple[int, Event]]:
        return self.door("history", lambda: self.inner.history(run_id, chapter, after))

    def read_stream(self, run_id: bytes, name: str, after: int = 0) -> list[Chunk]:
        return self.door("read_stream", lambda: self.inner.read_stream(run_id, name, after))

    def has_worker(self, environment: str, task: str) -> bool:
        return self.door("has_worker", lambda: self.inner.has_worker(environment, task))

    def join(self, environment: str, info: WorkerInfo) -> Lease:
        return self.door("join", lambda: self.inner.join(environment, info))

    def commit(
        self,
        lease: Lease,
        activations: Sequence[Activation],
        claim: Claim | None,
        now: int,
        meanwhile: Meanwhile = nothing,
    ) -> Committed:
        number = lease.group_no
        try:
            group = (lease, activations, claim, now, meanwhile)
            return self.door("commit", lambda: self.inner.commit(*group))
        except StoreUnavailable:
            lease.group_no = number
            raise

    def beat(self, lease: Lease) -> None:
        return self.door("beat", lambda: self.inner.beat(lease))

    def landed(self, lease: Lease) -> bool:
        number = lease.group_no
        try:
            return self.door("landed", lambda: self.inner.landed(lease))
        except StoreUnavailable:
            lease.group_no = number
            raise

    def fetch(self, references: Sequence[bytes]) -> dict[bytes, bytes]:
        return self.door("fetch", lambda: self.inner.fetch(references))

    def load(self, runs: Sequence[tuple[bytes, int]]) -> dict[bytes, list[Event]]:
        return self.door("load", lambda: self.inner.load(runs))

    def workers(self, environment: str) -> list[tuple[int, WorkerInfo]]:
        return self.door("workers", lambda: self.inner.workers(environment))

    def take_over(self, now: int, lease_ms: int, gone: Sequence[int] = ()) -> list[int]:
        return self.door("take_over", lambda: self.inner.take_over(now, lease_ms, gone))

    def leave(self, lease: Lease, now: int) -> None:
        return self.door("leave", lambda: self.inner.leave(lease, now))

    def next_due(self, environment: str, root: bytes | None = None) -> int | None:
        return self.door("next_due", lambda: self.inner.next_due(environment, root))

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        return self.inner.listen(wake)

    def hint(self) -> None:
        self.inner.hint()
