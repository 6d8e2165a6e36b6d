"""Locks of queues on Postgres: claims wait for nobody, and nobody counts what he has not locked."""

from __future__ import annotations

import psycopg
import pytest

from tests.stores.queueing import QUEUE, limited, queued, take
from tests.stores.world import ENVIRONMENT, PYTHON, World
from wf.history.audit import audit
from wf.history.model import Claim

LOCK = "SELECT 1 FROM queues WHERE environment = %s AND name = %s FOR UPDATE"


@pytest.fixture
def url(empty_postgres_url: str) -> str:
    return empty_postgres_url


def test_a_queue_that_another_worker_has_locked_is_left_to_him_and_looked_at_again(
    world: World,
) -> None:
    limited(world, concurrency_limit=1)
    runs = queued(world, count=2)
    worker = world.worker()
    with psycopg.connect(world.url) as other:
        other.execute(LOCK, (ENVIRONMENT, QUEUE))
        for _ in range(3):
            claim = Claim(10, worker.tasks, PYTHON)
            answer = world.store.commit(worker.lease, [], claim, world.now())
            assert (answer.claimed, answer.again) == ([], True)
    assert take(worker) == runs[:1]


def test_other_queues_go_on_meanwhile(world: World) -> None:
    queued(world)
    free = queued(world, queue="free")
    worker = world.worker()
    with psycopg.connect(world.url) as other:
        other.execute(LOCK, (ENVIRONMENT, QUEUE))
        found = [
            claimed.run.id
            for _ in range(3)
            for claimed in world.store.commit(
                worker.lease, [], Claim(10, worker.tasks, PYTHON), world.now()
            ).claimed
        ]
    assert found == free


def test_a_mark_that_somebody_is_writing_is_left_and_looked_at_again(world: World) -> None:
    first, second = queued(world, "a")[0], queued(world, "b")[0]
    worker = world.worker()
    with psycopg.connect(world.url) as other:
        other.execute("SELECT 1 FROM ready WHERE run_id = %s FOR UPDATE", (first,))
        claim = Claim(10, worker.tasks, PYTHON)
        answers = [world.store.commit(worker.lease, [], claim, world.now()) for _ in range(3)]
        assert [one.run.id for answer in answers for one in answer.claimed] == [second]
    assert take(worker) == [first]
    assert [breach for breach in audit(world.store) if breach.invariant != "I12"] == []
