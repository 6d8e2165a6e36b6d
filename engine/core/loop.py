"""The loop under a body: asyncio's scheduler without a world.

One `BodyLoop` per live run. It is a ready queue and nothing else: no selector, no clock, no
threads. Time is the time of the fact that is being delivered; `call_later` is a durable timer of
the run. What asyncio schedules it runs in the order in which it was scheduled, so a body that is
given the same facts does the same things.

Where asyncio itself would let the order depend on addresses or on global counters, the loop takes
that away:
- `asyncio.wait`, `as_completed` and a TaskGroup's abort walk sets of tasks and futures; those of
  this loop hash by (run, number) instead of by address. A bare number would collide across runs in
  asyncio's global weak set of tasks.
- task names count per run, not per process.
- async generators that are given up are closed in the order in which they began, when the body
  ends, and not when the collector finds them.

Anything else asked of the loop (sockets, executors, subprocesses, signals) raises NotDeterministic.
"""

from __future__ import annotations

import asyncio
import sys
import weakref
from asyncio import events
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextvars import Context, copy_context
from typing import Any, Final, NoReturn, Protocol, TypeVar, cast

from msgspec import Struct

from wf.engine.core.durations import MAX_DURATION_MS
from wf.history.errors import BodyBlocked, DeclarationError, NotDeterministic, StepBudgetExceeded

T = TypeVar("T")

_running_loop: Final = events._get_running_loop  # pyright: ignore[reportPrivateUsage]
_set_running_loop: Final = events._set_running_loop  # pyright: ignore[reportPrivateUsage]

STEP_BUDGET: Final = 1_000_000
"""Callbacks in one drain. A body that schedules more without waiting for an operation is caught in
a circle."""
IDLE_CHECK: Final = 10_000
"""Callbacks in one drain after which, each time, it is looked whether they are all mere polling."""
TASKS_KEPT: Final = 64
"""Tasks that a loop remembers before it forgets those that are done."""
_HASH_STRIDE: Final = 0x9E3779B1
_HASH_MASK: Final = (1 << 60) - 1


class Handle(Struct, eq=False):
    """A scheduled callback.

    What asyncio asks of `Handle` and `TimerHandle`: cancel, cancelled, when.
    """

    callback: Callable[..., object]
    args: tuple[Any, ...]
    context: Context
    is_cancelled: bool = False
    on_cancel: Callable[[], None] | None = None
    due: float = 0.0

    def cancel(self) -> None:
        if not self.is_cancelled:
            self.is_cancelled = True
            if self.on_cancel is not None:
                self.on_cancel()

    def cancelled(self) -> bool:
        return self.is_cancelled

    def when(self) -> float:
        return self.due


class BodyFuture(asyncio.Future[Any]):
    """A future of a body: hashes by (run, number).

    The number is given at the first use in a set.
    """

    _hash = 0

    def __hash__(self) -> int:
        if not self._hash:
            loop: BodyLoop = self.get_loop()  # type: ignore[assignment]
            self._hash = loop.next_hash()
        return self._hash


class BodyTask(asyncio.Task[T]):
    """A task of a body: hashes by (run, number)."""

    __slots__ = ("_hash",)

    def __init__(
        self,
        coro: Generator[Any, None, T] | Coroutine[Any, Any, T],
        loop: BodyLoop,
        name: str | None,
        context: Context | None,
    ) -> None:
        self._hash = loop.next_hash()
        super().__init__(coro, loop=loop, name=name or f"task-{loop.count}", context=context)
        loop.remember(self)

    def __hash__(self) -> int:
        return self._hash


class Scheduled(Protocol):
    """What `create_task` numbers at once: an operation."""

    def schedule(self) -> None: ...


class Timers(Protocol):
    """What the loop asks of the execution that it belongs to."""

    now: int

    @property
    def title(self) -> str: ...
    def open_loop_timer(self, delay_ms: int, handle: Handle) -> None: ...
    def report(self, context: dict[str, Any]) -> None: ...


class BodyLoop(asyncio.AbstractEventLoop):
    """See the module. `execution` is told of timers; `salt` makes hashes differ between runs."""

    def __init__(self, execution: Timers, salt: int, schedulable: type[Scheduled]) -> None:
        self.execution = execution
        self.ready: deque[Handle] = deque()
        self.count = 0
        self._salt = salt
        self._schedulable = schedulable
        self._closed = False
        self._stopped = False
        self._halted = False
        self._tasks: list[BodyTask[Any]] = []
        """Held: one that waits for what nobody else holds is no collector's, whose moment is none
        of the body's."""
        self._tasks_kept = TASKS_KEPT
        self._generators: weakref.WeakValueDictionary[int, AsyncGenerator[Any, Any]] | None = None
        """Made for the first one: most bodies have none, and it is dear."""
        self._given_up: dict[int, AsyncGenerator[Any, Any]] = {}
        self._generator_numbers: dict[int, int] = {}

    def next_hash(self) -> int:
        self.count += 1
        return (self._salt + self.count * _HASH_STRIDE) & _HASH_MASK

    def remember(self, task: BodyTask[Any]) -> None:
        self._tasks.append(task)
        if len(self._tasks) > self._tasks_kept:
            self._tasks = self.tasks()
            self._tasks_kept = TASKS_KEPT + 2 * len(self._tasks)

    # -- running

    def drain(self, budget: int = STEP_BUDGET) -> None:
        """Run until nothing is ready, or until `stop_now`. Inside `with loop:`. `budget`: of
        callbacks, a multiple of IDLE_CHECK.

        Raises StepBudgetExceeded, and BodyBlocked where it was halted; what callbacks raise goes to
        the exception handler, as in asyncio, except for SystemExit and KeyboardInterrupt, which end
        the task that raised them.
        """
        ready = self.ready
        left = IDLE_CHECK
        polls: list[Callable[..., object]] = []
        while ready and not self._stopped:
            handle = ready.popleft()
            if handle.is_cancelled:
                continue
            try:
                handle.context.run(handle.callback, *handle.args)
            except (SystemExit, KeyboardInterrupt):
                pass
            except BaseException as error:
                self.call_exception_handler({"message": "a callback raised", "exception": error})
            left -= 1
            if not left:
                budget -= IDLE_CHECK
                if budget <= 0:
                    raise StepBudgetExceeded(
                        f"the body of {self.execution.title} ran on and on without waiting for "
                        "an operation: await a step or a timer in its loop"
                    )
                left = IDLE_CHECK
                before, polls = polls, self._polls()
                if polls and len(polls) == len(before) and all(one in before for one in polls):
                    return
        if self._halted:
            raise BodyBlocked(f"the body of {self.execution.title} was halted")

    def _polls(self) -> list[Callable[..., object]]:
        """What is ready, where no task is among it. Where that is the same as thousands of
        callbacks ago, it only puts itself back: it stays queued until the next fact.

        anyio's cancel scopes do so while a task that they cancel waits for its step to end.
        """
        callbacks = [handle.callback for handle in self.ready if not handle.is_cancelled]
        if any(isinstance(getattr(one, "__self__", None), asyncio.Task) for one in callbacks):
            return []
        return callbacks

    def __enter__(self) -> None:
        """Be the running loop of this thread, which may have another one (a body is activated from
        synchronous code)."""
        self._outer_loop = _running_loop()
        self._outer_hooks = sys.get_asyncgen_hooks()
        _set_running_loop(self)
        sys.set_asyncgen_hooks(self._generator_begins, self._generator_given_up)

    def __exit__(self, *error: object) -> None:
        sys.set_asyncgen_hooks(*self._outer_hooks)
        _set_running_loop(self._outer_loop)

    def stop_now(self) -> None:
        """Run nothing more: the body is in a state that must not go on."""
        self._stopped = True

    def halt(self) -> None:
        """(From any thread.) What it runs now is the last, and then `drain` raises BodyBlocked."""
        self._stopped = self._halted = True

    def go_on(self) -> None:
        self._stopped = self._halted = False

    def _generator_begins(self, generator: AsyncGenerator[Any, Any]) -> None:
        self.count += 1
        if self._generators is None:
            self._generators = weakref.WeakValueDictionary()
        self._generators[self.count] = generator
        self._generator_numbers[id(generator)] = self.count

    def _generator_given_up(self, generator: AsyncGenerator[Any, Any]) -> None:
        # The collector has cleared its weak references by now: its number is known by its address.
        self._given_up[self._generator_numbers[id(generator)]] = generator

    async def close_generators(self) -> None:
        """Close those that were given up or are still open, in the order in which they began."""
        if self._generators is None:
            return
        left = self._given_up | dict(self._generators)
        self._given_up = {}
        last: BaseException | None = None
        for _, generator in sorted(left.items()):
            try:
                await generator.aclose()
            except Exception as error:
                self.call_exception_handler(
                    {"message": "closing an async generator raised", "exception": error}
                )
            except BaseException as error:
                last = error
        if last is not None:
            raise last

    def tasks(self) -> list[BodyTask[Any]]:
        """Those that are not done, in the order in which they were made."""
        return [task for task in self._tasks if not task.done()]

    # -- what asyncio asks

    def call_soon(
        self, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> Any:
        handle = Handle(callback, args, context if context is not None else copy_context())
        self.ready.append(handle)
        return handle

    def call_later(
        self,
        delay: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Any:
        handle = Handle(callback, args, context if context is not None else copy_context())
        delay_ms = round(delay * 1_000)
        if delay_ms > MAX_DURATION_MS:
            raise DeclarationError(f"a timer of {delay} s: give a duration below 100 years")
        handle.due = (self.execution.now + delay_ms) / 1_000
        if delay_ms <= 0:
            self.ready.append(handle)
        else:
            self.execution.open_loop_timer(delay_ms, handle)
        return handle

    def call_at(
        self,
        when: float,
        callback: Callable[..., object],
        *args: Any,
        context: Context | None = None,
    ) -> Any:
        return self.call_later(when - self.time(), callback, *args, context=context)

    def time(self) -> float:
        return self.execution.now / 1_000

    def create_future(self) -> BodyFuture:
        return BodyFuture(loop=self)

    def create_task(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        coro: Any,
        *,
        name: str | None = None,
        context: Context | None = None,
        eager_start: bool | None = None,
    ) -> BodyTask[Any]:
        if eager_start:
            raise NotDeterministic("eager_start has no place in a task body: leave it out")
        if isinstance(coro, self._schedulable):
            coro.schedule()
        return BodyTask[Any](cast("Any", coro), self, name, context)

    def get_debug(self) -> bool:
        return False

    def set_debug(self, enabled: bool) -> None:
        pass

    def is_running(self) -> bool:
        return not self._closed

    def is_closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        self._closed = True
        self._tasks = self.tasks()

    def get_task_factory(self) -> None:
        return None

    def get_exception_handler(self) -> None:
        return None

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self.execution.report(context)

    def default_exception_handler(self, context: dict[str, Any]) -> None:
        self.execution.report(context)

    async def shutdown_asyncgens(self) -> None:
        pass

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:
        pass


_THREADS = (
    "it runs outside the history; move it into `@wf.step def …` (a plain def runs in a thread)"
)
_WORLD = "it touches the world; move it into `@wf.step async def …` and await that"
_SCHEDULE = "it would act outside the history; await an operation instead"
_REFUSED: Final = {
    **dict.fromkeys(["run_in_executor", "set_default_executor", "call_soon_threadsafe"], _THREADS),
    **dict.fromkeys(
        [
            *("create_connection", "create_server", "create_unix_connection", "create_unix_server"),
            *("create_datagram_endpoint", "connect_accepted_socket", "connect_read_pipe"),
            *(
                "connect_write_pipe",
                "subprocess_shell",
                "subprocess_exec",
                "getaddrinfo",
                "getnameinfo",
            ),
            *("sock_recv", "sock_recv_into", "sock_recvfrom", "sock_recvfrom_into", "sock_sendall"),
            *(
                "sock_sendto",
                "sock_connect",
                "sock_accept",
                "sock_sendfile",
                "sendfile",
                "start_tls",
            ),
            *("add_reader", "remove_reader", "add_writer", "remove_writer"),
            *("add_signal_handler", "remove_signal_handler"),
        ],
        _WORLD,
    ),
    **dict.fromkeys(
        ["run_forever", "run_until_complete", "stop", "set_task_factory", "set_exception_handler"],
        _SCHEDULE,
    ),
}


def _refuse(name: str, why: str) -> Callable[..., NoReturn]:
    def refused(self: BodyLoop, *args: Any, **kwargs: Any) -> NoReturn:
        raise NotDeterministic(f"a task body called loop.{name}: {why}")

    refused.__name__ = name
    return refused


for _name, _why in _REFUSED.items():
    setattr(BodyLoop, _name, _refuse(_name, _why))
