"""What a store does with runs that are asked for, on SQLite and on Postgres."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.stores.world import ENVIRONMENT, TASK, World, at_once, shape
from wf.history.events import Kind, Status
from wf.history.ids import new_id
from wf.history.model import Activation, InboxKind, NewRun, Reason, RunFilter, Triggered, Wait
from wf.history.store import Store

DAY_MS = 86_400_000


def keyed(world: World, key: str = "k", **columns: Any) -> NewRun:
    return world.new(idempotency_key=key, idempotency_expires_at=world.now() + DAY_MS, **columns)


def test_a_triggered_run_is_what_was_asked_for(world: World) -> None:
    parent = world.trigger()
    run = world.new(
        parent_id=parent, root_id=parent, tags=["b", "a,é"], queue="q", key="tenant", priority=-3,
        ttl_ms=5_000, version="v7", options=b'{"x":1}', payload=b'{"deep":[1,"\\u0000"]}',
    )  # fmt: skip
    assert world.trigger_how(run) == (run.id, Triggered.MADE)
    kept = world.run(run.id)
    for name in (
        "id", "environment", "task", "payload", "created_at", "parent_id", "root_id", "queue",
        "key", "priority", "start_at", "ttl_ms", "version", "options",
    ):  # fmt: skip
        assert getattr(kept, name) == getattr(run, name), name
    assert list(kept.tags) == ["b", "a,é"]
    assert (kept.chapter, kept.attempt, kept.started_at, kept.ended_at) == (1, 1, None, None)


def test_a_run_without_a_root_is_its_own(world: World) -> None:
    worker = world.worker()
    run_id = world.trigger()
    assert worker.claim_ids(root=run_id) == [run_id]


def test_many_runs_are_triggered_in_one_call_and_answered_in_order(world: World) -> None:
    runs = [world.new() for _ in range(1_203)]
    assert world.store.trigger(runs) == [(run.id, Triggered.MADE) for run in runs]
    assert len(world.worker().claim(2_000)) == len(runs)


def test_triggering_nothing_answers_nothing(world: World) -> None:
    assert world.store.trigger([]) == []


def test_a_batch_is_all_or_none(world: World) -> None:
    good, bad = world.new(), world.new(payload=None)
    with pytest.raises(Exception, match=r".+"):
        world.store.trigger([good, bad])
    assert world.store.get_runs([good.id]) == {}


def test_the_same_run_again_is_made_once(world: World) -> None:
    run = world.new()
    world.trigger_how(run)
    assert world.trigger_how(run) == (run.id, Triggered.MADE)
    worker = world.worker()
    assert worker.claim_ids() == [run.id]
    assert world.trigger_how(run) == (run.id, Triggered.MADE)
    assert worker.claim_ids() == [], "a repeat marks no run that has moved on"


def test_the_same_keyed_run_again_is_a_success_even_when_it_has_failed(world: World) -> None:
    run = keyed(world)
    world.trigger_how(run)
    assert world.trigger_how(run) == (run.id, Triggered.MADE)
    worker = world.worker()
    worker.claim()
    worker.end(run.id, Status.FAILED)
    assert world.trigger_how(run) == (run.id, Triggered.MADE)
    assert worker.claim_ids() == []
    other = keyed(world)
    assert world.trigger_how(other) == (other.id, Triggered.MADE), "the key was free all the while"


def test_a_live_key_answers_the_run_that_has_it(world: World) -> None:
    first = keyed(world)
    world.trigger_how(first)
    again, differs = keyed(world), keyed(world, payload=b'{"n":2}')
    assert world.trigger_how(again) == (first.id, Triggered.CACHED)
    assert world.trigger_how(differs) == (first.id, Triggered.CACHED_DIFFERS)
    assert world.store.get_runs([again.id, differs.id]) == {}
    assert world.worker().claim_ids() == [first.id]


def test_a_key_belongs_to_one_task_in_one_environment(world: World) -> None:
    runs = [keyed(world), keyed(world, task="other"), keyed(world, environment="prod")]
    assert [world.trigger_how(run)[1] for run in runs] == [Triggered.MADE] * 3


def test_a_key_that_has_expired_is_free(world: World) -> None:
    run = world.new(idempotency_key="k", idempotency_expires_at=world.now() - 1)
    world.trigger_how(run)
    second = keyed(world)
    assert world.trigger_how(second) == (second.id, Triggered.MADE)
    assert world.trigger_how(keyed(world)) == (second.id, Triggered.CACHED)


def test_one_key_twice_in_a_batch_makes_one_run(world: World) -> None:
    first, twin, differs, other = (
        keyed(world), keyed(world), keyed(world, payload=b"0"), keyed(world, key="l"),
    )  # fmt: skip
    assert world.store.trigger([first, twin, other, differs]) == [
        (first.id, Triggered.MADE),
        (first.id, Triggered.CACHED),
        (other.id, Triggered.MADE),
        (first.id, Triggered.CACHED_DIFFERS),
    ]


@pytest.mark.parametrize(
    ("status", "frees"),
    [
        (Status.COMPLETED, False),
        (Status.FAILED, True),
        (Status.CANCELED, True),
        (Status.TIMED_OUT, True),
        (Status.EXPIRED, True),
    ],
)
def test_a_run_that_ends_badly_frees_its_key(world: World, status: Status, frees: bool) -> None:
    worker = world.worker()
    first, second = keyed(world), keyed(world)
    world.trigger_how(first)
    worker.claim()
    worker.end(first.id, status)
    expected = (second.id, Triggered.MADE) if frees else (first.id, Triggered.CACHED)
    assert world.trigger_how(second) == expected


def test_an_expired_key_that_was_given_on_is_not_freed_by_its_first_run(world: World) -> None:
    worker = world.worker()
    first = world.new(idempotency_key="k", idempotency_expires_at=world.now() - 1)
    world.trigger_how(first)
    second = keyed(world)
    world.trigger_how(second)
    worker.claim()
    worker.end(first.id, Status.FAILED)
    assert world.trigger_how(keyed(world)) == (second.id, Triggered.CACHED)


def test_concurrent_triggers_with_one_key_make_one_run(world: World) -> None:
    def trigger(store: Store) -> list[tuple[bytes, Triggered]]:
        return [store.trigger([keyed(world, key=f"k{n}")])[0] for n in range(15)]

    stores = [world.store, *(world.another_store() for _ in range(6))]
    answers = at_once(*(partial(trigger, store) for store in stores))
    for n in range(15):
        assert len({answer[n][0] for answer in answers}) == 1
        assert [answer[n][1] for answer in answers].count(Triggered.MADE) == 1
    assert len(world.worker().claim()) == 15


def test_concurrent_triggers_of_the_same_run_make_it_once(world: World) -> None:
    runs = [world.new() for _ in range(20)]
    stores = [world.another_store() for _ in range(4)]
    answers = at_once(*(partial(store.trigger, runs) for store in stores))
    assert all(answer == [(run.id, Triggered.MADE) for run in runs] for answer in answers)
    assert len(world.worker().claim_ids()) == 20


def test_a_delayed_run_starts_when_its_time_has_come(world: World) -> None:
    worker = world.worker()
    run_id = world.trigger(start_at=world.now() + 60_000)
    assert world.status(run_id) is Status.DELAYED
    assert worker.claim() == []
    assert world.store.next_due(ENVIRONMENT) == world.run(run_id).start_at
    world.skipped_ms = 60_001
    claimed = worker.claim()
    assert [(c.run.id, c.reason) for c in claimed] == [(run_id, Reason.NEW)]
    assert world.kinds(run_id) == [Kind.STARTED]


def test_a_delay_that_is_over_is_none(world: World) -> None:
    run_id = world.trigger(start_at=world.now() - 5)
    assert world.worker().claim_ids() == [run_id]


def test_a_run_that_is_not_started_within_its_ttl_expires(world: World) -> None:
    worker = world.worker()
    run_id = world.trigger(ttl_ms=10_000)
    world.skipped_ms = 10_001
    assert worker.claim() == []
    ended = world.run(run_id)
    assert ended.status is Status.EXPIRED
    assert ended.ended_at is not None
    assert ended.failure is not None
    ((_, event),) = world.store.history(run_id)
    assert (event.seq, event.kind, event.name) == (1, Kind.ENDED, Status.EXPIRED)
    assert event.data == ended.failure
    assert world.store.next_due(ENVIRONMENT) is None


def test_a_run_that_has_begun_does_not_expire(world: World) -> None:
    worker = world.worker()
    claimed = world.begun(worker, ttl_ms=10_000)
    world.skipped_ms = 10_001
    assert worker.claim() == []
    assert world.status(claimed.run.id) is Status.EXECUTING


def test_ttl_counts_from_the_moment_the_run_may_start(world: World) -> None:
    worker = world.worker("other")
    run_id = world.trigger(start_at=world.now() + 60_000, ttl_ms=10_000)
    world.skipped_ms = 30_000
    worker.claim()
    assert world.status(run_id) is Status.DELAYED
    world.skipped_ms = 65_000
    worker.claim()
    assert world.status(run_id) in {Status.QUEUED, Status.PENDING_VERSION}
    world.skipped_ms = 75_000
    worker.claim()
    assert world.status(run_id) is Status.EXPIRED


def test_an_expired_run_frees_its_key_and_tells_who_waits(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = keyed(world, ttl_ms=1_000, task="nobody")
    world.trigger_how(child)
    worker.commit(Activation(parent, 1, waits=[Wait(child.id, 4)], release=True))
    world.skipped_ms = 2_000
    (told,) = worker.claim()
    failure = world.run(child.id).failure
    assert shape(told.inbox) == [(InboxKind.CHILD_ENDED, 1, 4, "EXPIRED", failure)]
    assert world.trigger_how(keyed(world, task="nobody"))[1] is Triggered.MADE


def test_a_run_of_an_unknown_task_is_pending_until_a_worker_has_been_seen(world: World) -> None:
    run_id = world.trigger("later")
    assert world.status(run_id) is Status.PENDING_VERSION
    worker = world.worker("later")
    assert world.status(run_id) is Status.QUEUED
    world.store.leave(worker.lease, world.now())
    assert world.status(run_id) is Status.QUEUED


def test_ids_sort_by_time_and_lists_are_newest_first(world: World) -> None:
    ids = [new_id(world.now() + n) for n in range(3)]
    for run_id in ids:
        world.trigger(TASK, id=run_id)
    assert [r.id for r in world.store.list_runs(RunFilter(ENVIRONMENT))] == ids[::-1]
