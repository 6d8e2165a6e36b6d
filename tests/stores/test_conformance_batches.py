"""Operations that wait for many runs, and what a batch's parent is told, on both stores."""

from __future__ import annotations

import json
from typing import Any

from tests.stores.test_conformance_ends import keyed, rows_of
from tests.stores.world import ENVIRONMENT, Worker, World, at_once
from wf.history.events import Status
from wf.history.ids import member_ids, new_id, show
from wf.history.limits import INSERT_ROWS
from wf.history.model import Activation, Among, InboxKind, RunFilter, Triggered, Wait


def awaiting(
    world: World, worker: Worker, count: int, among: Among = Among.ALL
) -> tuple[bytes, list[bytes]]:
    """A run that waits for so many others, which have begun."""
    parent = world.waiting(worker).run.id
    members = [world.begun(worker).run.id for _ in range(count)]
    worker.commit(Activation(parent, 1, waits=waits_for(members, among)))
    assert worker.claim() == []
    return parent, members


def waits_for(members: list[bytes], among: Among = Among.ALL, ordinal: int = 3) -> list[Wait]:
    return [Wait(one, ordinal, place=n, among=among) for n, one in enumerate(members)]


def gathers_of(world: World, run_id: bytes) -> list[Any]:
    store: Any = world.store
    rows: list[Any] = store._query("SELECT missing FROM gathers WHERE run_id = ?", [run_id])
    return rows


def places(worker: Worker) -> dict[bytes, list[tuple[int, str]]]:
    """Which ends each run is told of now."""
    return {
        claimed.run.id: sorted((row.place, row.name) for row in claimed.inbox)
        for claimed in worker.claim()
    }


def test_a_run_that_waits_for_many_is_woken_once_by_the_last(world: World) -> None:
    worker = world.worker()
    parent, members = awaiting(world, worker, 3)
    for member in members[:2]:
        worker.end(member)
        assert worker.claim() == []
        assert world.status(parent) is Status.WAITING
    worker.end(members[2])
    assert places(worker) == {parent: [(n, "COMPLETED") for n in range(3)]}


def test_one_that_did_not_complete_wakes_those_who_want_to_know(world: World) -> None:
    worker = world.worker()
    eager, of_eager = awaiting(world, worker, 2, Among.UNTIL_FAILURE)
    _, of_patient = awaiting(world, worker, 2, Among.ALL)
    worker.end(of_eager[1], Status.FAILED)
    worker.end(of_patient[1], Status.FAILED)
    assert places(worker) == {eager: [(1, "FAILED")]}


def test_ends_of_one_group_are_counted_together(world: World) -> None:
    worker = world.worker()
    parent, members = awaiting(world, worker, 4)
    worker.commit(*(worker.ending(member) for member in members))
    assert places(worker) == {parent: [(n, "COMPLETED") for n in range(4)]}


def test_two_workers_that_end_the_last_two_wake_the_parent(world: World) -> None:
    worker = world.worker()
    for _ in range(5):
        parent = world.waiting(worker).run.id
        others = [world.worker(store=world.another_store()) for _ in range(2)]
        members: list[bytes] = []
        for other in others:
            run_id = world.trigger()
            assert [c.run.id for c in other.claim()] == [run_id]
            members.append(run_id)
        worker.commit(Activation(parent, 1, waits=waits_for(members)))
        at_once(
            *(
                lambda other=other, member=member: other.end(member)
                for other, member in zip(others, members, strict=True)
            )
        )
        assert places(worker) == {parent: [(0, "COMPLETED"), (1, "COMPLETED")]}


def test_those_that_have_ended_before_are_counted(world: World) -> None:
    worker = world.worker()
    members = [world.begun(worker).run.id for _ in range(3)]
    worker.end(members[0])
    parent, all_over = world.waiting(worker).run.id, world.waiting(worker).run.id
    worker.commit(
        Activation(parent, 1, waits=waits_for(members)),
        Activation(all_over, 1, waits=waits_for(members[:1])),
    )
    assert places(worker) == {all_over: [(0, "COMPLETED")]}
    worker.end(members[1])
    worker.end(members[2])
    assert places(worker) == {parent: [(n, "COMPLETED") for n in range(3)]}


def test_one_run_may_stand_in_two_places(world: World) -> None:
    worker = world.worker()
    parent = world.waiting(worker).run.id
    member = world.begun(worker).run.id
    worker.commit(Activation(parent, 1, waits=waits_for([member, member])))
    worker.end(member)
    assert places(worker) == {parent: [(0, "COMPLETED"), (1, "COMPLETED")]}


def test_what_lies_unread_does_not_wake_a_run_that_waits_for_more(world: World) -> None:
    worker = world.worker()
    parent, members = awaiting(world, worker, 3)
    worker.end(members[0])
    world.store.cancel([parent], world.now())
    [claimed] = worker.claim()
    assert [row.kind for row in claimed.inbox] == [InboxKind.CHILD_ENDED, InboxKind.CANCEL]
    worker.end(members[1])
    read = [row.id for row in claimed.inbox]
    worker.commit(Activation(parent, 1, consumed=read, release=True))
    assert worker.claim() == []
    worker.end(members[2])
    assert places(worker) == {parent: [(1, "COMPLETED"), (2, "COMPLETED")]}


def test_a_run_that_ends_waits_for_nothing_any_more(world: World) -> None:
    worker = world.worker()
    parent, members = awaiting(world, worker, 2)
    world.store.cancel([parent], world.now())
    worker.claim()
    ending = worker.ending(parent)
    assert ending.ending is not None
    ending.ending.gathered = True
    worker.commit(ending)
    worker.end(members[0])
    worker.end(members[1])
    assert worker.claim() == []
    assert gathers_of(world, parent) == []


def test_a_plain_wait_beside_is_told_as_ever(world: World) -> None:
    worker = world.worker()
    parent, members = awaiting(world, worker, 2)
    single = world.begun(worker).run.id
    worker.commit(Activation(parent, 1, waits=[Wait(single, 9)]))
    worker.end(single)
    [claimed] = worker.claim()
    assert [row.ordinal for row in claimed.inbox] == [9]
    worker.commit(Activation(parent, 1, consumed=[claimed.inbox[0].id]))
    worker.end(members[0])
    worker.end(members[1])
    assert [row[2] for row in rows_of(worker, parent)] == [3, 3]


# --- batches --------------------------------------------------------------------------------------


def members(world: World, count: int, **columns: Any) -> tuple[bytes, list[Any]]:
    batch_id = new_id(world.now())
    runs = [
        world.new(id=run_id, batch_id=batch_id, **columns)
        for run_id in member_ids(batch_id, range(count))
    ]
    return batch_id, runs


def test_runs_of_a_batch_are_made_together_and_found_by_it(world: World) -> None:
    count = 2 * INSERT_ROWS + 1
    batch_id, runs = members(world, count)
    answers = world.store.trigger(runs)
    assert answers == [(run.id, Triggered.MADE) for run in runs]
    world.trigger()
    found = world.store.list_runs(RunFilter(ENVIRONMENT, batch_id=batch_id, limit=count))
    assert [run.id for run in found] == [run.id for run in reversed(runs)][: len(found)]
    assert {run.batch_id for run in found} == {batch_id}
    first = world.worker().claim(3)
    assert [claimed.run.id for claimed in first] == [run.id for run in runs[:3]]


def test_a_batch_that_is_asked_for_again_is_the_same(world: World) -> None:
    batch_id, runs = members(world, 3)
    assert world.store.trigger(runs) == world.store.trigger(runs)
    assert len(world.store.list_runs(RunFilter(ENVIRONMENT, batch_id=batch_id))) == 3


def test_the_keys_of_a_batch_are_settled_by_one_row(world: World) -> None:
    worker = world.worker()
    parent = world.waiting(worker).run.id
    there = world.store.trigger([keyed(world, "there")])[0][0]
    batch_id, runs = members(world, 4, parent_id=parent, root_id=parent, settle=2)
    for place, key in ((1, "there"), (2, "new"), (3, "new")):
        runs[place].idempotency_key = key
        runs[place].idempotency_expires_at = world.now() + 1_000_000
    worker.commit(Activation(parent, 1, children=runs))
    rows = rows_of(worker, parent)
    assert [row[:3] for row in rows] == [(InboxKind.BATCH_STARTED, 1, 2)]
    assert json.loads(rows[0][4]) == [
        [1, show("run", there), Triggered.CACHED],
        [3, show("run", runs[2].id), Triggered.CACHED],
    ]
    assert len(world.store.list_runs(RunFilter(ENVIRONMENT, batch_id=batch_id))) == 2
