"""Client: start runs and look at them, for code that is not async. Thread-safe."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from typing import Any, Final, Self, TypeVar, Unpack, overload

from wf.client.asking import asked, batch_asked
from wf.client.batches import Batch
from wf.client.ends import Ends
from wf.client.filters import RunFilters
from wf.client.handles import Handle
from wf.client.prune import Pruned, prune
from wf.client.queues import Queues
from wf.client.runs import Runs
from wf.client.schedules import Schedules
from wf.client.tokens import Tokens
from wf.engine.core.batches import Item
from wf.engine.core.decisions import Member
from wf.engine.core.durations import Duration, from_ms, milliseconds
from wf.engine.core.messages import unsent
from wf.engine.core.runnable import Runnable
from wf.engine.core.runs import batch_runs, new_run
from wf.engine.core.triggers import (
    BatchOptions,
    TriggerOptions,
    trigger_options,
)
from wf.history import connections, project
from wf.history.errors import BadURL
from wf.history.events import Status
from wf.history.ids import new_id, show
from wf.history.messages import NewMessage
from wf.history.model import NewRun, Run, Triggered
from wf.history.open import open_store, sealed
from wf.history.open import shown as shown_url
from wf.history.sealing import Codec, check_codec
from wf.history.store import Store

log = logging.getLogger("wf.client")

T = TypeVar("T")
In = TypeVar("In")

NO_WORKER_SECONDS: Final = 3.0
"""`result()` warns after so long when no live worker could take the run."""


def _opened(url: str) -> Store:
    """A database that is not there is made, but not silently: its name may be mistyped."""
    try:
        return open_store(url, create=False)
    except BadURL:
        store = open_store(url)
        log.warning("there was no database of wf at %s: it is there now", shown_url(url))
        return store


class Client:
    """`url`: a database (`sqlite:///path`, `postgresql://…`). codec: seals values in it; default
    the project's. `with client:` makes it the ambient one.

    Raises BadURL, StoreUnavailable, StoreNewer.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        environment: str | None = None,
        store: Store | None = None,
        codec: Codec | None = None,
    ) -> None:
        if codec is not None:
            check_codec(codec)
        elif store is None:
            codec = project.codec()
        opened = (
            store if store is not None else _opened(url if url is not None else connections.url())
        )
        self.store = opened if codec is None else sealed(opened, codec)
        self._owns_store = store is None
        self.environment = environment or connections.environment()
        self._ends = Ends(self.store)
        self.runs = Runs(self)
        self.tokens = Tokens(self)
        self.schedules = Schedules(self)
        self.queues = Queues(self)

    @property
    def place(self) -> str:
        """For messages: where it looks."""
        return f"environment {self.environment!r} of {shown_url(self.store.url)}"

    def __enter__(self) -> Self:
        connections.push(self)
        return self

    def __exit__(self, *error: object) -> None:
        connections.pop(self)
        self.close()

    def now(self) -> datetime:
        """By the clock of the database: what all times of runs are to be compared with."""
        return from_ms(self.store.now())

    def close(self) -> None:
        """Let the database go; the client is not used after that."""
        if self._owns_store:
            self.store.close()

    @overload
    def trigger(
        self, task: Runnable[[In], T], payload: In, /, **options: Unpack[TriggerOptions]
    ) -> Handle[T]: ...
    @overload
    def trigger(self, task: Runnable[[], T], /, **options: Unpack[TriggerOptions]) -> Handle[T]: ...
    @overload
    def trigger(
        self, task: Runnable[..., T], payload: Any = None, /, **options: Unpack[TriggerOptions]
    ) -> Handle[T]: ...
    @overload
    def trigger(
        self, task: str, payload: Any = None, /, **options: Unpack[TriggerOptions]
    ) -> Handle[Any]: ...
    def trigger(self, task: Any, payload: Any = None, /, **options: Any) -> Handle[Any]:
        """Start a run; a worker takes it up. `task`: the runnable, or its id (then the worker
        checks the payload).

        Raises PayloadError before any run exists.
        """
        return self.trigger_encoded(*asked(task, payload, self.with_queue(task, options)))

    @overload
    def batch_trigger(
        self,
        task: Runnable[[In], T],
        items: Iterable[In | Item[In]],
        /,
        **options: Unpack[BatchOptions],
    ) -> Batch[T]: ...
    @overload
    def batch_trigger(
        self, task: Runnable[..., T], items: Iterable[Any], /, **options: Unpack[BatchOptions]
    ) -> Batch[T]: ...
    @overload
    def batch_trigger(
        self, task: str, items: Iterable[Any], /, **options: Unpack[BatchOptions]
    ) -> Batch[Any]: ...
    def batch_trigger(self, task: Any, items: Iterable[Any], /, **options: Any) -> Batch[Any]:
        """Start a run for each item (a payload, or `wf.Item(payload, **options)`): all, or none.

        Raises PayloadError, naming the item, before any run exists.
        """
        checked = trigger_options(self.with_queue(task, options))
        connection = checked.pop("connection", None)
        return self.batch_encoded(*batch_asked(task, items, checked), connection)

    def with_queue(self, task: Any, options: dict[str, Any]) -> dict[str, Any]:
        """A task that is only named goes into the queue that its workers declare."""
        if not isinstance(task, str) or options.get("queue") is not None:
            return options
        queue = self.store.queue_of(self.environment, task)
        return options | {"queue": queue} if queue else options

    def batch_encoded(
        self,
        task: str,
        members: Sequence[Member],
        decode: Callable[[bytes | None], T],
        connection: Any = None,
    ) -> Batch[T]:
        batch_id, runs = self._new_batch(task, members)
        if connection is None:
            answers = self.store.trigger(runs)
        else:
            answers = self.store.trigger_in(connection, runs)
        return Batch(self, batch_id, task, decode, answers)

    async def batch_encoded_async(
        self,
        task: str,
        members: Sequence[Member],
        decode: Callable[[bytes | None], T],
        connection: Any = None,
    ) -> Batch[T]:
        """The same without blocking the loop. A caller's connection is used in this thread."""
        if connection is None:
            return await asyncio.to_thread(self.batch_encoded, task, members, decode)
        batch_id, runs = await asyncio.to_thread(self._new_batch, task, members)
        answers = await self.store.trigger_in_async(connection, runs)
        return Batch(self, batch_id, task, decode, answers)

    def _new_batch(self, task: str, members: Sequence[Member]) -> tuple[bytes, list[NewRun]]:
        now = self.store.birth_time()
        batch_id = new_id(now)
        return batch_id, batch_runs(task, members, batch_id, environment=self.environment, now=now)

    def trigger_encoded(
        self,
        task: str,
        payload: bytes,
        options: dict[str, Any],
        decode: Callable[[bytes | None], T],
    ) -> Handle[T]:
        connection = options.pop("connection", None)
        run = self._new_run(task, payload, options)
        if connection is None:
            [answer] = self.store.trigger([run])
        else:
            [answer] = self.store.trigger_in(connection, [run])
        return self.handle_of(run, answer, decode)

    async def trigger_encoded_async(
        self,
        task: str,
        payload: bytes,
        options: dict[str, Any],
        decode: Callable[[bytes | None], T],
    ) -> Handle[T]:
        """The same without blocking the loop. A caller's connection is used in this thread."""
        import asyncio

        if "connection" not in options:
            return await asyncio.to_thread(self.trigger_encoded, task, payload, options, decode)
        connection = options.pop("connection")
        run = await asyncio.to_thread(self._new_run, task, payload, options)
        [answer] = await self.store.trigger_in_async(connection, [run])
        return self.handle_of(run, answer, decode)

    def _new_run(self, task: str, payload: bytes, options: dict[str, Any]) -> NewRun:
        now = self.store.birth_time()
        return new_run(new_id(now), task, payload, options, environment=self.environment, now=now)

    def handle_of(
        self, run: NewRun, answer: tuple[bytes, Triggered], decode: Callable[[bytes | None], T]
    ) -> Handle[T]:
        """Of a run that the store was given, by its answer."""
        run_id, triggered = answer
        if triggered is Triggered.CACHED_DIFFERS:
            log.warning(
                "idempotency key %r of %s is taken by %s, which has another payload",
                run.idempotency_key,
                run.task,
                show("run", run_id),
            )
        return Handle(self, run_id, run.task, decode, triggered)

    def prune(
        self,
        older_than: Duration,
        *,
        dry_run: bool = False,
        scrub: bool = False,
        **filters: Unpack[RunFilters],
    ) -> Pruned:
        """Remove runs that ended longer ago than that and fit the filters, each with all runs below
        it, and all that is theirs: histories, streams, messages, tokens, keys. A run stays while
        one above or below it, or a replay of it, is alive, or one below it ended too recently.

        Small transactions, newest first; what is cut short is done by the next call. `dry_run`:
        only count. `scrub`: leave no trace of them in a SQLite file, which is written anew: nobody
        else writes meanwhile. Raises PayloadError, DeclarationError, StoreUnavailable.
        """
        return prune(self, older_than, filters, dry_run=dry_run, scrub=scrub)

    def send_encoded(self, run_id: bytes, name: str, data: bytes) -> None:
        """Raises NotFound, AlreadyEnded."""
        [outcome] = self.store.send([NewMessage(run_id, name, data)], self.store.now())
        error = unsent(outcome, run_id)
        if error is not None:
            raise error

    def wait_for_end(
        self, run_id: bytes, timeout: Duration | None, end: Future[Run] | None = None
    ) -> Run:
        """The run, when it has ended; `end`: its `end_of`, where that is there already. Raises
        TimeoutError, NotFound."""
        left = milliseconds(timeout, "timeout") / 1_000 if timeout is not None else None
        future = self._ends.wait(run_id) if end is None else end
        try:
            if left is None or left > NO_WORKER_SECONDS:
                try:
                    return future.result(NO_WORKER_SECONDS)
                except FutureTimeoutError:
                    self._warn_of_no_worker(run_id)
                    left = None if left is None else left - NO_WORKER_SECONDS
            return future.result(left)
        except FutureTimeoutError:
            raise TimeoutError(
                f"{show('run', run_id)} has not ended within {timeout}; it goes on: "
                f"`wf runs show {show('run', run_id)}` tells what it does"
            ) from None
        finally:
            future.cancel()

    def end_of(self, run_id: bytes) -> Future[Run]:
        """A future of the ended run."""
        return self._ends.wait(run_id)

    def _warn_of_no_worker(self, run_id: bytes) -> None:
        run = self.store.get_runs([run_id]).get(run_id)
        queued = run is not None and run.status in (Status.QUEUED, Status.PENDING_VERSION)
        if run is not None and queued and not self.store.has_worker(run.environment, run.task):
            log.warning(
                "no live worker in environment %r knows the task %r: start one, `wf worker FILE`",
                run.environment,
                run.task,
            )
