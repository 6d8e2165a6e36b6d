"""How runs are handed out to workers, on SQLite and on Postgres."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.observing import until
from tests.stores.world import (
    ENVIRONMENT,
    PYTHON,
    TASK,
    Worker,
    World,
    at_once,
    copy_lease,
    shape,
    step,
)
from wf.history.errors import Fenced, StoreUnavailable
from wf.history.events import Event, Kind, Status
from wf.history.model import Activation, Blocked, InboxKind, Lease, Reason, WorkerInfo
from wf.history.turns import NextChapter

GONE_MS = -60_000
"""A lease that every worker has outlived."""


# --- what is handed out --------------------------------------------------------------------------


def test_a_claimed_run_has_begun_and_is_executing(world: World) -> None:
    run_id = world.trigger()
    worker = world.worker()
    (claimed,) = worker.claim()
    assert (claimed.run.id, claimed.reason, claimed.seq) == (run_id, Reason.NEW, 1)
    assert (claimed.run.payload, claimed.run.chapter, claimed.inbox) == (b'{"n":1}', 1, [])
    ((chapter, event),) = world.store.history(run_id)
    assert (chapter, event.seq, event.kind, event.name) == (1, 1, Kind.STARTED, PYTHON)
    run = world.run(run_id)
    assert (run.status, run.worker) == (Status.EXECUTING, worker.lease.worker)
    assert run.started_at == event.at


def test_nobody_else_gets_a_run_that_has_an_owner(world: World) -> None:
    world.trigger()
    first, second = world.worker(), world.worker()
    assert len(first.claim()) == 1
    assert second.claim() == []
    assert first.claim() == []


def test_runs_are_handed_out_by_priority_then_by_age(world: World) -> None:
    worker = world.worker(TASK, "other")
    at = world.now()
    asked = [(0, 30, TASK), (5, 40, "other"), (0, 10, "other"), (-1, 0, TASK), (5, 20, TASK)]
    ids = {
        (priority, age): world.trigger(task, priority=priority, created_at=at - 100 + age)
        for priority, age, task in asked
    }
    order = [worker.claim_ids(1)[0] for _ in asked]
    assert order == [ids[key] for key in [(5, 20), (5, 40), (0, 10), (0, 30), (-1, 0)]]


def test_a_claim_is_no_larger_than_its_limit(world: World) -> None:
    for _ in range(5):
        world.trigger()
    worker = world.worker()
    assert [len(worker.claim(limit)) for limit in (0, 2, 10, 10)] == [0, 2, 3, 0]


def test_a_worker_gets_only_tasks_that_it_names_in_its_environment(world: World) -> None:
    mine = world.trigger()
    world.trigger("foreign")
    world.trigger(environment="prod")
    worker = world.worker()
    assert worker.claim_ids() == [mine]


def test_a_claim_with_a_root_gets_only_that_run_and_its_descendants(world: World) -> None:
    root, other = world.trigger(), world.trigger(priority=9)
    child = world.trigger(parent_id=root, root_id=root)
    worker = world.worker()
    assert set(worker.claim_ids(root=root)) == {root, child}
    assert worker.claim_ids() == [other]


def test_time_passes_only_for_the_root_that_a_claim_names(world: World) -> None:
    worker = world.worker()
    root = world.trigger(start_at=world.now() + 1_000)
    other = world.trigger(start_at=world.now() + 500)
    assert world.store.next_due(ENVIRONMENT, root) == world.run(root).start_at
    assert world.store.next_due(ENVIRONMENT) == world.run(other).start_at
    world.skipped_ms = 2_000
    assert worker.claim_ids(root=root) == [root]
    assert world.status(other) is Status.DELAYED


def test_a_group_without_a_claim_hands_out_nothing(world: World) -> None:
    world.trigger()
    worker = world.worker()
    assert world.store.commit(worker.lease, [], None, world.now()).claimed == []
    assert len(worker.claim()) == 1


def test_a_resumed_run_says_where_its_history_ends(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    worker.commit(
        Activation(run_id, 1, events=[step(2), step(3, 2)], release=True, due_at=world.now() + 100)
    )
    assert world.status(run_id) is Status.WAITING
    assert world.run(run_id).due_at is not None
    world.skipped_ms = 200
    (again,) = worker.claim()
    assert (again.run.id, again.reason, again.seq) == (run_id, Reason.RESUME, 3)
    assert world.kinds(run_id) == [Kind.STARTED, Kind.STEP_FINISHED, Kind.STEP_FINISHED]


def test_a_due_time_is_replaced_by_the_next_and_dropped_by_a_claim(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    soon = world.now() + 1_000
    worker.commit(Activation(run_id, 1, release=True, due_at=soon))
    assert world.store.next_due(ENVIRONMENT) == soon
    world.store.cancel([run_id], world.now())
    assert worker.claim_ids() == [run_id]
    assert world.store.next_due(ENVIRONMENT) is None
    worker.commit(Activation(run_id, 1, release=True, due_at=soon + 5))
    assert world.store.next_due(ENVIRONMENT) == soon + 5


def test_a_run_that_is_put_off_is_woken_by_its_time_and_by_what_comes_and_not_by_what_is_unread(
    world: World,
) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    later = world.now() + 60_000
    put_off = Activation(run_id, 1, release=True, due_at=later, is_put_off=True)
    worker.commit(put_off)
    world.store.cancel([run_id], world.now())
    (woken,) = worker.claim()
    assert [row.kind for row in woken.inbox] == [InboxKind.CANCEL]
    worker.commit(put_off)
    assert worker.claim() == []
    assert world.store.next_due(ENVIRONMENT) == later
    world.skipped_ms = 61_000
    (due,) = worker.claim()
    assert (due.run.id, due.reason, due.inbox) == (run_id, Reason.RESUME, woken.inbox)


def test_events_come_back_as_they_were_written(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    events = [
        Event(2, Kind.STEP_FINISHED, 7, 1_234_567, "né", -(2**63), 3, 250, b"\x00\xff{}"),
        Event(3, Kind.STEP_FAILED, 2**31 - 1, 5, "", 2**63 - 1, 0, 0, b""),
        Event(4, Kind.TIMER_FIRED, 9, 6),
    ]
    worker.commit(Activation(run_id, 1, events=events))
    assert [event for _, event in world.store.history(run_id)][1:] == events
    loaded = world.store.load([(run_id, 1), (b"?" * 16, 1)])
    assert loaded[run_id][1:] == events
    assert loaded[b"?" * 16] == []


def test_many_activations_are_one_group(world: World) -> None:
    worker = world.worker()
    ids = [world.trigger() for _ in range(700)]
    worker.claim(2_000)
    before = worker.lease.group_no
    worker.commit(*(worker.ending(run_id) for run_id in reversed(ids)))
    assert worker.lease.group_no == before + 1
    assert {run.status for run in world.store.get_runs(ids).values()} == {Status.COMPLETED}


# --- the fence -----------------------------------------------------------------------------------


def test_a_worker_that_was_taken_over_can_write_nothing(world: World) -> None:
    zombie, other = world.worker(), world.worker()
    run_id = world.begun(zombie).run.id
    assert zombie.lease.worker in world.store.take_over(world.now(), GONE_MS)
    with pytest.raises(Fenced):
        zombie.commit(Activation(run_id, 1, events=[step(2)]))
    with pytest.raises(Fenced):
        zombie.claim()
    with pytest.raises(Fenced):
        world.store.landed(zombie.lease)
    assert world.kinds(run_id) == [Kind.STARTED]
    with pytest.raises(Fenced):
        other.claim()


def test_a_worker_that_never_joined_is_fenced(world: World) -> None:
    with pytest.raises(Fenced):
        world.store.commit(Lease(7, ENVIRONMENT), [], None, world.now())


def test_a_group_of_which_the_answer_was_lost_has_landed(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    before = copy_lease(worker.lease)
    worker.commit(Activation(run_id, 1, events=[step(2)]))
    assert world.store.landed(before)
    assert before == worker.lease


def test_a_group_that_landed_is_not_written_twice(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    stale = Worker(world, world.store, copy_lease(worker.lease), worker.tasks)
    worker.commit(Activation(run_id, 1, events=[step(2)]))
    with pytest.raises(StoreUnavailable) as raised:
        stale.commit(Activation(run_id, 1, events=[step(2)]))
    assert raised.value.outcome_unknown
    assert world.store.landed(stale.lease)
    stale.commit(Activation(run_id, 1, events=[step(3)]))
    assert len(world.store.history(run_id)) == 3


def test_a_group_that_was_never_sent_has_not_landed_and_may_be_sent(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    for _ in range(2):
        assert not world.store.landed(worker.lease)
    worker.commit(Activation(run_id, 1, events=[step(2)]))
    assert len(world.store.history(run_id)) == 2


def test_a_group_that_fails_leaves_nothing_behind(world: World) -> None:
    worker = world.worker()
    one, two = world.begun(worker).run.id, world.begun(worker).run.id
    before = worker.lease.group_no
    with pytest.raises(Exception, match=r".+"):
        worker.commit(
            Activation(one, 1, events=[step(2)]), Activation(two, 1, events=[step(2), step(2)])
        )
    assert worker.lease.group_no == before
    assert len(world.store.history(one)) == len(world.store.history(two)) == 1
    worker.commit(Activation(one, 1, events=[step(2)]))


def test_resync_answers_all_that_the_worker_owns_with_its_inbox(world: World) -> None:
    worker = world.worker()
    owned = world.begun(worker).run.id
    world.store.cancel([owned], world.now())
    worker.claim()
    ready = world.trigger()
    again = {claimed.run.id: claimed for claimed in worker.claim(resync=True)}
    assert set(again) == {owned, ready}
    assert [row[0] for row in shape(again[owned].inbox)] == [InboxKind.CANCEL]
    assert (again[owned].reason, again[owned].seq) == (Reason.RESUME, 1)
    assert (again[ready].reason, again[ready].seq) == (Reason.NEW, 1)


# --- workers that go -----------------------------------------------------------------------------


def test_a_lost_workers_runs_are_taken(world: World) -> None:
    lost = world.worker()
    run_id = world.begun(lost).run.id
    lost.commit(Activation(run_id, 1, events=[step(2)]))
    assert world.store.take_over(world.now(), GONE_MS) == [lost.lease.worker]
    heir = world.worker()
    (claimed,) = heir.claim()
    assert (claimed.run.id, claimed.reason, claimed.seq) == (run_id, Reason.TAKEN, 3)
    assert world.kinds(run_id)[-1] is Kind.TAKEN
    assert world.run(run_id).worker == heir.lease.worker


def test_a_worker_that_beats_is_not_taken_over(world: World) -> None:
    worker = world.worker()
    world.begun(worker)
    assert world.store.take_over(world.now(), 60_000) == []
    assert worker.claim() == []


def test_a_worker_whose_process_is_gone_is_taken_over_at_once(world: World) -> None:
    gone, other = world.worker(), world.worker()
    run_id = world.begun(gone).run.id
    assert world.store.take_over(world.now(), 60_000, [gone.lease.worker]) == [gone.lease.worker]
    assert other.claim_ids() == [run_id]


def test_a_mark_that_was_routed_to_a_lost_worker_reaches_another(world: World) -> None:
    lost = world.worker()
    run_id = world.begun(lost).run.id
    world.store.cancel([run_id], world.now())
    world.store.take_over(world.now(), GONE_MS)
    (claimed,) = world.worker().claim()
    assert claimed.run.id == run_id
    assert [row[0] for row in shape(claimed.inbox)] == [InboxKind.CANCEL]


def last_beat(world: World) -> int:
    store: Any = world.store
    return store._query("SELECT beat FROM workers", ())[0][0]


def test_a_beat_shows_that_a_worker_lives_and_takes_no_part_in_its_fence(world: World) -> None:
    worker = world.worker()
    world.begun(worker)
    group_no, beaten = worker.lease.group_no, last_beat(world)
    until(lambda: world.now() > beaten)
    world.store.beat(worker.lease)
    assert last_beat(world) > beaten
    assert worker.lease.group_no == group_no
    assert worker.claim() == []
    assert world.store.take_over(world.now(), GONE_MS) == [worker.lease.worker]
    world.store.beat(worker.lease)
    assert world.store.workers(ENVIRONMENT) == []
    with pytest.raises(Fenced):
        worker.claim()


def test_a_worker_that_leaves_gives_its_runs_back(world: World) -> None:
    leaving, heir = world.worker(), world.worker()
    kept, rested = world.begun(leaving).run.id, world.begun(leaving).run.id
    world.store.cancel([rested], world.now())
    leaving.commit(Activation(rested, 1, release=True))
    world.store.leave(leaving.lease, world.now())
    claimed = {claimed.run.id: claimed for claimed in heir.claim()}
    assert (claimed[kept].reason, claimed[kept].seq) == (Reason.RESUME, 1), "nothing was lost"
    assert len(claimed[rested].inbox) == 1
    with pytest.raises(Fenced):
        leaving.claim()


def test_taking_over_twice_takes_nothing_the_second_time(world: World) -> None:
    world.begun(world.worker())
    world.store.take_over(world.now(), GONE_MS)
    assert world.store.take_over(world.now(), GONE_MS) == []
    assert len(world.worker().claim()) == 1


# --- runs that cannot go on ----------------------------------------------------------------------


def test_a_parked_run_waits_for_other_code(world: World) -> None:
    worker = world.worker(code="old")
    run_id = world.begun(worker).run.id
    parked = Blocked("nondeterminism", "step 3 is gone", 123, "wf runs unblock")
    worker.commit(Activation(run_id, 1, blocked=parked))
    run = world.run(run_id)
    assert (run.status, run.blocked, run.worker) == (Status.WAITING, parked, None)
    world.worker(code="old")
    world.worker("foreign", code="new")
    assert worker.claim() == []
    fixed = world.worker(code="new")
    (claimed,) = fixed.claim()
    assert (claimed.run.id, claimed.reason) == (run_id, Reason.RESUME)
    fixed.commit(Activation(run_id, 1, events=[step(2)]))
    assert world.run(run_id).blocked is None


def test_a_parked_run_is_woken_by_what_arrives(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    worker.commit(Activation(run_id, 1, blocked=Blocked("poisoned", "", 1)))
    assert worker.claim() == []
    assert world.store.cancel([run_id], world.now()) == [run_id]
    assert worker.claim_ids() == [run_id]


def test_parking_drops_the_due_time(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    worker.commit(
        Activation(run_id, 1, blocked=Blocked("x", "", 1), release=True, due_at=world.now() + 1)
    )
    assert world.store.next_due(ENVIRONMENT) is None


# --- chapters ------------------------------------------------------------------------------------


def test_the_next_chapter_keeps_what_it_is_told_to(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    failed = Event(5, Kind.ATTEMPT_FAILED, 0, 2_000, data=b"{}")
    retry = Event(0, Kind.TAKEN, 0, 3_000)
    worker.commit(
        Activation(
            run_id,
            1,
            events=[step(2, 1), step(3, 2, data=b"bad"), step(4, 3), failed],
            next_chapter=NextChapter(2, before_seq=5, attempt=2, forget=[2], events=[retry, retry]),
        )
    )
    run = world.run(run_id)
    assert (run.chapter, run.attempt) == (2, 2)
    old = world.store.history(run_id, 1)
    assert [event.seq for _, event in old] == [1, 2, 3, 4, 5]
    new = [event for _, event in world.store.history(run_id, 2)]
    assert [(e.seq, e.kind, e.ordinal, e.at) for e in new] == [
        (1, Kind.STARTED, 0, old[0][1].at),
        (2, Kind.STEP_FINISHED, 1, 1_002),
        (3, Kind.STEP_FINISHED, 3, 1_004),
        (4, Kind.TAKEN, 0, 3_000),
        (5, Kind.TAKEN, 0, 3_000),
    ]
    assert world.store.history(run_id) == old + world.store.history(run_id, 2)
    worker.commit(Activation(run_id, 2, events=[step(6, 4)], release=True, due_at=1))
    (claimed,) = worker.claim()
    assert (claimed.run.chapter, claimed.seq) == (2, 6)


def test_a_fresh_chapter_keeps_nothing(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    started = Event(0, Kind.STARTED, 0, 9, PYTHON)
    worker.commit(
        Activation(run_id, 1, events=[step(2)], next_chapter=NextChapter(2, 1, 2, events=[started]))
    )
    assert world.store.load([(run_id, 2)])[run_id] == [Event(1, Kind.STARTED, 0, 9, PYTHON)]


# --- at once -------------------------------------------------------------------------------------


def test_no_run_is_claimed_twice(world: World) -> None:
    ids = [run.id for run in (world.new() for _ in range(300))]
    world.store.trigger([world.new(id=run_id) for run_id in ids])
    workers = [world.worker(store=world.another_store()) for _ in range(6)]

    def work(worker: Worker) -> list[bytes]:
        mine: list[bytes] = []
        while claimed := worker.claim_ids(7):
            mine += claimed
        return mine

    got = [run_id for mine in at_once(*(partial(work, w) for w in workers)) for run_id in mine]
    got += workers[0].claim_ids()
    assert sorted(got) == sorted(ids)
    events = [len(world.store.history(run_id)) for run_id in ids]
    assert events == [1] * len(ids)


def test_workers_that_join_at_once_are_different(world: World) -> None:
    info = WorkerInfo(tasks=[TASK, "other"])
    leases = at_once(*(partial(world.store.join, ENVIRONMENT, info) for _ in range(8)))
    assert len({lease.worker for lease in leases}) == 8


def test_one_of_many_takes_a_lost_worker_over(world: World) -> None:
    lost = world.worker()
    run_id = world.begun(lost).run.id
    stores = [world.another_store() for _ in range(5)]
    taken = at_once(*(partial(store.take_over, world.now(), GONE_MS) for store in stores))
    assert sorted(taken) == [[]] * 4 + [[lost.lease.worker]]
    assert world.worker().claim_ids() == [run_id]
    assert world.kinds(run_id) == [Kind.STARTED, Kind.TAKEN]
