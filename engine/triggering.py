"""`trigger` and `batch_trigger` in a step: runs with the step's run as parent, in its store.

A run's id derives from the step (its idempotency key, and when the body asked for it), the task,
the payload, and how many equal ones the attempt had called for before. So a step that is tried
again, or done again after its worker was lost, starts nothing twice, whatever became of the run,
and whether the order of its calls is the same or not.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from msgspec import Struct, field
from msgspec.structs import replace

from wf.engine.core.info import digest_of
from wf.engine.core.operation import calling_step
from wf.engine.core.runs import batch_runs, new_run
from wf.history.errors import Error, NotInStep
from wf.history.ids import derived_id, new_id
from wf.history.model import NewRun, Triggered

if TYPE_CHECKING:
    from wf.client.client import Client
    from wf.engine.author import StepCallInfo
    from wf.engine.core.batches import BatchHandle
    from wf.engine.core.decisions import Member
    from wf.engine.core.handles import RunHandle
    from wf.engine.core.runnable import Runnable

H = TypeVar("H")

Answers = list[tuple[bytes, Triggered]]


class Done(Generic[H]):
    """Runs that are there."""

    is_under_way = True

    def __init__(self, handle: H) -> None:
        self.handle = handle

    def __await__(self) -> Generator[Any, Any, H]:
        yield from ()
        return self.handle


class Later(Generic[H]):
    """Runs that are there when this was awaited. `task` None: they are made then."""

    def __init__(self, make: Callable[[], Coroutine[Any, Any, H]], *, at_once: bool) -> None:
        self.is_under_way = at_once
        self._make = make
        self.task = asyncio.get_running_loop().create_task(make()) if at_once else None
        self.is_awaited = False

    @property
    def handle(self) -> H:
        if self.task is None or not self.task.done():
            raise RuntimeError("in an async step the handle is there when the call was awaited")
        return self.task.result()

    def __await__(self) -> Generator[Any, Any, H]:
        self.is_awaited = True
        if self.task is None:
            self.task = asyncio.get_running_loop().create_task(self._make())
        return asyncio.shield(self.task).__await__()


class _Making(Struct, Generic[H], frozen=True):
    """How runs are made: `new` says which, `told` makes a handle of the store's answers."""

    client: Client
    connection: Any
    new: Callable[[int], list[NewRun]]
    told: Callable[[list[NewRun], Answers], H]

    def now(self) -> H:
        store, runs = self.client.store, self._new()
        if self.connection is None:
            return self.told(runs, store.trigger(runs))
        return self.told(runs, store.trigger_in(self.connection, runs))

    async def later(self) -> H:
        """Without blocking the loop. A caller's connection is used in this thread."""
        if self.connection is None:
            return await asyncio.to_thread(self.now)
        runs = await asyncio.to_thread(self._new)
        store = self.client.store
        return self.told(runs, await store.trigger_in_async(self.connection, runs))

    def _new(self) -> list[NewRun]:
        return self.new(self.client.store.birth_time())


class StepRuns(Struct):
    """The StepCaller of an attempt of a step. `call` None: of a step outside any run, whose runs
    the ambient client makes. `loop`: of an async step."""

    call: StepCallInfo | None
    loop: asyncio.AbstractEventLoop | None = None
    _called: dict[tuple[str, int], int] = {}
    _calling: threading.Lock = field(default_factory=threading.Lock)
    _turn: asyncio.Lock | None = None
    _begun: list[Later[Any]] = []

    def trigger(
        self, runnable: Runnable[..., Any], payload: bytes, options: dict[str, Any]
    ) -> Done[RunHandle[Any]] | Later[RunHandle[Any]]:
        from wf.client.outside import AsyncHandle

        options = dict(options)
        connection = options.pop("connection", None)
        client, identify = self._client(connection), self._ids(runnable.id, payload)
        decode = runnable.signature.decode_result

        def new(now: int) -> list[NewRun]:
            run = new_run(
                *(identify(now), runnable.id, payload, options),
                environment=client.environment,
                now=now,
                parent=self._parent,
            )
            return [run]

        def told(runs: list[NewRun], answers: Answers) -> RunHandle[Any]:
            return AsyncHandle(client, client.handle_of(runs[0], answers[0], decode))

        return self._begin(_Making(client, connection, new, told))

    def batch_trigger(
        self, runnable: Runnable[..., Any], members: Sequence[Member], connection: Any
    ) -> Done[BatchHandle[Any]] | Later[BatchHandle[Any]]:
        from wf.client.batches import Batch
        from wf.client.outside import batch_handle

        payloads = b"\0".join(payload for payload, _ in members)
        client, identify = self._client(connection), self._ids(f"batch/{runnable.id}", payloads)
        decode = runnable.signature.decode_result
        made: list[bytes] = []

        def new(now: int) -> list[NewRun]:
            made.append(identify(now))
            return batch_runs(
                *(runnable.id, members, made[-1]),
                environment=client.environment,
                now=now,
                parent=self._parent,
            )

        def told(runs: list[NewRun], answers: Answers) -> BatchHandle[Any]:
            batch = Batch(client, made[-1], runnable.id, decode, answers)
            return batch_handle(client, batch)

        return self._begin(_Making(client, connection, new, told))

    @property
    def are_under_way(self) -> bool:
        return bool(self._begun)

    async def settle(self) -> BaseException | None:
        """Wait until all that is under way is done; answers what one of them raised that nobody
        awaited. A cancel that comes meanwhile comes too late."""
        tasks = [one.task for one in self._begun if one.task is not None]
        while any(not task.done() for task in tasks):
            with suppress(asyncio.CancelledError):
                await asyncio.wait(tasks)
        errors = [
            error
            for one in self._begun
            if one.task is not None and (error := one.task.exception()) and not one.is_awaited
        ]
        return errors[0] if errors else None

    # -- inside

    @property
    def _parent(self) -> Any:
        return self.call.run if self.call is not None else None

    def _client(self, connection: Any) -> Client:
        call = self.call
        if call is None:
            from wf.client.ambient import client

            return client()
        if call.store is None:
            raise NotInStep(
                "a step that an executor runs has no store, and triggers nothing: "
                "return the payload, and trigger in the body of the task"
            )
        if call.transaction is not None and connection is None:
            raise Error(
                "the step's wf.transaction() is open: give its connection, "
                "trigger(…, connection=conn), or trigger before it"
            )
        from wf.client.client import Client

        return Client(store=call.store, environment=call.run.environment)

    def _ids(self, what: str, data: bytes) -> Callable[[int], bytes]:
        """Which id it will have, by the time at which it is made."""
        call = self.call
        if call is None:
            return new_id
        key = what, digest_of(data)
        with self._calling:
            repeat = self._called[key] = self._called.get(key, -1) + 1
        source = repr((call.idempotency_key, *key, repeat)).encode()
        return lambda now: derived_id(call.asked_at, source, 0, 0)

    def _begin(self, making: _Making[H]) -> Done[H] | Later[H]:
        if self.loop is None or not _is_running(self.loop):
            return Done(making.now())
        if making.connection is not None:
            return Later(making.later, at_once=False)
        self._turn = turn = self._turn or asyncio.Lock()

        async def in_turn() -> H:
            async with turn:
                return await making.later()

        later = Later(in_turn, at_once=True)
        self._begun.append(later)
        return later


async def run_here(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """A step that nobody orchestrates just runs: outside any run, or as a part of the step that
    awaits it."""
    outer = calling_step.get(None)
    is_async = inspect.iscoroutinefunction(fn)
    if isinstance(outer, StepRuns):
        runs = outer if is_async else replace(outer, loop=None)
    else:
        runs = StepRuns(None, asyncio.get_running_loop() if is_async else None)
    before = calling_step.set(runs)
    try:
        result = await fn(*args, **kwargs) if is_async else fn(*args, **kwargs)
    finally:
        calling_step.reset(before)
        untold = await runs.settle()
    if untold is not None:
        raise untold
    return result


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """In this thread, now."""
    with suppress(RuntimeError):
        return asyncio.get_running_loop() is loop
    return False
