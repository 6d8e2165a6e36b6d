"""Queues, on SQLite and on Postgres: rates, pauses, limits that change."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.stores.queueing import QUEUE, limited, queued, state, take
from tests.stores.world import ENVIRONMENT, Worker, World
from wf.history.audit import audit
from wf.history.events import Status
from wf.history.model import Activation
from wf.history.queues import Limits, QueueChange


@pytest.fixture(autouse=True)
def sound(world: World) -> Iterator[None]:
    """Whatever happened, the audit finds nothing; these endings say nothing of their outputs."""
    yield
    assert [breach for breach in audit(world.store) if breach.invariant != "I12"] == []


# --- rates ---------------------------------------------------------------------------------------


def test_a_rate_bounds_first_starts_within_any_window(world: World) -> None:
    limited(world, rate_limit=2, rate_ms=10_000)
    runs = queued(world, count=5)
    worker = world.worker()
    assert take(worker) == runs[:2]
    due = world.store.next_due(ENVIRONMENT)
    assert due is not None
    assert 0 < due - world.now() <= 10_000
    world.skipped_ms = 9_000
    assert take(worker) == []
    world.skipped_ms = 11_000
    assert take(worker) == runs[2:4]
    assert take(worker, 1_000, worker.ending(runs[0])) == []
    world.skipped_ms = 22_000
    assert take(worker) == runs[4:]


def test_a_rate_per_key_bounds_each_key(world: World) -> None:
    limited(world, key_rate_limit=1, key_rate_ms=10_000, per_key_limit=10)
    a, b = queued(world, "a", 2), queued(world, "b", 2)
    worker = world.worker()
    assert sorted(take(worker)) == sorted([a[0], b[0]])
    world.skipped_ms = 11_000
    assert sorted(take(worker)) == sorted([a[1], b[1]])


def test_a_run_back_from_a_wait_does_not_count_as_a_start(world: World) -> None:
    limited(world, rate_limit=1, rate_ms=100_000)
    first, second = queued(world, count=2)
    worker = world.worker()
    assert take(worker) == [first]
    waits = Activation(first, 1, release=True, due_at=world.now() + 1_000)
    assert take(worker, 1_000, waits) == []
    world.skipped_ms = 2_000
    assert take(worker) == [first]
    assert world.status(second) is Status.QUEUED


# --- by hand -------------------------------------------------------------------------------------


def test_a_paused_queue_starts_nothing_until_it_is_resumed(world: World) -> None:
    runs = queued(world, count=2)
    assert world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(paused=True))
    worker = world.worker()
    assert take(worker) == []
    assert state(world).paused
    later = queued(world, "k")
    assert take(worker) == []
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(paused=False))
    assert sorted(take(worker)) == sorted([*runs, *later])


def test_a_paused_queue_lets_nothing_come_back_from_a_wait(world: World) -> None:
    (first,) = queued(world)
    worker = world.worker()
    take(worker)
    worker.commit(Activation(first, 1, release=True, due_at=world.now() + 1_000))
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(paused=True))
    world.skipped_ms = 2_000
    assert take(worker) == []
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(paused=False))
    assert take(worker) == [first]


def paused_with(world: World, worker: Worker, due_at: int = 0) -> bytes:
    """A run that has begun and waits, in a queue that is paused since."""
    (run,) = queued(world, "k")
    take(worker)
    worker.commit(Activation(run, 1, release=True, due_at=due_at))
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(paused=True))
    return run


def test_a_cancel_reaches_a_run_that_waits_though_its_queue_is_paused(world: World) -> None:
    worker = world.worker()
    run = paused_with(world, worker)
    (other,) = queued(world)
    assert world.store.cancel([run], world.now()) == [run]
    assert take(worker) == [run]
    assert world.status(other) is Status.QUEUED


def test_a_cancel_reaches_a_run_that_a_pause_already_keeps_from_coming_back(world: World) -> None:
    worker = world.worker()
    run = paused_with(world, worker, due_at=world.now() + 1_000)
    world.skipped_ms = 2_000
    assert take(worker) == []
    world.store.cancel([run], world.now())
    assert take(worker) == [run]


def test_what_a_canceled_run_cleans_up_comes_back_to_a_paused_queue(world: World) -> None:
    worker = world.worker()
    run = paused_with(world, worker)
    world.store.cancel([run], world.now())
    [row] = worker.claim()[0].inbox
    due_at = world.now() + 1_000
    worker.commit(Activation(run, 1, consumed=[row.id], release=True, due_at=due_at))
    assert take(worker) == []
    world.skipped_ms = 2_000
    assert take(worker) == [run]
    world.store.leave(worker.lease, world.now())
    assert take(world.worker()) == [run]


def test_a_lost_worker_holds_up_no_cancel_in_a_paused_queue(world: World) -> None:
    worker, heir = world.worker(), world.worker()
    run = paused_with(world, worker)
    world.store.cancel([run], world.now())
    assert take(worker) == [run]
    world.store.take_over(world.now(), 10**9, gone=[worker.lease.worker])
    assert take(heir) == [run]


@pytest.mark.parametrize("key", ["", "k"])
def test_a_canceled_run_takes_the_next_free_slot_and_none_beyond(world: World, key: str) -> None:
    limited(world, concurrency_limit=1)
    worker = world.worker()
    (run,) = queued(world, key)
    take(worker)
    first, second = queued(world, key, 2, priority=2**31 - 2)
    assert take(worker, 1_000, Activation(run, 1, release=True)) == [first]
    world.store.cancel([run], world.now())
    assert take(worker) == []
    assert take(worker, 1_000, worker.ending(first)) == [run]
    assert take(worker, 1_000, worker.ending(run, Status.CANCELED)) == [second]


def test_raised_limits_are_used_at_once(world: World) -> None:
    limited(world, concurrency_limit=1)
    a, b = queued(world, "a", 2), queued(world, "b", 2)
    worker = world.worker()
    assert take(worker) == a[:1]
    change = QueueChange(limits=Limits(concurrency_limit=2))
    world.store.change_queue(ENVIRONMENT, QUEUE, change)
    assert take(worker) == b[:1]
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(limits=Limits(None, 2)))
    assert sorted(take(worker)) == sorted([a[1], b[1]])


def test_a_lowered_limit_takes_nothing_away_and_holds_for_what_starts(world: World) -> None:
    limited(world, concurrency_limit=3)
    runs = queued(world, count=5)
    worker = world.worker()
    assert take(worker) == runs[:3]
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(limits=Limits(1)))
    assert take(worker, 1_000, worker.ending(runs[0]), worker.ending(runs[1])) == []
    assert take(worker, 1_000, worker.ending(runs[2])) == runs[3:4]


def test_limits_set_by_hand_stay_until_the_code_says_something_new(world: World) -> None:
    limited(world, concurrency_limit=1)
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(limits=Limits(7)))
    limited(world, concurrency_limit=1)
    assert state(world).limits == Limits(7)
    limited(world, concurrency_limit=2)
    assert state(world).limits == Limits(2)


def test_a_pause_outlives_what_the_code_says(world: World) -> None:
    limited(world, concurrency_limit=1)
    world.store.change_queue(ENVIRONMENT, QUEUE, QueueChange(paused=True))
    limited(world, concurrency_limit=2)
    assert state(world).paused


def test_a_trigger_makes_the_queue_and_may_change_it(world: World) -> None:
    queued(world, queue="tenant-1", limits=Limits(2))
    assert state(world, "tenant-1").limits == Limits(2)
    queued(world, queue="tenant-1", limits=Limits(3))
    queued(world, queue="tenant-1")
    assert state(world, "tenant-1").limits == Limits(3)
    assert state(world, "tenant-1").waiting == 3
    assert [one.name for one in world.store.list_queues(ENVIRONMENT)] == ["tenant-1"]
    assert world.store.get_queue(ENVIRONMENT, "unknown") is None
    assert not world.store.change_queue(ENVIRONMENT, "unknown", QueueChange(paused=True))
