"""A StepRunner without threads: steps run when the test says so, in virtual time. Their notes leave
when it says so, too (`notebook.flush`).

`start` only remembers. `run_one` begins or ends one thing that is possible now, drawn from a seed;
`next_at` says when there will be something. A sync step runs in one go and its result arrives
later; an async one runs on a loop whose time is virtual. Thrown away at any moment, the runner
leaves what a dead process leaves: effects without results.
"""

from __future__ import annotations

import asyncio
import selectors
from asyncio import events
from collections.abc import Callable, Iterable, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from functools import partial
from math import ceil
from random import Random
from typing import Any, cast

from wf.engine.attempts import StepOutcome
from wf.engine.limits import Limits
from wf.engine.middleware import Middleware
from wf.engine.notebook import Notebook
from wf.engine.steps import (
    Deliver,
    StepOrder,
    cancel_async,
    canceled,
    finish,
    give_page,
    run_sync,
    start_async,
)
from wf.testing.clock import VirtualClock
from wf.testing.watched import Cut


class VirtualLoop(asyncio.SelectorEventLoop):
    """An asyncio loop that never waits: `pump` runs what is due at the time of the clock."""

    def __init__(self, clock: VirtualClock) -> None:
        self._clock = clock
        self._begin = clock.now()
        self._whens: list[asyncio.TimerHandle] = []
        super().__init__()

    def time(self) -> float:
        """Counted from the loop's beginning, and a little late, so that what is due at a whole
        millisecond is due however floats are rounded."""
        return (self._clock.now() - self._begin) / 1_000 + 1e-6

    def call_at(
        self, when: float, callback: Callable[..., object], *args: Any, context: Any = None
    ) -> asyncio.TimerHandle:
        handle = super().call_at(when, callback, *args, context=context)
        self._whens.append(handle)
        return handle

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """Here and now: what happens does not hang on threads."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except BaseException as error:
            future.set_exception(error)
        return future

    def pump(self) -> None:
        """Until nothing is ready at this time. The loop of another process may be running: that
        one is in a call, and this one goes on meanwhile."""
        outer = events._get_running_loop()  # pyright: ignore[reportPrivateUsage]
        events._set_running_loop(None)  # pyright: ignore[reportPrivateUsage]
        try:
            is_ready = True
            while is_ready:
                self.call_soon(self.stop)
                self.run_forever()
                is_ready = bool(getattr(self, "_ready", ()))
        finally:
            events._set_running_loop(outer)  # pyright: ignore[reportPrivateUsage]

    def wait_io(self, seconds: float) -> bool:
        """Wait, really, where something of the world outside is waited for. True: it came."""
        selector: selectors.BaseSelector = cast("Any", self)._selector
        has_files = len(selector.get_map()) > 1  # one is the loop's own
        return has_files and bool(selector.select(seconds))

    def next_at(self) -> int | None:
        """When the next timer is due (ms)."""
        self._whens = [
            one for one in self._whens if not one.cancelled() and one.when() > self.time()
        ]
        whens = [self._begin + ceil(one.when() * 1_000 - 0.01) for one in self._whens]
        return min(whens, default=None)


@dataclass(slots=True)
class Job:
    """An attempt of a step. `outcome` None: it has not begun, or (async) is under way."""

    order: StepOrder
    at: int
    has_begun: bool = False
    outcome: StepOutcome | None = None


class VirtualRunner:
    """See the module. `delay_ms`: how long a step may take to begin, and its result to arrive.
    `before`: called with each attempt as it begins."""

    def __init__(
        self,
        clock: VirtualClock,
        deliver: Deliver,
        random: Random | None = None,
        delay_ms: int = 0,
        notebook: Notebook | None = None,
        before: Callable[[StepOrder], object] | None = None,
        around: Sequence[Middleware] = (),
    ) -> None:
        self._clock = clock
        self._before = before
        self._around = around
        self._deliver: Deliver = partial(finish, deliver)
        self.notebook = notebook
        self._random = random
        self._delay_ms = delay_ms
        self._jobs: list[Job] = []
        self._loop: VirtualLoop | None = None
        self._limits: Limits | None = None

    # -- StepRunner

    def start(self, orders: Iterable[StepOrder]) -> None:
        for order in orders:
            if self.notebook is not None:
                give_page(order, self.notebook)
            order.around = self._around
            self._jobs.append(Job(order, self._later()))

    def cancel(self, order: StepOrder) -> None:
        order.info.is_canceled = True
        cancel_async(order)

    def stop(self) -> None:
        """The process is gone: nothing is delivered any more."""
        self._jobs.clear()
        loop, self._loop = self._loop, None
        if loop is not None:
            try:
                for task in asyncio.all_tasks(loop):
                    task.cancel()
                loop.pump()
            finally:
                loop.close()

    # -- the test

    def next_at(self) -> int | None:
        """When something can be done (ms); None: nothing is under way."""
        times = [job.at for job in self._jobs if job.outcome is not None or not job.has_begun]
        if self._loop is not None and self._limits is not None:
            self._limits.rest()
            timer = self._loop.next_at()
            if timer is not None:
                times.append(timer)
        return min(times, default=None)

    def run_one(self) -> bool:
        """Begin a step, or hand in a result. False: nothing is possible now. Raises Cut where the
        process is lost in a step."""
        pumped = self._loop is not None and self._pump()
        possible = self.possible()
        if not possible:
            return pumped
        self.do(self._random.choice(possible) if self._random else possible[0])
        return True

    def possible(self) -> list[Job]:
        """What can begin now, and results that can be handed in, in the order in which they were
        asked for."""
        now = self._clock.now()
        return [
            job
            for job in self._jobs
            if job.at <= now and (job.outcome is not None or not job.has_begun)
        ]

    def do(self, job: Job) -> None:
        """One of those that are possible. Raises Cut as `run_one`."""
        if job.outcome is not None:
            self._jobs.remove(job)
            self._deliver(job.order, job.outcome)
        else:
            self._begin(job)

    def pump(self) -> None:
        """Let async steps go on as far as they come now."""
        if self._loop is not None:
            self._pump()

    def run_all(self) -> bool:
        """Until nothing is possible now. True: something was."""
        worked = False
        while self.run_one():
            worked = True
        return worked

    def wait_io(self, seconds: float) -> bool:
        """For sockets and the like of async steps that are under way. True: they can go on."""
        return self._loop is not None and self._loop.wait_io(seconds)

    # -- inside

    def _later(self) -> int:
        delay = self._random.randint(0, self._delay_ms) if self._random and self._delay_ms else 0
        return self._clock.now() + delay

    def _begin(self, job: Job) -> None:
        job.has_begun = True
        order = job.order
        if order.info.is_canceled:
            self._finish(job, canceled(order))
            return
        if self._before is not None:
            self._before(order)
        if order.runnable.is_async:
            if self._loop is None or self._limits is None:
                self._loop = VirtualLoop(self._clock)
                self._limits = Limits(self._loop, self._clock.seconds)
            done: Deliver = lambda _, outcome: self._finish(job, outcome)  # noqa: E731
            start_async([order], done, self._limits)
            self._pump()
        else:
            self._finish(job, copy_context().run(run_sync, order, self._clock.seconds))
            self._check_cut(job)

    def _finish(self, job: Job, outcome: StepOutcome) -> None:
        job.outcome = outcome
        job.at = self._later()

    def _check_cut(self, job: Job) -> None:
        if job.outcome is not None and isinstance(job.outcome.error, Cut):
            raise job.outcome.error

    def _pump(self) -> bool:
        """Let async steps go on. True: one of them ended."""
        assert self._loop is not None
        waiting = sum(job.outcome is None for job in self._jobs)
        if any(job.has_begun and job.outcome is None for job in self._jobs):
            self._loop.pump()
        for job in self._jobs:
            self._check_cut(job)
        return sum(job.outcome is None for job in self._jobs) < waiting
