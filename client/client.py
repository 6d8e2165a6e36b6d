"""Client: start runs and look at them, for code that is not async. Thread-safe."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, Self, TypeVar, Unpack, cast, overload

from wf.client.batches import Batch
from wf.client.ends import Ends
from wf.client.feeds import Chunks, RunChanges, follow
from wf.client.handles import Handle
from wf.client.schedules import Schedules
from wf.client.tokens import check_data
from wf.client.views import (
    ChunkView,
    EventView,
    RunView,
    TokenView,
    event_view,
    run_view,
    token_view,
)
from wf.engine.core.batches import Item, members_of
from wf.engine.core.decisions import Member
from wf.engine.core.durations import Duration, from_ms, milliseconds, to_ms
from wf.engine.core.messages import encode_message, unsent
from wf.engine.core.runnable import Runnable
from wf.engine.core.runs import batch_runs, new_run
from wf.engine.core.triggers import (
    BatchOptions,
    TriggerOptions,
    check_name,
    trigger_options,
    with_defaults,
)
from wf.engine.core.values import Shape
from wf.history import connections
from wf.history.errors import AlreadyEnded, BadURL, NotFound, PayloadError
from wf.history.events import Status
from wf.history.ids import new_id, parse, show
from wf.history.messages import NewMessage
from wf.history.open import open_store
from wf.history.open import shown as shown_url
from wf.history.rows import TOKEN_STATUS
from wf.history.store import NewRun, Run, RunFilter, Store, Token, Triggered

if TYPE_CHECKING:
    from wf.client.timeline.model import Timeline

log = logging.getLogger("wf.client")

T = TypeVar("T")
In = TypeVar("In")

NO_WORKER_SECONDS: Final = 3.0
"""`result()` warns after so long when no live worker could take the run."""


_any_json: Final = Shape(Any, "payload")


def parse_id(prefix: str, shown: str) -> bytes:
    """The id behind what somebody gave. Raises NotFound with what it should look like."""
    try:
        return parse(prefix, shown)
    except ValueError as error:
        raise NotFound(str(error)) from None


def _opened(url: str) -> Store:
    """A database that is not there is made, but not silently: its name may be mistyped."""
    try:
        return open_store(url, create=False)
    except BadURL:
        store = open_store(url)
        log.warning("there was no database of wf at %s: it is there now", shown_url(url))
        return store


class Client:
    """`url`: a database (`sqlite:///path`, `postgresql://…`). `with client:` makes it the ambient
    one.

    Raises BadURL, StoreUnavailable, StoreNewer.
    """

    def __init__(
        self, url: str | None = None, *, environment: str | None = None, store: Store | None = None
    ) -> None:
        self.store = (
            store if store is not None else _opened(url if url is not None else connections.url())
        )
        self._owns_store = store is None
        self.environment = environment or connections.environment()
        self._ends = Ends(self.store)
        self.runs = Runs(self)
        self.tokens = Tokens(self)
        self.schedules = Schedules(self)

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
        return self.trigger_encoded(*asked(task, payload, options))

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
        checked = trigger_options(options)
        connection = checked.pop("connection", None)
        return self.batch_encoded(*batch_asked(task, items, checked), connection)

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
        now = self.store.now()
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
        return self._handle(run, answer, decode)

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
        return self._handle(run, answer, decode)

    def _new_run(self, task: str, payload: bytes, options: dict[str, Any]) -> NewRun:
        now = self.store.now()
        return new_run(new_id(now), task, payload, options, environment=self.environment, now=now)

    def _handle(
        self, run: NewRun, answer: tuple[bytes, Triggered], decode: Callable[[bytes | None], T]
    ) -> Handle[T]:
        run_id, triggered = answer
        if triggered is Triggered.CACHED_DIFFERS:
            log.warning(
                "idempotency key %r of %s is taken by %s, which has another payload",
                run.idempotency_key,
                run.task,
                show("run", run_id),
            )
        return Handle(self, run_id, run.task, decode, triggered)

    def send_encoded(self, run_id: bytes, name: str, data: bytes) -> None:
        """Raises NotFound, AlreadyEnded."""
        [outcome] = self.store.send([NewMessage(run_id, name, data)], self.store.now())
        error = unsent(outcome, run_id)
        if error is not None:
            raise error

    def wait_for_end(self, run_id: bytes, timeout: Duration | None) -> Run:
        """The run, when it has ended. Raises TimeoutError, NotFound."""
        left = milliseconds(timeout, "timeout") / 1_000 if timeout is not None else None
        future = self._ends.wait(run_id)
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


def batch_asked(
    task: Any, items: Iterable[Any], checked: dict[str, Any]
) -> tuple[str, list[Member], Callable[[bytes | None], Any]]:
    """What `batch_trigger` was given, encoded: task, members, how to read an output."""
    if isinstance(task, Runnable):
        runnable = cast("Runnable[..., Any]", task)
        signature, settings = runnable.signature, runnable.settings
        members = [
            (payload, with_defaults(settings, options))
            for payload, options in members_of(signature.encode_payload, items, checked)
        ]
        return runnable.id, members, signature.decode_result
    return check_name(task, "task"), members_of(_any_json.encode, items, checked), plain


def asked(
    task: Any, payload: Any, options: dict[str, Any]
) -> tuple[str, bytes, dict[str, Any], Callable[[bytes | None], Any]]:
    """What `trigger` was given, checked and encoded: task, payload, options, how to read the
    output."""
    checked = trigger_options(options)
    if isinstance(task, Runnable):
        runnable = cast("Runnable[..., Any]", task)
        signature = runnable.signature
        encoded = signature.encode_payload(payload)
        merged = with_defaults(runnable.settings, checked)
        return runnable.id, encoded, merged, signature.decode_result
    return check_name(task, "task"), _any_json.encode(payload), checked, plain


def plain(data: bytes | None) -> Any:
    return json.loads(data) if data is not None else None


class Runs:
    """`client.runs`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(
        self,
        *,
        status: Status | str | Iterable[Status | str] = (),
        task: str = "",
        tag: str = "",
        parent: str = "",
        batch: str = "",
        since: datetime | None = None,
        limit: int = 50,
        cursor: str = "",
    ) -> list[RunView]:
        """Newest first. `cursor`: the id of the last run of the page before. `since`: created at or
        after."""
        wanted = [status] if isinstance(status, str) else list(status)
        found = self._client.store.list_runs(
            RunFilter(
                environment=self._client.environment,
                status=[_status(one) for one in wanted],
                task=task,
                tag=tag,
                parent_id=parse_id("run", parent) if parent else None,
                batch_id=parse_id("batch", batch) if batch else None,
                since=to_ms(since, "since") if since is not None else 0,
                before=parse_id("run", cursor) if cursor else None,
                limit=limit,
            )
        )
        return [run_view(run) for run in found]

    def retrieve(self, run_id: str) -> RunView:
        """Raises NotFound."""
        return run_view(self._get(run_id))

    def cancel(self, *run_ids: str) -> list[str]:
        """Ask for cancellation; answers the ids of runs that had not ended. One id: raises
        NotFound, AlreadyEnded."""
        ids = [parse_id("run", shown) for shown in run_ids]
        if len(ids) == 1:
            run = self._get(run_ids[0])
            if run.status.ended:
                raise AlreadyEnded(f"{run_ids[0]} has ended: {run.status}")
        store = self._client.store
        return [show("run", run_id) for run_id in store.cancel(ids, store.now())]

    def send(self, run_id: str, name: str, data: Any = None) -> None:
        """Send a run a message, for its `wf.wait.for_message(name)`; it is kept until then. `data`
        is checked where it is read.

        Raises NotFound, AlreadyEnded, PayloadError.
        """
        message = encode_message(name, data)
        self._client.send_encoded(self._get(run_id).id, *message)

    def history(self, run_id: str) -> Sequence[EventView]:
        """All rows, over all chapters. Raises NotFound."""
        run = self._get(run_id)
        return [event_view(chapter, event) for chapter, event in self._client.store.history(run.id)]

    def timeline(self, run_id: str) -> Timeline:
        """What it and the runs below it did, over time: in a notebook, a picture. Raises
        NotFound."""
        from wf.client.timeline.reading import read

        return read(self._client.store, self._get(run_id))

    def subscribe(self, run_id: str) -> Generator[RunView]:
        """The run now, then at each change of its status, metadata, tags or output, until it has
        ended. Raises NotFound when it is iterated."""
        return follow(self._client.store, self.changes(run_id))

    def stream(self, run_id: str, name: str, *, after: int = 0) -> Generator[ChunkView]:
        """The chunks of a stream in order, those to come too, until the run has ended. `after`: the
        `seq` of the last one that was read before. Raises NotFound when it is iterated."""
        return follow(self._client.store, self.chunks(run_id, name, after))

    def changes(self, run_id: str) -> RunChanges:
        """What `subscribe` follows."""
        return RunChanges(lambda: self.retrieve(run_id))

    def chunks(self, run_id: str, name: str, after: int) -> Chunks:
        """What `stream` follows."""
        raw = parse_id("run", run_id)
        return Chunks(self._client.store, raw, name, after, lambda: self.retrieve(run_id))

    def _get(self, shown: str) -> Run:
        run_id = parse_id("run", shown)
        run = self._client.store.get_runs([run_id]).get(run_id)
        if run is None or run.environment != self._client.environment:
            raise NotFound(
                f"there is no run {shown} in {self._client.place}: "
                "`wf runs list` shows those that are there"
            )
        return run


def _status(value: Status | str) -> Status:
    try:
        return Status(value.upper())
    except ValueError:
        raise PayloadError(f"status={value!r}: give one of {', '.join(Status)}") from None


def _token_status(value: str) -> str:
    if value and value.upper() not in TOKEN_STATUS:
        raise PayloadError(f"status={value!r}: give one of {', '.join(TOKEN_STATUS)}")
    return value.upper()


class Tokens:
    """`client.tokens`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def complete(self, token_id: str, data: Any = None) -> TokenView:
        """Hand in the data that runs wait for. Raises NotFound, AlreadyEnded, PayloadError where it
        does not fit."""
        token = self._get(token_id)
        encoded = _any_json.encode_unchecked(data)
        check_data(encoded, token.schema, token_id)
        store = self._client.store
        return token_view(store.end_token(token.id, "COMPLETED", encoded, store.now()))

    def cancel(self, token_id: str) -> TokenView:
        """Nobody will complete it: waiters get TokenCanceled. Raises NotFound, AlreadyEnded."""
        store = self._client.store
        token = self._get(token_id)
        return token_view(store.end_token(token.id, "CANCELED", None, store.now()))

    def retrieve(self, token_id: str) -> TokenView:
        """Raises NotFound."""
        return token_view(self._get(token_id))

    def _get(self, shown: str) -> Token:
        token = self._client.store.get_token(parse_id("token", shown))
        if token is None or token.environment != self._client.environment:
            raise NotFound(
                f"there is no token {shown} in {self._client.place}: "
                "`wf tokens list` shows those that are there"
            )
        return token

    def list(self, *, status: str = "", run: str = "", limit: int = 50) -> list[TokenView]:
        """Newest first."""
        found = self._client.store.list_tokens(
            self._client.environment,
            status=_token_status(status),
            run_id=parse_id("run", run) if run else None,
            limit=limit,
        )
        return [token_view(token) for token in found]
