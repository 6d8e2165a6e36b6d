"""Where steps run: async ones on one shared asyncio loop in a thread of its own, sync ones in
daemon threads."""

from __future__ import annotations

import asyncio
import inspect
import logging
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from functools import partial
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct, field
from msgspec.structs import replace

from wf.engine.attempts import StepOutcome
from wf.engine.author import StepCallInfo, step_call
from wf.engine.core.operation import calling_step
from wf.engine.core.runnable import THREAD, Runnable
from wf.engine.debugging import standstill
from wf.engine.limits import Limits, Seconds
from wf.engine.middleware import call_async, call_sync
from wf.engine.notebook import Page
from wf.engine.transaction import commit, commit_async, roll_back, roll_back_async
from wf.engine.triggering import StepRuns

if TYPE_CHECKING:
    from wf.engine.executors import Executors
    from wf.engine.middleware import Middleware
    from wf.engine.notebook import Notebook

log = logging.getLogger("wf.worker")

STOP_SECONDS: Final = 2.0
"""How long `stop` waits for the loop of async steps: one that blocks it cannot be interrupted."""
MAX_THREADS: Final = 64
"""Sync steps at once in one process. They wait for I/O; more threads only cost memory."""


class StepOrder(Struct, eq=False):
    """One attempt of a step, to be run."""

    run_id: bytes
    ordinal: int
    runnable: Runnable[..., Any]
    arguments: bytes
    info: StepCallInfo
    timeout_ms: int = 0
    task: asyncio.Task[Any] | None = None
    ending: threading.Lock = field(default_factory=threading.Lock)
    stop: Callable[[], object] | None = None
    """How to end it where it runs; None: it runs in this process, or not yet."""
    page: Page | None = None
    """Where it notes what is to be written while it runs."""
    around: Sequence[Middleware] = ()

    def claim_end(self) -> bool:
        """Say how it ends: to be asked by a step before it commits, and by who gives it up. True
        for the first."""
        return self.ending.acquire(blocking=False)


Deliver = Callable[[StepOrder, StepOutcome], None]
"""Called from any thread when an order is done."""


class StepRunner(Protocol):
    def start(self, orders: Iterable[StepOrder]) -> None: ...
    def cancel(self, order: StepOrder) -> None:
        """Async steps, and those in processes, get a CancelledError; sync ones are told
        (`wf.current().cancel_requested`)."""
        ...

    def stop(self) -> None: ...


class Threads:
    """Daemon threads, at most so many, made when they are needed; `run` does an order in one."""

    def __init__(self, limit: int, run: Callable[[StepOrder], None], name: str) -> None:
        self._limit = limit
        self._run = run
        self._name = name
        self._orders: SimpleQueue[StepOrder | None] = SimpleQueue()
        self._threads = 0
        self._free = 0
        """Threads that have no order, less the orders that no thread has taken."""
        self._lock = threading.Lock()

    def start(self, order: StepOrder) -> None:
        with self._lock:
            if self._free <= 0 and self._threads < self._limit:
                self._threads += 1
                self._free += 1
                threading.Thread(target=self._work, name=self._name, daemon=True).start()
            self._free -= 1
            self._orders.put(order)

    def stop(self) -> None:
        """Those that are idle end; the others do, when their order is done."""
        with self._lock:
            self._free -= self._threads
            for _ in range(self._threads):
                self._orders.put(None)

    def _work(self) -> None:
        while (order := self._orders.get()) is not None:
            self._run(order)
            with self._lock:
                self._free += 1
        with self._lock:
            self._threads -= 1


class Steps:
    """The StepRunner of a real worker. `executors`: where steps run that name one; `notebook`: for
    the notes of all."""

    def __init__(
        self,
        deliver: Deliver,
        executors: Executors,
        notebook: Notebook,
        around: Sequence[Middleware] = (),
    ) -> None:
        self._around = around
        self._deliver = deliver
        self._executors = executors
        self._notebook = notebook
        self._loop: asyncio.AbstractEventLoop | None = None
        self._loop_thread: threading.Thread | None = None
        self._limits: Limits | None = None
        self._threads = Threads(MAX_THREADS, self._run, "wf-step")
        standstill.count()

    def start(self, orders: Iterable[StepOrder]) -> None:
        for_loop: list[StepOrder] = []
        for order in orders:
            give_page(order, self._notebook)
            order.around = self._around
            if order.runnable.settings.executor != THREAD:
                self._executors.start(order)
            elif order.runnable.is_async:
                for_loop.append(order)
            else:
                self._threads.start(order)
        if for_loop:
            self._running_loop().call_soon_threadsafe(self._start_in_loop, for_loop)

    def call(self, function: Callable[[], object]) -> None:
        """Call it here, and see a coroutine to its end where async steps will run."""
        told = function()
        if inspect.iscoroutine(told):
            loop = self._running_loop()
            asyncio.run_coroutine_threadsafe(told, loop).result()

    def cancel(self, order: StepOrder) -> None:
        order.info.is_canceled = True
        if order.stop is not None:
            order.stop()
        elif self._loop is not None and order.runnable.is_async:
            self._loop.call_soon_threadsafe(cancel_async, order)

    def stop(self) -> None:
        """Let go of everything: async steps are canceled, sync ones are left to their daemon
        threads."""
        self._threads.stop()
        self._executors.stop()
        if self._loop is not None:
            loop, thread = self._loop, self._loop_thread
            loop.call_soon_threadsafe(loop.stop)
            if thread is not None and thread is not threading.current_thread():
                thread.join(STOP_SECONDS)
                if thread.is_alive():
                    log.warning("an async step blocks the loop of all steps: it is left behind")
            self._loop = None

    def _run(self, order: StepOrder) -> None:
        self._deliver(order, copy_context().run(run_sync, order))

    # -- async

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._limits = Limits(self._loop)
            self._loop_thread = threading.Thread(
                target=self._run_loop, args=(self._loop,), name="wf-steps", daemon=True
            )
            self._loop_thread.start()
        return self._loop

    @staticmethod
    def _run_loop(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_forever()
            left = asyncio.all_tasks(loop)
            for task in left:
                task.cancel()
            if left:
                loop.run_until_complete(asyncio.wait(left, timeout=1))
        finally:
            loop.close()

    def _start_in_loop(self, orders: list[StepOrder]) -> None:
        assert self._limits is not None
        start_async(orders, self._deliver, self._limits)


def give_page(order: StepOrder, notebook: Notebook) -> None:
    order.page = order.info.pad = Page(notebook, order.run_id)


def finish(deliver: Deliver, order: StepOrder, outcome: StepOutcome) -> None:
    """Deliver an outcome, with the notes that are not written yet."""
    page = order.page
    if page is None or not page.is_used:
        deliver(order, outcome)
    else:
        page.close(lambda notes: deliver(order, replace(outcome, notes=[*notes, *outcome.notes])))


def start_async(orders: list[StepOrder], deliver: Deliver, limits: Limits) -> None:
    """Run async steps on the loop of these. Each is delivered however it ends; to be stopped by
    `cancel_async`."""
    loop = limits.loop
    tasks = [loop.create_task(_run_to_deliver(order, deliver, limits)) for order in orders]

    def look() -> None:
        """Each task has had its first turn. One that another step has canceled before that is
        over, and its coroutine never began."""
        for order, task in zip(orders, tasks, strict=True):
            if task.cancelled():
                deliver(order, canceled(order))

    loop.call_soon(look)


async def _run_to_deliver(order: StepOrder, deliver: Deliver, limits: Limits) -> None:
    try:
        if order.info.is_canceled:
            outcome = canceled(order)
        else:
            outcome = await run_async(order, limits)
    except asyncio.CancelledError:
        outcome = canceled(order)
    order.task = None
    deliver(order, outcome)


def cancel_async(order: StepOrder) -> None:
    """(On its loop.) One that has not begun sees for itself that it was canceled."""
    if order.task is not None:
        order.task.cancel()


def canceled(order: StepOrder) -> StepOutcome:
    """The outcome of an attempt that was canceled before it began."""
    return StepOutcome(order.ordinal, None, asyncio.CancelledError(), 0)


async def run_async(order: StepOrder, limits: Limits) -> StepOutcome:
    """Run an async step here, in a task of its own."""
    seconds = limits.seconds
    begun = seconds()
    task = order.task = asyncio.current_task(limits.loop)
    assert task is not None
    runs = _enter(order, limits.loop)
    data: bytes | None = None
    failed: BaseException | None = None
    timed_out = is_recorded = False
    signature = order.runnable.signature
    try:
        args, kwargs = signature.decode_call(order.arguments)
        if order.around:
            call = call_async(order.around, partial(order.runnable.fn, *args, **kwargs))
        else:
            call = order.runnable.fn(*args, **kwargs)
        if order.timeout_ms:
            limit = limits.of(order.timeout_ms)
            limit.begin(task, begun)
            try:
                value = await call
            finally:
                timed_out = limit.end(task)
        else:
            value = await call
        data = signature.encode_result(value)
        if runs.are_under_way and (untold := await runs.settle()) is not None:
            raise untold
        if order.info.transaction is not None:
            is_recorded = await commit_async(order, data, _since(begun, seconds))
    except BaseException as error:
        if runs.are_under_way:
            await runs.settle()
        failed = await roll_back_async(order, error)
        data, failed = None, timeout_error(order) if timed_out else failed
    return StepOutcome(order.ordinal, data, failed, _since(begun, seconds), timed_out, is_recorded)


def run_sync(order: StepOrder, seconds: Seconds = time.monotonic) -> StepOutcome:
    """Run a sync step here. One that returns after its timeout has timed out: it could not be
    interrupted."""
    info = order.info
    if info.is_canceled:
        return canceled(order)
    begun = seconds()
    if order.timeout_ms:
        info.stood_at_start = standstill.seconds
        info.deadline = begun + order.timeout_ms / 1_000
    _enter(order)
    data: bytes | None = None
    failed: BaseException | None = None
    timed_out = is_recorded = False
    signature = order.runnable.signature
    try:
        args, kwargs = signature.decode_call(order.arguments)
        call = partial(order.runnable.fn, *args, **kwargs)
        value = call_sync(order.around, call) if order.around else call()
        data = signature.encode_result(value)
        timed_out = info.is_late(seconds())
        if timed_out:
            raise timeout_error(order)
        is_recorded = commit(order, data, _since(begun, seconds))
    except BaseException as error:
        timed_out = timed_out or info.is_late(seconds())
        failed = roll_back(order, error)
        data, failed = None, timeout_error(order) if timed_out else failed
    return StepOutcome(order.ordinal, data, failed, _since(begun, seconds), timed_out, is_recorded)


def _enter(order: StepOrder, loop: asyncio.AbstractEventLoop | None = None) -> StepRuns:
    """What the code of the step finds in its context. `loop`: of an async step."""
    runs = StepRuns(order.info, loop)
    step_call.set(order.info)
    calling_step.set(runs)
    return runs


def _since(begun: float, seconds: Seconds) -> int:
    return round((seconds() - begun) * 1_000)


def timeout_error(order: StepOrder) -> TimeoutError:
    return TimeoutError(f"{order.runnable.id} ran longer than its timeout of {order.timeout_ms} ms")
