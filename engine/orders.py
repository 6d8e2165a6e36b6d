"""The steps that a worker has handed out, and how long those that were canceled may go on."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from heapq import heappop, heappush

from wf.engine.alarms import NEVER
from wf.engine.author import StepCallInfo
from wf.engine.body import Body
from wf.engine.core.decisions import RunStep
from wf.engine.steps import StepOrder, StepRunner
from wf.history.step import StepPlace
from wf.history.store import Store


class Orders:
    """By run and operation. `runner` runs them; without one nothing runs."""

    def __init__(self) -> None:
        self.runner: StepRunner | None = None
        self._orders: dict[tuple[bytes, int], StepOrder] = {}
        self._graces: list[tuple[int, bytes, int, StepOrder]] = []

    def __len__(self) -> int:
        return len(self._orders)

    def start(self, orders: Sequence[StepOrder]) -> None:
        for order in orders:
            self._orders[order.run_id, order.ordinal] = order
        if self.runner is not None:
            self.runner.start(orders)

    def came_back(self, order: StepOrder) -> bool:
        """It has ended. False: nobody waits for it any more."""
        key = (order.run_id, order.ordinal)
        if self._orders.get(key) is not order:
            return False
        del self._orders[key]
        return True

    def stop(self, run_id: bytes, ordinal: int, until: int) -> None:
        """Its run was canceled, or does not want it: it may go on until then."""
        order = self._orders.get((run_id, ordinal))
        if order is not None:
            self._cancel(order)
            heappush(self._graces, (until, run_id, ordinal, order))

    def give_up(self, run_id: bytes, ordinals: Iterable[int]) -> None:
        """Nobody waits for these any more."""
        for ordinal in sorted(ordinals):
            order = self._orders.pop((run_id, ordinal), None)
            if order is not None:
                order.claim_end()
                self._cancel(order)

    def overdue(self, now: int) -> Iterator[StepOrder]:
        """Those whose grace is over: they are no longer waited for. One that commits at this moment
        comes back by itself."""
        while self._graces and self._graces[0][0] <= now:
            order = heappop(self._graces)[-1]
            if order.claim_end() and self.came_back(order):
                yield order

    @property
    def next_grace(self) -> int:
        """When the next one is over; NEVER: none."""
        return self._graces[0][0] if self._graces else NEVER

    def clear(self) -> None:
        for order in self._orders.values():
            order.claim_end()
            self._cancel(order)
        self._orders.clear()
        self._graces.clear()

    def revoke(self, run_id: bytes, ordinals: Iterable[int]) -> None:
        """Their body has ended: what they have not committed they may not commit any more."""
        for ordinal in ordinals:
            order = self._orders.get((run_id, ordinal))
            if order is not None:
                order.claim_end()

    def _cancel(self, order: StepOrder) -> None:
        if self.runner is not None:
            self.runner.cancel(order)


def new_order(body: Body, step: RunStep, attempt: int, store: Store, worker: int) -> StepOrder:
    """`worker`: its id in the store, which hands it out."""
    run = body.run
    info = StepCallInfo(body.info, step.step, attempt, step.digest, step.repeat)
    info.store, info.place = store, StepPlace(worker, run.id, run.chapter, step.ordinal)
    info.asked_at = step.at
    timeout_ms = step.runnable.settings.timeout_ms
    return StepOrder(run.id, step.ordinal, step.runnable, step.arguments, info, timeout_ms)
