"""What the tests of queues say in one word."""

from __future__ import annotations

from typing import Any, Final

from tests.stores.world import ENVIRONMENT, PYTHON, Worker, World
from wf.history.model import Activation, Claim
from wf.history.queues import Limits, QueueState

QUEUE: Final = "q"
CLAIMS: Final = 50
"""More than any test needs until nothing is left to be looked at."""


def take(
    worker: Worker, limit: int = 1_000, *activations: Activation, **options: Any
) -> list[bytes]:
    """What is handed out until there is nothing more to look at."""
    found: list[bytes] = []
    for _ in range(CLAIMS):
        claim = Claim(limit - len(found), worker.tasks, PYTHON, **options)
        now = worker.world.now()
        committed = worker.store.commit(worker.lease, activations, claim, now)
        activations = ()
        found += [claimed.run.id for claimed in committed.claimed]
        if not committed.again or len(found) >= limit:
            return found
    raise AssertionError("the claims do not come to rest")


def limited(world: World, queue: str = QUEUE, **limits: Any) -> None:
    world.store.declare_queues(ENVIRONMENT, [(queue, Limits(**limits))])


def queued(world: World, key: str = "", count: int = 1, **columns: Any) -> list[bytes]:
    columns = {"queue": QUEUE} | columns
    return [world.trigger(key=key, **columns) for _ in range(count)]


def state(world: World, queue: str = QUEUE) -> QueueState:
    found = world.store.get_queue(ENVIRONMENT, queue)
    assert found is not None
    return found
