"""Queues, on SQLite and on Postgres: limits, order, fairness, rates, who hears of free slots."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, Final

import pytest

from tests.stores.queueing import QUEUE, limited, queued, state, take
from tests.stores.world import ENVIRONMENT, PYTHON, TASK, Worker, World, at_once
from wf.history.audit import audit
from wf.history.events import Status
from wf.history.ids import new_id
from wf.history.model import Activation, Blocked, Claim, NewRun, Reason, Wait
from wf.history.queues import Limits

GONE_MS: Final = -60_000


@pytest.fixture(autouse=True)
def sound(world: World) -> Iterator[None]:
    """Whatever happened, the audit finds nothing; these endings say nothing of their outputs."""
    yield
    assert [breach for breach in audit(world.store) if breach.invariant != "I12"] == []


# --- limits --------------------------------------------------------------------------------------


def test_a_queue_gives_out_as_many_slots_as_it_has(world: World) -> None:
    limited(world, concurrency_limit=2)
    runs = queued(world, count=5)
    worker = world.worker()
    assert take(worker) == runs[:2]
    assert [world.status(run) for run in runs[1:3]] == [Status.EXECUTING, Status.QUEUED]
    assert (state(world).running, state(world).waiting) == (2, 3)
    assert take(worker, 1_000, worker.ending(runs[0])) == [runs[2]]
    assert take(worker, 1_000, worker.ending(runs[1]), worker.ending(runs[2])) == runs[3:]


def test_runs_of_one_key_go_one_at_a_time(world: World) -> None:
    a, b = queued(world, "a", 2), queued(world, "b", 2)
    worker = world.worker()
    assert sorted(take(worker)) == sorted([a[0], b[0]])
    assert take(worker, 1_000, worker.ending(a[0])) == [a[1]]


def test_the_limit_per_key_can_be_raised_and_binds_no_run_without_a_key(world: World) -> None:
    limited(world, per_key_limit=2)
    keyed, free = queued(world, "a", 3), queued(world, count=3)
    worker = world.worker()
    assert sorted(take(worker)) == sorted([*keyed[:2], *free])


def test_both_limits_hold_together(world: World) -> None:
    limited(world, concurrency_limit=3, per_key_limit=2)
    a, b = queued(world, "a", 3), queued(world, "b", 3)
    worker = world.worker()
    got = take(worker)
    assert len(got) == 3
    assert {len({*got} & {*runs}) for runs in (a, b)} == {1, 2}


def test_queues_and_environments_do_not_share_slots(world: World) -> None:
    limited(world, concurrency_limit=1)
    world.store.declare_queues("prod", [(QUEUE, Limits(concurrency_limit=1))])
    limited(world, "other", concurrency_limit=1)
    mine, other = queued(world, count=2), queued(world, queue="other", count=2)
    prod = queued(world, environment="prod", count=2)
    assert sorted(take(world.worker())) == sorted([mine[0], other[0]])
    assert take(world.worker(environment="prod")) == prod[:1]


def test_tasks_share_the_slots_of_a_queue(world: World) -> None:
    limited(world, concurrency_limit=2)
    runs = [queued(world, task=task)[0] for task in (TASK, "other", TASK, "other")]
    one, two = world.worker(), world.worker("other")
    assert take(one) == [runs[0], runs[2]]
    assert take(two) == []
    one.end(runs[0])
    assert take(two) == [runs[1]]
    assert take(one) == []


def test_what_is_in_no_queue_goes_beside_it(world: World) -> None:
    limited(world, concurrency_limit=1)
    gated, free = queued(world, count=2), [world.trigger() for _ in range(3)]
    worker = world.worker()
    assert sorted(take(worker)) == sorted([gated[0], *free])


def test_neither_a_full_queue_nor_many_free_runs_keep_the_others_waiting(world: World) -> None:
    limited(world, per_key_limit=100)
    gated, free = queued(world, count=20), [world.trigger() for _ in range(20)]
    worker = world.worker()
    got = [run for _ in range(10) for run in take(worker, 2)]
    assert 5 <= len({*got} & {*gated}) <= 15
    assert 5 <= len({*got} & {*free}) <= 15


@pytest.mark.parametrize("limit", [1, 2, 7])
def test_a_claim_takes_no_more_than_its_limit_and_the_rest_is_heard_of(
    world: World, limit: int
) -> None:
    runs = queued(world, count=5)
    one, two = world.worker(), world.worker()
    got = take(one, limit)
    assert got == runs[:limit]
    assert take(two) == runs[limit:]


# --- what gives a slot back ----------------------------------------------------------------------


def test_a_run_that_waits_holds_no_slot(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, second = queued(world, count=2)
    worker = world.worker()
    assert take(worker) == [first]
    waits = Activation(first, 1, release=True, due_at=world.now() + 1_000)
    assert take(worker, 1_000, waits) == [second]
    world.skipped_ms = 2_000
    assert take(worker) == []
    assert take(worker, 1_000, worker.ending(second)) == [first]


def test_a_run_back_from_a_wait_goes_before_new_ones_of_any_priority(world: World) -> None:
    limited(world, concurrency_limit=1)
    (first,) = queued(world, "a")
    worker = world.worker()
    take(worker)
    (second,) = queued(world, "b")
    new = queued(world, "c", priority=9)
    waits = Activation(first, 1, release=True, due_at=world.now() + 1_000)
    assert take(worker, 1_000, waits) == new
    world.skipped_ms = 2_000
    assert take(worker, 1_000, worker.ending(new[0])) == [first]
    assert take(worker, 1_000, worker.ending(first)) == [second]


def test_a_parent_and_the_child_that_it_awaits_share_one_slot(world: World) -> None:
    limited(world, concurrency_limit=1)
    (parent,) = queued(world)
    worker = world.worker()
    take(worker)
    child = world.new(queue=QUEUE, parent_id=parent, root_id=parent)
    waits = Activation(parent, 1, children=[child], waits=[Wait(child.id, 1)], release=True)
    assert take(worker, 1_000, waits) == [child.id]
    assert take(worker, 1_000, worker.ending(child.id)) == [parent]


def test_a_parked_run_gives_its_slot_back(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, second = queued(world, count=2)
    worker = world.worker()
    take(worker)
    parked = Activation(first, 1, blocked=Blocked("nondeterminism", "d", world.now()))
    assert take(worker, 1_000, parked) == [second]
    fixed = world.worker(code="c2")
    assert take(fixed) == []
    worker.end(second)
    assert take(fixed) == [first]


def test_the_slots_of_a_lost_worker_are_free_and_its_runs_go_first(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, second = queued(world, count=2)
    lost = world.worker()
    take(lost)
    world.store.take_over(world.now(), GONE_MS)
    heir = world.worker()
    assert take(heir) == [first]
    assert take(heir, 1_000, heir.ending(first)) == [second]


def test_a_worker_that_leaves_gives_its_slots_back(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, second = queued(world, count=2)
    leaving = world.worker()
    take(leaving)
    world.store.leave(leaving.lease, world.now())
    heir = world.worker()
    assert take(heir) == [first]
    assert take(heir, 1_000, heir.ending(first)) == [second]


def test_a_canceled_run_that_waits_in_a_queue_ends_and_takes_no_slot(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, second, third = queued(world, "a", 3)
    worker = world.worker()
    take(worker)
    world.store.cancel([second], world.now())
    assert world.status(second) is Status.CANCELED
    assert take(worker, 1_000, worker.ending(first)) == [third]


def test_a_marked_run_that_is_owned_needs_no_second_slot(world: World) -> None:
    limited(world, concurrency_limit=1)
    (first, _) = queued(world, count=2)
    worker = world.worker()
    take(worker)
    world.store.cancel([first], world.now())
    assert take(worker) == [first]


def test_what_a_run_could_not_read_before_it_waits_brings_it_back(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, second = queued(world, count=2)
    worker = world.worker()
    take(worker)
    world.store.cancel([first], world.now())
    assert take(worker, 1_000, Activation(first, 1, release=True)) == [first]
    assert take(worker) == []
    assert world.status(second) is Status.QUEUED


# --- order ---------------------------------------------------------------------------------------


def test_within_a_key_priority_goes_before_age(world: World) -> None:
    limited(world, concurrency_limit=1)
    at = world.now()
    runs = [
        queued(world, "a", priority=priority, created_at=at - age)[0]
        for priority, age in [(0, 5), (3, 1), (0, 9), (3, 2)]
    ]
    worker, order = world.worker(), [3, 1, 2, 0]
    got = take(worker)
    for _ in order[1:]:
        got += take(worker, 1_000, worker.ending(got[-1]))
    assert got == [runs[place] for place in order]


def test_a_key_with_many_runs_does_not_starve_one_with_one(world: World) -> None:
    limited(world, concurrency_limit=1)
    many = queued(world, "many", 5)
    worker = world.worker()
    assert take(worker) == many[:1]
    assert take(worker, 1_000, worker.ending(many[0])) == many[1:2]
    one = queued(world, "one")
    assert take(worker, 1_000, worker.ending(many[1])) == one
    again = queued(world, "one")
    assert take(worker, 1_000, worker.ending(one[0])) == many[2:3]
    assert take(worker, 1_000, worker.ending(many[2])) == again


def test_ten_thousand_waiting_runs_of_one_key_do_not_starve_another_key(world: World) -> None:
    limited(world, concurrency_limit=1)
    world.store.trigger([world.new(queue=QUEUE, key="big") for _ in range(10_000)])
    worker = world.worker()
    (first,) = take(worker)
    small = queued(world, "small")
    assert take(worker, 1_000, worker.ending(first)) == small
    assert state(world).waiting == 9_999


def test_keys_take_turns_also_within_one_claim(world: World) -> None:
    limited(world, concurrency_limit=4, per_key_limit=10)
    a, b = queued(world, "a", 10), queued(world, "b", 10)
    got = take(world.worker())
    assert len({*got} & {*a}) == len({*got} & {*b}) == 2


def test_a_delayed_run_waits_in_its_queue_when_its_time_has_come(world: World) -> None:
    limited(world, concurrency_limit=1)
    (late,) = queued(world, start_at=world.now() + 1_000)
    (first,) = queued(world)
    worker = world.worker()
    assert take(worker) == [first]
    world.skipped_ms = 2_000
    assert take(worker) == []
    assert world.status(late) is Status.QUEUED
    assert take(worker, 1_000, worker.ending(first)) == [late]


def test_a_queued_run_whose_ttl_is_over_expires(world: World) -> None:
    limited(world, concurrency_limit=1)
    first, late = queued(world)[0], queued(world, ttl_ms=1_000)[0]
    worker = world.worker()
    assert take(worker) == [first]
    world.skipped_ms = 2_000
    assert take(worker, 1_000, worker.ending(first)) == []
    assert world.status(late) is Status.EXPIRED


def test_many_lanes_and_long_ones_are_given_out_whole(world: World) -> None:
    limited(world, per_key_limit=100)
    runs = [world.new(queue=QUEUE, key=key) for n in range(40) for key in (f"k{n}", "long")]
    world.store.trigger(runs)
    worker = world.worker()
    got = take(worker, 60) + take(worker, 60)
    assert sorted(got) == sorted(run.id for run in runs)


# --- who hears -----------------------------------------------------------------------------------


def test_a_worker_that_cannot_use_a_free_slot_tells_those_who_can(world: World) -> None:
    limited(world, concurrency_limit=1)
    mine, others = queued(world)[0], queued(world, task="other", count=2)
    one, two = world.worker(), world.worker("other")
    assert take(one) == [mine]
    assert take(two) == []
    assert take(one, 1_000, one.ending(mine)) == []
    assert take(two) == others[:1]


def test_a_queue_that_no_worker_serves_gathers_no_stirs(world: World) -> None:
    queued(world, task="nobody", key="k", count=2)
    limited(world, concurrency_limit=5)
    worker = world.worker()
    for _ in range(10):
        (run,) = queued(world)
        assert take(worker) == [run]
        worker.end(run)
    take(worker)
    query: Any = world.store._query  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType, reportUnknownVariableType]
    assert query("SELECT count(*) FROM stirs", ())[0][0] <= 3


def test_a_claim_for_one_run_keeps_the_limits_and_leaves_the_others_alone(world: World) -> None:
    limited(world, concurrency_limit=2)
    other = queued(world)
    (root,) = queued(world)
    children = [queued(world, parent_id=root, root_id=root)[0] for _ in range(2)]
    mine, shared = world.worker(), world.worker()
    assert take(mine, root=root) == [root, children[0]]
    assert take(shared) == []
    assert take(mine, 1_000, mine.ending(root), root=root) == children[1:]
    mine.end(children[0])
    assert take(shared) == other


def test_a_claim_of_its_limit_reads_no_more_marks_than_it_gives_out(world: World) -> None:
    runs = [world.new(queue=QUEUE, key="full") for _ in range(300)]
    world.store.trigger(runs)
    worker = world.worker()
    assert len(take(worker)) == 1
    free = queued(world, "free")
    assert take(worker) == free


# --- at once -------------------------------------------------------------------------------------


def test_no_limit_is_exceeded_by_workers_that_claim_at_once(world: World) -> None:
    limited(world, concurrency_limit=3)
    workers = [world.worker(store=world.another_store()) for _ in range(4)]
    keys = [f"k{n}" for n in range(8)]
    runs = [world.new(queue=QUEUE, key=key) for key in keys for _ in range(5)]
    world.store.trigger(runs)
    done: set[bytes] = set()

    def work(worker: Worker) -> None:
        held: list[bytes] = []
        for _ in range(200):
            claim = Claim(2, worker.tasks, PYTHON)
            ends = [worker.ending(run) for run in held]
            done.update(held)
            answer = worker.store.commit(worker.lease, ends, claim, world.now())
            held = [claimed.run.id for claimed in answer.claimed]
            assert state(world).running <= 3
            if len(done) == len(runs):
                break
        worker.commit(*map(worker.ending, held))

    at_once(*(partial(work, worker) for worker in workers))
    assert {world.status(run.id) for run in runs} == {Status.COMPLETED}


def test_triggers_that_make_one_queue_at_once_make_one(world: World) -> None:
    stores = [world.another_store() for _ in range(4)]
    runs = [[world.new(queue=f"q{n}", limits=Limits(5)) for n in range(3)] for _ in stores]
    at_once(*(partial(store.trigger, group) for store, group in zip(stores, runs, strict=True)))
    assert [one.name for one in world.store.list_queues(ENVIRONMENT)] == ["q0", "q1", "q2"]
    assert len(take(world.worker())) == 12


def test_ids_of_new_runs_are_answered_in_order(world: World) -> None:
    runs = [
        NewRun(new_id(world.now()), ENVIRONMENT, TASK, b"1", world.now(), queue=q) for q in "ab"
    ]
    assert [run_id for run_id, _ in world.store.trigger(runs)] == [run.id for run in runs]
    assert Reason.NEW == 0
