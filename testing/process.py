"""A worker process of a simulation."""

from __future__ import annotations

from wf.engine.scheduler import Scheduler
from wf.engine.worker import Worker
from wf.testing.clock import SkewedClock
from wf.testing.runner import VirtualRunner


class Process:
    """A worker process: what is lost together."""

    def __init__(
        self,
        name: str,
        worker: Worker,
        scheduler: Scheduler | None,
        runner: VirtualRunner,
        clock: SkewedClock,
    ) -> None:
        self.name = name
        self.worker = worker
        self.scheduler = scheduler
        self.runner = runner
        self.clock = clock
        self.is_busy = False
        """In a call: others move, this one waits."""
        self.asleep_until = 0
        self.leaves_at = 0

    def tick(self) -> bool:
        """As its host does. True: another one may find more."""
        worked = self.worker.tick()
        if self.scheduler is not None and not self.worker.is_draining:
            worked = self.scheduler.tick() or worked
        return worked

    def die(self) -> None:
        self.runner.stop()
        self.worker.orders.runner = None
        self.worker.drop()
