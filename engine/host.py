"""A worker at work: one thread that ticks, and wakes when a step comes back, the store hints, or
time has come."""

from __future__ import annotations

import logging
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import partial
from math import inf
from queue import Empty, SimpleQueue
from typing import Final

from wf.engine import machine
from wf.engine.attempts import StepOutcome
from wf.engine.clock import Clock, DatabaseClock
from wf.engine.core.hooks import Init
from wf.engine.core.outcome import text_of
from wf.engine.executors import Executors, check_executors
from wf.engine.flusher import Flusher
from wf.engine.lines import say
from wf.engine.middleware import name_of
from wf.engine.observer import Observer
from wf.engine.registry import Registry
from wf.engine.scheduler import Scheduler
from wf.engine.steps import StepOrder, Steps, finish
from wf.engine.watch import Stage, Watcher
from wf.engine.worker import Worker, WorkerSettings
from wf.history.errors import BodyBlocked, InitFailed, StoreUnavailable
from wf.history.model import WorkerInfo
from wf.history.store import Store

log = logging.getLogger("wf.worker")

STOP_SECONDS: Final = 10.0
"""A graceful stop waits so long for steps that are under way; then their runs are handed over."""
LOOK_SECONDS: Final = 0.25
"""How often it is looked whether a body blocks the worker's thread: it is told of after 2 s."""
BURY_SECONDS: Final = 1.0
"""How often it is looked whether other workers of this machine were killed."""
BACK_OFF_SECONDS: Final = (0.05, 5.0)
"""Between tries while the database is away: from, to."""


class Host:
    """Runs one worker in a thread of its own. `start`, `stop`; `idle` is called when there is
    nothing to do now."""

    def __init__(
        self,
        store: Store,
        registry: Registry,
        settings: WorkerSettings,
        *,
        clock: Clock | None = None,
        observer: Observer | None = None,
        idle: Callable[[Worker], object] | None = None,
    ) -> None:
        check_executors(registry, settings.executors)
        settings.python = settings.python or f"{sys.version_info.major}.{sys.version_info.minor}"
        known = (registry.ids, registry.code, registry.hooked_ends, registry.queues)
        info = WorkerInfo(machine.this_host(), os.getpid(), *known)
        clock = clock or DatabaseClock()
        self.worker = Worker(store, registry, clock, settings, info)
        self._scheduler = (
            Scheduler(store, registry, settings.environment, clock)
            if settings.root is None
            else None
        )
        self._flusher = Flusher(store, clock)
        deliver = partial(finish, self._deliver)
        self.worker.orders.runner = self._steps = Steps(
            deliver,
            Executors(settings.executors, deliver, settings.grace_ms / 1_000),
            self._flusher.notebook,
            settings.middleware,
        )
        self.worker.observer = observer
        self._store = store
        self._idle = idle
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._stop_at: float | None = None
        self._thread = threading.Thread(target=self._run, name="wf-worker", daemon=True)
        self._watcher = Watcher(self.worker.watch, settings.blocked_ms / 1_000, self._beat)
        self._watching = threading.Thread(target=self._watch, name="wf-watch", daemon=True)
        self._has_ended = threading.Event()
        self._beaten_at = 0
        self._others: list[tuple[int, WorkerInfo]] = []
        self._listed_at = self._buried_at = -inf
        self._unlisten: Callable[[], None] | None = None
        self.failure: BaseException | None = None
        """What ended the thread, where it was not `stop`, or why it does not come back."""
        self.trouble: StoreUnavailable | None = None
        """Why the database is out of reach now; None while it is not."""

    def start(self) -> None:
        """Raises InitFailed, and nothing has begun."""
        for init in self.worker.registry.inits:
            self._initialize(init)
        self._unlisten = self._store.listen(self._hint)
        self._watching.start()
        self._thread.start()

    def _initialize(self, init: Init) -> None:
        try:
            self._steps.call(init)
        except Exception as error:
            self._steps.stop()
            *_, last = traceback.extract_tb(error.__traceback__)
            told = f"{type(error).__name__}: {text_of(error)}"
            raise InitFailed(
                f"init ({name_of(init)}, {last.filename}:{last.lineno}) failed, so no run was "
                f"begun: {told}: mend that and start the worker again"
            ) from error

    def stop(self, seconds: float = STOP_SECONDS) -> None:
        """Finish what is under way, at most so long; hand over the rest. May be called again to be
        quicker."""
        self._stop_at = time.monotonic() + seconds
        self._wake.put(None)
        if threading.current_thread() is not self._thread:
            while self._thread.is_alive() and self._watcher.stage is not Stage.GIVEN_UP:
                self._thread.join(LOOK_SECONDS)

    def request_stop(self, seconds: float = STOP_SECONDS) -> None:
        """`stop` without waiting (signal handlers)."""
        self._stop_at = time.monotonic() + seconds
        self._wake.put(None)

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end of the thread. False: it is still at work."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _deliver(self, order: StepOrder, outcome: StepOutcome) -> None:
        self.worker.deliver(order, outcome)
        if self._wake.empty():
            self._wake.put(None)

    def _hint(self) -> None:
        """What a commit of the worker's own tells others, its claim has seen."""
        if threading.current_thread() is self._thread and self.worker.sent is not None:
            return
        self.worker.hint()
        self._wake.put(None)

    def _run(self) -> None:
        try:
            self._tick_until_stopped()
        except BaseException as error:
            self.failure = error
            log.critical(
                "the worker's thread ended: %s: %s", type(error).__name__, error, exc_info=True
            )
        finally:
            if self._unlisten is not None:
                self._unlisten()
            self._steps.stop()
            self._flusher.stop()
            self._has_ended.set()
            self._watching.join(STOP_SECONDS)

    # -- a body that blocks the thread

    def _watch(self) -> None:
        beats = self.worker.settings.beat_ms / 1_000
        while not self._has_ended.wait(min(LOOK_SECONDS, beats / 2)):
            self._watcher.look(time.monotonic())
            if self._watcher.stage is Stage.GIVEN_UP and self.failure is None:
                self.failure = BodyBlocked("a body does not come back: the log tells which one")

    def _beat(self) -> None:
        """For the worker, whose thread is in a body."""
        worker, lease = self.worker, self.worker.lease
        now = worker.clock.monotonic()
        if lease is None or now - max(worker.beaten_at, self._beaten_at) < worker.settings.beat_ms:
            return
        self._beaten_at = now
        try:
            self._store.beat(lease)
        except StoreUnavailable as error:
            say(log, logging.WARNING, "%s; trying again", error)

    # -- the thread

    def _tick_until_stopped(self) -> None:
        worker = self.worker
        delay = 0.0
        while True:
            if self._stop_at is not None:
                worker.is_draining = True
                if not worker.steps_in_flight or time.monotonic() >= self._stop_at:
                    break
            try:
                self._bury()
                worker.tick()
                if self._scheduler is not None and not worker.is_draining:
                    self._scheduler.tick()
                if delay:
                    log.warning("the database is back")
                delay, self.trouble = 0.0, None
            except StoreUnavailable as error:
                self.trouble = error
                if not delay:
                    log.warning("%s; trying again", error)
                delay = min(max(delay * 2, BACK_OFF_SECONDS[0]), BACK_OFF_SECONDS[1])
                self._wait(delay)
                continue
            if self._idle is not None and self._wait_ms():
                self._idle(worker)
            self._wait(self._wait_ms() / 1_000)
        self._leave()

    def _wait_ms(self) -> int:
        """After how long somebody has to be ticked."""
        if self._scheduler is None or self.worker.is_draining:
            return self.worker.wait_ms()
        return min(self.worker.wait_ms(), self._scheduler.wait_ms())

    def _bury(self) -> None:
        """Take over from workers of this machine that were killed, without waiting for their
        lease. The store is asked for them as often as it is swept, the system in between."""
        now, settings = time.monotonic(), self.worker.settings
        if self.worker.lease is None or now - self._listed_at >= settings.lease_ms / 2_000:
            self._others = self._store.workers(settings.environment)
            self._listed_at = now
        elif now - self._buried_at < BURY_SECONDS:
            return
        self._buried_at = now
        gone = machine.ended(self._others)
        if gone:
            self._store.take_over(self._store.now(), settings.lease_ms, gone)
            self._others = [one for one in self._others if one[0] not in gone]

    def _wait(self, seconds: float) -> None:
        if self._stop_at is not None:
            seconds = min(seconds, self._stop_at - time.monotonic())
        try:
            self._wake.get(timeout=max(seconds, 0.0))
        except Empty:
            return
        self._forget_wakes()

    def _forget_wakes(self) -> None:
        try:
            while True:
                self._wake.get_nowait()
        except Empty:
            pass

    def _leave(self) -> None:
        """Write what has come back, then give the rest away."""
        try:
            while self.worker.tick():
                pass
            self.worker.leave()
        except StoreUnavailable as error:
            log.warning("%s; its runs are taken over when the lease is over", error)
