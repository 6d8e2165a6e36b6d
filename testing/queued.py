"""The queues of a watched store: each call goes through its door."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from wf.history.queues import Limits, QueueChange, QueueState, QueueStore
from wf.testing.door import Door


class WatchedQueues:
    """A `QueueStore` whose calls go through `door`."""

    _queues: QueueStore
    door: Door

    def declare_queues(self, environment: str, queues: Sequence[tuple[str, Limits]]) -> None:
        self.door("declare_queues", partial(self._queues.declare_queues, environment, queues))

    def change_queue(self, environment: str, name: str, change: QueueChange) -> bool:
        call = partial(self._queues.change_queue, environment, name, change)
        return self.door("change_queue", call)

    def list_queues(self, environment: str) -> list[QueueState]:
        return self.door("list_queues", partial(self._queues.list_queues, environment))

    def get_queue(self, environment: str, name: str) -> QueueState | None:
        return self.door("get_queue", partial(self._queues.get_queue, environment, name))

    def queue_of(self, environment: str, task: str) -> str:
        return self.door("queue_of", partial(self._queues.queue_of, environment, task))

    def slot_holders(self, environment: str, name: str, key: str) -> list[bytes]:
        call = partial(self._queues.slot_holders, environment, name, key)
        return self.door("slot_holders", call)
