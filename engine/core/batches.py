"""Many runs of one runnable at once: one operation and one record, whatever their number.

A batch is one transaction, all or nothing. Whoever waits for its results waits as
`asyncio.gather` does over single runs: for all of them, or for the first that does not complete.
The others go on then; those that have not ended are canceled with the run that waited.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine, Iterable, Iterator, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeVar, Unpack, cast, overload

from wf.engine.core.callers import Begun, StepCaller, Trigger, cannot_wait
from wf.engine.core.children import DIFFERS
from wf.engine.core.decisions import AwaitBatch, CancelRun, Member, TriggerBatch
from wf.engine.core.handles import RunHandle, run_error
from wf.engine.core.info import digest_of
from wf.engine.core.operation import Operation, OperationFuture
from wf.engine.core.triggers import (
    TriggerOptions,
    check_together,
    is_keyed,
    trigger_options,
    with_defaults,
)
from wf.history.ends import End, ends_of
from wf.history.errors import DeclarationError, PayloadError, RunError
from wf.history.events import Event, Kind, Status
from wf.history.ids import derived_id, member_ids, parse, show
from wf.history.limits import MAX_BATCH, MAX_BATCH_BYTES
from wf.history.settling import conflict

if TYPE_CHECKING:
    from wf.engine.core.execution import Execution
    from wf.engine.core.loop import BodyFuture
    from wf.engine.core.runnable import Runnable

T = TypeVar("T")
In = TypeVar("In")

Decode = Callable[[bytes | None], Any]


class Item(Generic[In]):
    """A payload of a batch with options of its own: `wf.Item(user, idempotency_key="user-1")`."""

    __slots__ = ("options", "payload")

    def __init__(self, payload: In, **options: Unpack[TriggerOptions]) -> None:
        self.payload = payload
        self.options: dict[str, Any] = trigger_options(dict(options))


def members_of(
    encode: Callable[[Any], bytes], items: Iterable[Any], options: dict[str, Any]
) -> list[Member]:
    """The items, checked; their own options over those of the batch.

    Raises PayloadError or DeclarationError, naming the item by its index.
    """
    _check_connection(options)
    for name in ("idempotency_key", "debounce"):
        if name in options:
            raise DeclarationError(
                f"one {name} for all items would make one run: "
                f"give each its own, wf.Item(payload, {name}=…)"
            )
    members: list[Member] = []
    size = 0
    for index, item in enumerate(items):
        own: dict[str, Any] = {}
        if isinstance(item, Item):
            own = cast("Item[Any]", item).options
            _check_connection(own)
            item = cast("Item[Any]", item).payload
        try:
            payload = encode(item)
        except PayloadError as error:
            raise type(error)(f"item {index} of the batch: {error}") from error
        size += len(payload)
        if index >= MAX_BATCH or size > MAX_BATCH_BYTES:
            raise PayloadError(
                f"a batch has at most {MAX_BATCH:,} items and {MAX_BATCH_BYTES:,} bytes of "
                "payloads: make several batches"
            )
        members.append((payload, check_together(options | own) if own else options))
    return members


def _check_connection(options: dict[str, Any]) -> None:
    if "connection" in options:
        raise DeclarationError(
            "connection= is for a whole batch, outside bodies: give it to batch_trigger there"
        )


class BatchHandle(Generic[T]):
    """Runs that were started together: `batch.id` (batch_…), `await batch.results()`; iteration
    gives their handles, in the order of the items."""

    __slots__ = ("_handles", "_id", "decode", "id", "outside", "task")

    def __init__(
        self,
        batch_id: bytes,
        task: str,
        decode: Decode,
        handles: Sequence[RunHandle[T]],
        outside: Callable[[BatchHandle[T], bool], Coroutine[Any, Any, list[T]]] | None = None,
    ) -> None:
        self._id = batch_id
        self.id = show("batch", batch_id)
        self.task = task
        self.decode = decode
        self._handles = handles
        self.outside = outside

    @property
    def raw_id(self) -> bytes:
        return self._id

    def __len__(self) -> int:
        return len(self._handles)

    def __iter__(self) -> Iterator[RunHandle[T]]:
        return iter(self._handles)

    def __getitem__(self, index: int) -> RunHandle[T]:
        return self._handles[index]

    @overload
    def results(self, *, return_exceptions: Literal[False] = False) -> Operation[list[T]]: ...
    @overload
    def results(self, *, return_exceptions: bool) -> Operation[list[T | RunError]]: ...
    def results(self, *, return_exceptions: bool = False) -> Operation[list[Any]]:
        """The outputs in the order of the items, when all runs have ended.

        The first that does not complete raises its error at once, and the others go on; with
        `return_exceptions` errors stand in the list instead.
        """
        return ResultsOf(self, return_exceptions=return_exceptions)

    def __repr__(self) -> str:
        return f"<BatchHandle {self.task} {self.id}>"


class BatchFuture(OperationFuture):
    """An operation that waits for many runs."""

    run_ids: list[bytes]
    task: str
    decode: Decode
    return_exceptions: bool
    not_ours: set[int]
    """Places whose runs somebody else started."""
    ends: dict[int, End]
    strict: set[int]
    """Places whose key must not be taken by another payload."""

    @property
    def missing(self) -> int:
        return len(self.run_ids) - len(self.ends)

    def fails_by(self, status: str) -> bool:
        return status != Status.COMPLETED and not self.return_exceptions

    def cancel(self, msg: Any = None) -> bool:
        if self.done() and not self.cancelled():
            execution: Execution = cast("Any", self.get_loop()).execution
            execution.open.pop(self.ordinal, None)
            _give_up(execution, self)
            return False
        return super().cancel(msg)


class BatchCall(Trigger[Any]):
    """`await task.batch_trigger(items)` and `await task.batch_trigger_and_wait(items)`."""

    __slots__ = ("_is_awaited", "_items", "_options", "_return_exceptions", "_runnable")
    verb = "batch"

    def __init__(
        self,
        runnable: Runnable[..., Any],
        items: Iterable[Any],
        options: dict[str, Any],
        *,
        awaited: bool,
        return_exceptions: bool = False,
    ) -> None:
        self._runnable = runnable
        self._items = items
        self._options = trigger_options(options)
        self._is_awaited = awaited
        self._return_exceptions = return_exceptions
        super().__init__(3)

    def issue(self, execution: Execution) -> BodyFuture:
        runnable = self._runnable
        members = members_of(runnable.signature.encode_payload, self._items, self._options)
        digest = _digest(members, (self._is_awaited, self._return_exceptions))
        recorded = execution.next_recorded()
        ordinal = execution.number(self, "batch", runnable.id, digest)
        has_keys = any(is_keyed(options) for _, options in members)
        if recorded is not None and recorded.data is not None:
            batch_id = recorded.data
        else:
            run = execution.run
            batch_id = derived_id(execution.now, run.id, run.chapter, ordinal)
            execution.decide(
                TriggerBatch(
                    ordinal,
                    batch_id,
                    runnable.id,
                    digest,
                    [(payload, with_defaults(runnable.settings, own)) for payload, own in members],
                    has_keys,
                    self._is_awaited,
                    self._return_exceptions,
                )
            )
        run_ids = member_ids(batch_id, range(len(members)))
        if self._is_awaited:
            settle = settle_batch
        elif has_keys:
            settle = self._settle_started
        else:
            settle = None
        if settle is None or not members:
            ready = execution.loop.create_future()
            handles = _handles(runnable, run_ids, {})
            ready.set_result([] if self._is_awaited else self._handle(batch_id, handles))
            return ready
        future = _open(execution, ordinal, settle, run_ids, runnable.id)
        future.child = batch_id
        future.decode = runnable.signature.decode_result
        future.return_exceptions = self._return_exceptions
        future.strict = {
            place
            for place, (_, options) in enumerate(members)
            if options.get("on_conflict") == "raise"
        }
        if self._is_awaited:
            future.on_cancel = _give_up
        execution.waits[ordinal] = Kind.BATCH_ENDED if self._is_awaited else Kind.BATCH_STARTED
        return future

    def _settle_started(self, execution: Execution, future: OperationFuture, event: Event) -> None:
        """BATCH_STARTED: which runs they are."""
        batch = cast("BatchFuture", future)
        cached = take_cached(batch, event)
        if _refuse(execution, batch, cached):
            return
        handles = _handles(self._runnable, batch.run_ids, cached)
        future.set_result(self._handle(batch.child, handles))

    def _handle(self, batch_id: bytes, handles: list[RunHandle[Any]]) -> BatchHandle[Any]:
        runnable = self._runnable
        return BatchHandle(batch_id, runnable.id, runnable.signature.decode_result, handles)

    def call_in(self, step: StepCaller) -> Begun[Any]:
        runnable = self._runnable
        if self._is_awaited:
            raise cannot_wait(f"runs of {runnable.id}", f"{runnable.__name__}.batch_trigger(…)")
        connection = self._options.get("connection")
        shared = {name: value for name, value in self._options.items() if name != "connection"}
        members = [
            (payload, with_defaults(runnable.settings, own))
            for payload, own in members_of(runnable.signature.encode_payload, self._items, shared)
        ]
        return step.batch_trigger(runnable, members, connection)

    def just_do(self) -> Coroutine[Any, Any, Any]:
        outside = import_module("wf.client.outside")
        return outside.batch_outside(
            self._runnable,
            self._items,
            self._options,
            awaited=self._is_awaited,
            return_exceptions=self._return_exceptions,
        )


class ResultsOf(Operation[list[T]]):
    """Wait for the runs of a batch that was triggered before."""

    __slots__ = ("_batch", "_return_exceptions")
    verb = "results"

    def __init__(self, batch: BatchHandle[T], *, return_exceptions: bool) -> None:
        self._batch = batch
        self._return_exceptions = return_exceptions
        super().__init__(3)

    def issue(self, execution: Execution) -> BodyFuture:
        batch, kept = self._batch, self._return_exceptions
        recorded = execution.next_recorded()
        ordinal = execution.number(self, "results", "", int(kept))
        run_ids = [handle.raw_id for handle in batch]
        if recorded is None:
            execution.decide(AwaitBatch(ordinal, batch.raw_id, run_ids, kept))
        if not run_ids:
            ready = execution.loop.create_future()
            ready.set_result([])
            return ready
        future = _open(execution, ordinal, settle_batch, run_ids, batch.task)
        future.decode = batch.decode
        future.return_exceptions = kept
        execution.waits[ordinal] = Kind.BATCH_ENDED
        return future

    def begin_in(self, step: StepCaller) -> bool:
        raise cannot_wait(f"the results of {self._batch!r}")

    def outside(self) -> Coroutine[Any, Any, list[T]]:
        if self._batch.outside is None:
            return super().outside()
        return self._batch.outside(self._batch, self._return_exceptions)


_SEPARATOR: Final = b"\0"


def _digest(members: Sequence[Member], how: tuple[bool, bool]) -> int:
    """Of all payloads and options, and how the batch is waited for."""
    parts = [repr(how).encode()]
    for payload, options in members:
        parts.append(payload)
        parts.append(json.dumps(options, sort_keys=True).encode() if options else b"")
    return digest_of(_SEPARATOR.join(parts))


def _handles(
    runnable: Runnable[..., Any], run_ids: Sequence[bytes], cached: dict[int, int]
) -> list[RunHandle[Any]]:
    decode = runnable.signature.decode_result
    return [
        RunHandle(
            run_id,
            runnable.id,
            decode,
            is_cached=place in cached,
            payload_differs=cached.get(place, 0) > 1,
        )
        for place, run_id in enumerate(run_ids)
    ]


def _open(
    execution: Execution,
    ordinal: int,
    settle: Callable[[Execution, OperationFuture, Event], None],
    run_ids: list[bytes],
    task: str,
) -> BatchFuture:
    future = BatchFuture(loop=execution.loop)
    future.on_cancel = None
    future.ordinal = ordinal
    future.settle = settle
    future.run_ids = run_ids
    future.task = task
    future.not_ours = set()
    future.ends = {}
    future.strict = set()
    execution.open[ordinal] = future
    return future


def take_cached(future: BatchFuture, event: Event) -> dict[int, int]:
    """What BATCH_STARTED says: place → how, of the runs that were there before."""
    cached: dict[int, int] = {}
    for place, shown, how in json.loads(event.data or b"[]"):
        future.run_ids[place] = parse("run", shown)
        cached[place] = how
    future.not_ours |= set(cached)
    return cached


def _refuse(execution: Execution, future: BatchFuture, cached: dict[int, int]) -> bool:
    """A key is taken by another payload, and that was to be an error: the runs of the batch that
    were made are canceled."""
    wrong = sorted(place for place in future.strict if cached.get(place) == DIFFERS)
    if not wrong:
        return False
    for place, run_id in enumerate(future.run_ids):
        if place not in cached:
            execution.decide(CancelRun(run_id))
    future.on_cancel = None
    future.set_exception(conflict(future.task, future.run_ids[wrong[0]]))
    return True


def settle_batch(execution: Execution, waiting: OperationFuture, event: Event) -> None:
    """BATCH_STARTED, then BATCH_ENDED page by page."""
    future = cast("BatchFuture", waiting)
    execution.open[future.ordinal] = future
    if event.kind == Kind.BATCH_STARTED:
        if _refuse(execution, future, take_cached(future, event)):
            del execution.open[future.ordinal]
        return
    for end in ends_of(event.data):
        future.ends[end.place] = end
        if future.fails_by(end.status) and not future.done():
            execution.issued_when[event.ordinal] = execution.ordinal
            future.set_exception(_error(future, end))
    if future.missing:
        return
    del execution.open[future.ordinal]
    if future.done():
        return
    execution.issued_when[event.ordinal] = execution.ordinal
    try:
        future.set_result([_outcome(future, place) for place in range(len(future.run_ids))])
    except Exception as error:
        future.set_exception(error)


def _outcome(future: BatchFuture, place: int) -> Any:
    end = future.ends[place]
    if end.status == Status.COMPLETED:
        return future.decode(end.data)
    return _error(future, end)


def _error(future: BatchFuture, end: End) -> RunError:
    run_id = future.run_ids[end.place]
    return run_error(end.status, end.data, run_id, future.task, future.ordinal)


def _give_up(execution: Execution, waiting: OperationFuture) -> bool:
    """Nobody waits any more: what this run started for it, and has not ended, is canceled."""
    future = cast("BatchFuture", waiting)
    if not execution.is_closing and future.on_cancel is not None:
        for place, run_id in enumerate(future.run_ids):
            if place not in future.ends and place not in future.not_ours:
                execution.decide(CancelRun(run_id))
    return False
