"""Ends, and who waits for them: children, tokens, cancels, on SQLite and on Postgres."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

from tests.stores.world import ENVIRONMENT, Worker, World, at_once, shape, step
from wf.history.errors import AlreadyEnded, NotFound
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import new_id
from wf.history.model import Activation, InboxKind, Triggered, Wait
from wf.history.turns import NextChapter

DAY_MS = 86_400_000


def keyed(world: World, key: str = "k", **columns: Any) -> Any:
    return world.new(idempotency_key=key, idempotency_expires_at=world.now() + DAY_MS, **columns)


def rows_of(worker: Worker, run_id: bytes) -> list[Any]:
    """What a claim brings to that run."""
    return [row for c in worker.claim() if c.run.id == run_id for row in shape(c.inbox)]


# --- runs that end -------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [s for s in Status if s.ended])
def test_a_run_ends_with_its_output_or_failure(world: World, status: Status) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    worker.end(run_id, status)
    run = world.run(run_id)
    assert (run.status, run.worker) == (status, None)
    assert run.ended_at is not None
    if status is Status.COMPLETED:
        assert (run.output, run.failure) == (b'"done"', None)
    else:
        assert run.output is None
        assert Failure.decode(run.failure).message == status
    assert worker.claim(resync=True) == []
    assert world.kinds(run_id) == [Kind.STARTED, Kind.ENDED]


def test_the_end_is_the_last_row_of_a_history_from_wherever_it_is_read(world: World) -> None:
    worker = world.worker()
    claimed = world.begun(worker)
    run_id = claimed.run.id
    turn = NextChapter(2, 2, 2, events=[step(0)])
    worker.commit(Activation(run_id, 1, next_chapter=turn))
    assert world.kinds(run_id) == [Kind.STARTED, Kind.STARTED, Kind.STEP_FINISHED]
    worker.end(run_id, Status.FAILED, chapter=2)
    run, history = world.run(run_id), world.store.history(run_id)
    end = Event(3, Kind.ENDED, 0, run.ended_at or 0, "FAILED", data=run.failure)
    assert history[3:] == [(2, end)]
    for place, (chapter, event) in enumerate(history, 1):
        assert world.store.history(run_id, after=(chapter, event.seq)) == history[place:]
    assert world.store.history(run_id, 1) == history[:1]
    assert world.store.history(run_id, 2) == history[1:]
    assert world.store.history(run_id, 2, after=(2, 2)) == history[3:]


def test_runs_are_live_until_they_end(world: World) -> None:
    worker = world.worker()
    begun, ended = world.begun(worker).run.id, world.begun(worker).run.id
    queued, unknown = world.trigger(), new_id(world.now())
    worker.end(ended)
    assert world.store.live([begun, ended, queued, unknown]) == {begun, queued}
    assert world.store.live([]) == set()


@pytest.mark.parametrize("status", [s for s in Status if s.ended])
def test_of_runs_that_are_asked_for_those_are_told_that_have_ended(
    world: World, status: Status
) -> None:
    worker = world.worker()
    begun, ended = world.begun(worker).run.id, world.begun(worker).run.id
    worker.end(ended, status)
    [(run_id, run)] = world.store.ended([begun, ended, new_id(world.now())]).items()
    full = world.run(ended)
    assert run_id == run.id == ended
    assert (run.status, run.ended_at) == (status, full.ended_at)
    assert (run.task, run.output, run.failure) == (full.task, full.output, full.failure)
    assert world.store.ended([]) == {}


def test_what_arrives_for_an_ended_run_is_dropped(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    world.store.cancel([run_id], world.now())
    worker.end(run_id)
    assert world.store.cancel([run_id], world.now()) == []
    assert worker.claim() == []
    assert world.store.next_due(ENVIRONMENT) is None


def test_an_end_tells_who_waits(world: World) -> None:
    worker = world.worker()
    parent, other = world.waiting(worker).run.id, world.waiting(worker).run.id
    child = world.begun(worker, parent_id=parent, root_id=parent).run.id
    worker.commit(
        Activation(parent, 1, waits=[Wait(child, 3), Wait(child, 4)]),
        Activation(other, 1, waits=[Wait(child, 1)]),
    )
    assert worker.claim() == []
    worker.end(child, output=b"[1,2]")
    told = {claimed.run.id: shape(claimed.inbox) for claimed in worker.claim()}
    done = (InboxKind.CHILD_ENDED, 1)
    assert sorted(told[parent], key=lambda row: row[2]) == [
        (*done, 3, "COMPLETED", b"[1,2]"),
        (*done, 4, "COMPLETED", b"[1,2]"),
    ]
    assert told[other] == [(*done, 1, "COMPLETED", b"[1,2]")]


def test_a_failed_child_hands_its_failure_up(world: World) -> None:
    worker = world.worker()
    parent = world.waiting(worker).run.id
    child = world.begun(worker).run.id
    worker.commit(Activation(parent, 1, waits=[Wait(child, 3)]))
    worker.end(child, Status.TIMED_OUT)
    failure = world.run(child).failure
    assert rows_of(worker, parent) == [(InboxKind.CHILD_ENDED, 1, 3, "TIMED_OUT", failure)]


def test_a_wait_for_a_run_that_has_ended_is_told_at_once(world: World) -> None:
    worker = world.worker()
    child = world.begun(worker).run.id
    worker.end(child)
    parent = world.begun(worker).run.id
    (claimed,) = worker.claim(10, Activation(parent, 1, waits=[Wait(child, 2)]))
    assert claimed.run.id == parent
    assert shape(claimed.inbox) == [(InboxKind.CHILD_ENDED, 1, 2, "COMPLETED", b'"done"')]
    assert claimed.inbox[0].run_id == parent


def test_a_parent_and_its_child_may_end_in_one_group(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = world.begun(worker).run.id
    worker.commit(Activation(parent, 1, waits=[Wait(child, 2)]))
    worker.commit(worker.ending(parent), worker.ending(child))
    assert worker.claim() == []
    assert world.status(parent) is world.status(child) is Status.COMPLETED


def test_a_wait_that_opens_as_its_target_ends_is_told(world: World) -> None:
    worker = world.worker()
    parent, child = world.begun(worker).run.id, world.begun(worker).run.id
    worker.commit(Activation(parent, 1, waits=[Wait(child, 2)]), worker.ending(child))
    assert [row[:3] for row in rows_of(worker, parent)] == [(InboxKind.CHILD_ENDED, 1, 2)]


def test_an_inbox_row_is_handed_out_until_it_is_consumed(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    world.store.cancel([run_id], world.now())
    (claimed,) = worker.claim()
    (row,) = claimed.inbox
    (again,) = worker.claim(resync=True)
    assert again.inbox == [row]
    worker.commit(Activation(run_id, 1, events=[step(2)], consumed=[row.id]))
    (after,) = worker.claim(resync=True)
    assert after.inbox == []


def test_a_run_that_is_released_with_something_unread_is_handed_out_again(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    world.store.cancel([run_id], world.now())
    worker.claim()
    (claimed,) = worker.claim(10, Activation(run_id, 1, release=True))
    assert claimed.run.id == run_id
    assert len(claimed.inbox) == 1


def test_a_mark_goes_to_the_owner(world: World) -> None:
    owner, other = world.worker(), world.worker()
    run_id = world.begun(owner).run.id
    world.store.cancel([run_id], world.now())
    assert other.claim() == []
    assert owner.claim_ids(0) == [run_id], "marks of one's own come on top of the limit"


# --- children ------------------------------------------------------------------------------------


def test_a_child_is_made_with_what_its_parent_adds(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = world.new(parent_id=parent, root_id=parent)
    (claimed,) = worker.claim(
        10, Activation(parent, 1, events=[step(2)], children=[child], waits=[Wait(child.id, 1)])
    )
    assert claimed.run.id == child.id
    assert claimed.run.root_id == claimed.run.parent_id == parent
    worker.end(child.id)
    assert rows_of(worker, parent) == [(InboxKind.CHILD_ENDED, 1, 1, "COMPLETED", b'"done"')]


def test_a_child_that_is_there_already_is_left_alone(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = world.begun(worker, parent_id=parent)
    worker.end(child.run.id)
    again = world.new(id=child.run.id, parent_id=parent, payload=b"2")
    worker.commit(Activation(parent, 1, children=[again], waits=[Wait(again.id, 1)]))
    assert world.run(child.run.id).payload == b'{"n":1}'
    assert [row[:3] for row in rows_of(worker, parent)] == [(InboxKind.CHILD_ENDED, 1, 1)]


def test_a_keyed_child_is_settled_by_an_inbox_row(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = keyed(world, settle=5, parent_id=parent, root_id=parent)
    claimed = {c.run.id: c for c in worker.claim(10, Activation(parent, 1, children=[child]))}
    assert shape(claimed[parent].inbox) == [(InboxKind.CHILD_STARTED, 1, 5, "MADE", child.id)]
    assert child.id in claimed


def test_a_keyed_child_may_turn_out_to_be_another_run(world: World) -> None:
    worker = world.worker()
    first = keyed(world)
    world.trigger_how(first)
    worker.claim()
    parent = world.begun(worker).run.id
    twin, differs = keyed(world, settle=5), keyed(world, settle=6, payload=b"0")
    worker.commit(Activation(parent, 1, children=[twin, differs], waits=[Wait(twin.id, 5)]))
    assert world.store.get_runs([twin.id, differs.id]) == {}
    (claimed,) = worker.claim()
    assert sorted(shape(claimed.inbox), key=lambda row: row[2]) == [
        (InboxKind.CHILD_STARTED, 1, 5, "CACHED", first.id),
        (InboxKind.CHILD_STARTED, 1, 6, "CACHED_DIFFERS", first.id),
    ]
    worker.commit(Activation(parent, 1, consumed=[row.id for row in claimed.inbox], release=True))
    worker.end(first.id)
    assert rows_of(worker, parent) == [(InboxKind.CHILD_ENDED, 1, 5, "COMPLETED", b'"done"')]


def test_a_keyed_child_that_has_ended_is_settled_and_told_at_once(world: World) -> None:
    worker = world.worker()
    first = keyed(world)
    world.trigger_how(first)
    worker.claim()
    worker.end(first.id)
    parent = world.begun(worker).run.id
    twin = keyed(world, settle=5)
    worker.commit(Activation(parent, 1, children=[twin], waits=[Wait(twin.id, 5)]))
    assert [row[0] for row in rows_of(worker, parent)] == [
        InboxKind.CHILD_STARTED,
        InboxKind.CHILD_ENDED,
    ]


def test_a_wait_belongs_to_the_chapter_that_goes_on(world: World) -> None:
    worker = world.worker()
    parent, child = world.begun(worker).run.id, world.begun(worker).run.id
    worker.commit(Activation(parent, 1, events=[step(2)], next_chapter=NextChapter(2, 3, 2)))
    worker.commit(Activation(parent, 2, waits=[Wait(child, 9)], release=True))
    worker.end(child)
    assert [row[:3] for row in rows_of(worker, parent)] == [(InboxKind.CHILD_ENDED, 2, 9)]


# --- cancel --------------------------------------------------------------------------------------


@pytest.mark.parametrize("delay_ms", [0, 60_000])
def test_a_run_that_never_began_is_canceled_at_once(world: World, delay_ms: int) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = keyed(world, start_at=world.now() + delay_ms if delay_ms else 0, ttl_ms=99_000)
    world.trigger_how(child)
    worker.commit(Activation(parent, 1, waits=[Wait(child.id, 2)], release=True))
    now = world.now()
    assert world.store.cancel([child.id], now) == [child.id]
    run = world.run(child.id)
    assert (run.status, run.ended_at, run.started_at) == (Status.CANCELED, now, None)
    ((_, event),) = world.store.history(child.id)
    assert (event.kind, event.name, event.data) == (Kind.ENDED, "CANCELED", run.failure)
    assert rows_of(worker, parent) == [(InboxKind.CHILD_ENDED, 1, 2, "CANCELED", run.failure)]
    assert world.store.next_due(ENVIRONMENT) is None
    assert world.trigger_how(keyed(world))[1] is Triggered.MADE


def test_a_run_that_has_begun_is_told_of_a_cancel_once(world: World) -> None:
    worker = world.worker()
    run_id = world.waiting(worker).run.id
    for _ in range(2):
        assert world.store.cancel([run_id], world.now()) == [run_id]
    assert [row[0] for row in rows_of(worker, run_id)] == [InboxKind.CANCEL]
    assert world.status(run_id) is Status.EXECUTING


def test_cancel_answers_the_live_ones_in_order(world: World) -> None:
    worker = world.worker()
    ended = world.begun(worker).run.id
    worker.end(ended)
    waiting = world.waiting(worker).run.id
    queued = world.trigger()
    asked = [queued, b"unknown-unknown-", ended, waiting, queued]
    assert world.store.cancel(asked, world.now()) == [queued, waiting]
    assert world.store.cancel([], world.now()) == []


def test_a_parent_cancels_its_children_in_its_own_group(world: World) -> None:
    worker, foreign = world.worker(), world.worker("foreign")
    parent = world.begun(worker).run.id
    running = world.begun(foreign, "foreign").run.id
    queued = world.trigger("nobody")
    worker.commit(Activation(parent, 1, waits=[Wait(queued, 1), Wait(running, 2)]))
    worker.commit(Activation(parent, 1, cancels=[queued, running]))
    assert [row[0] for row in rows_of(foreign, running)] == [InboxKind.CANCEL]
    assert [row[2:4] for row in rows_of(worker, parent)] == [(1, "CANCELED")]


def test_a_cancel_and_a_claim_at_once_agree(world: World) -> None:
    for _ in range(15):
        run_id = world.trigger()
        worker = world.worker(store=world.another_store())
        canceling = world.another_store()
        reached, claimed = at_once(
            partial(canceling.cancel, [run_id], world.now()), worker.claim_ids
        )
        assert reached == [run_id]
        if world.status(run_id) is Status.CANCELED:
            assert claimed == []
            assert world.kinds(run_id) == [Kind.ENDED]
            continue
        assert claimed == [run_id]
        (mine,) = worker.claim(resync=True)
        assert [row[0] for row in shape(mine.inbox)] == [InboxKind.CANCEL]
        worker.end(run_id, Status.CANCELED)


# --- tokens --------------------------------------------------------------------------------------


def test_a_token_is_completed_once(world: World) -> None:
    token = world.token(tags=["a"], schema=b'{"type":"number"}')
    world.store.create_tokens([token])
    world.store.create_tokens([token])
    assert world.store.get_token(token.id) is not None
    now = world.now()
    done = world.store.end_token(token.id, "COMPLETED", b"1", now)
    assert (done.status, done.data, done.ended_at, done.tags) == ("COMPLETED", b"1", now, ["a"])
    assert done.schema == b'{"type":"number"}'
    assert world.store.end_token(token.id, "COMPLETED", b"1", now + 1) == done
    for status, data in [("COMPLETED", b"2"), ("CANCELED", None)]:
        with pytest.raises(AlreadyEnded):
            world.store.end_token(token.id, status, data, now)
    assert world.store.get_token(token.id) == done
    with pytest.raises(NotFound):
        world.store.end_token(new_id(1), "COMPLETED", b"1", now)


@pytest.mark.parametrize(("status", "data"), [("COMPLETED", b"[7]"), ("CANCELED", None)])
def test_a_token_tells_who_waits(world: World, status: str, data: bytes | None) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    token = world.token(run_id=run_id)
    worker.commit(
        Activation(
            run_id, 1, tokens=[token], waits=[Wait(token.id, 2, of_token=True)], release=True
        )
    )
    assert world.status(run_id) is Status.WAITING
    world.store.end_token(token.id, status, data, world.now())
    assert rows_of(worker, run_id) == [(InboxKind.TOKEN_ENDED, 1, 2, status, data)]


def test_a_wait_for_a_token_that_has_ended_is_told_at_once(world: World) -> None:
    worker = world.worker()
    token = world.token()
    world.store.create_tokens([token])
    world.store.end_token(token.id, "COMPLETED", b"3", world.now())
    run_id = world.begun(worker).run.id
    worker.commit(Activation(run_id, 1, waits=[Wait(token.id, 2, of_token=True)]))
    assert rows_of(worker, run_id) == [(InboxKind.TOKEN_ENDED, 1, 2, "COMPLETED", b"3")]


def test_a_token_times_out(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    token = world.token(timeout_at=world.now() + 1_000)
    worker.commit(
        Activation(
            run_id, 1, tokens=[token], waits=[Wait(token.id, 2, of_token=True)], release=True
        )
    )
    assert world.store.next_due(ENVIRONMENT) == token.timeout_at
    assert world.store.next_due(ENVIRONMENT, run_id) == token.timeout_at
    world.skipped_ms = 2_000
    assert rows_of(worker, run_id) == [(InboxKind.TOKEN_ENDED, 1, 2, "TIMED_OUT", None)]
    ended = world.store.get_token(token.id)
    assert ended is not None
    assert ended.status == "TIMED_OUT"
    assert world.store.next_due(ENVIRONMENT) is None


def test_what_is_late_together_is_told_as_it_was_due_and_then_as_the_body_asked(
    world: World,
) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    now = world.now()
    tokens = [world.token(timeout_at=now + 1_000 + place % 3) for place in range(12)]
    waits = [Wait(token.id, place, of_token=True) for place, token in enumerate(tokens, 2)]
    worker.commit(Activation(run_id, 1, tokens=tokens, waits=waits[::-1], release=True))
    world.skipped_ms = 2_000
    told = [row[2] - 2 for row in rows_of(worker, run_id)]
    assert told == sorted(range(12), key=lambda place: place % 3)


def test_a_token_cannot_be_completed_after_its_time(world: World) -> None:
    token = world.token(timeout_at=world.now() + 10)
    world.store.create_tokens([token])
    with pytest.raises(AlreadyEnded):
        world.store.end_token(token.id, "COMPLETED", b"1", token.timeout_at)
    ended = world.store.get_token(token.id)
    assert ended is not None
    assert (ended.status, ended.data) == ("TIMED_OUT", None)


def test_the_end_of_a_run_cancels_the_tokens_that_it_made(world: World) -> None:
    worker = world.worker()
    maker, waiter = world.begun(worker).run.id, world.begun(worker).run.id
    mine, done, foreign = (
        world.token(run_id=maker, timeout_at=world.now() + DAY_MS),
        world.token(run_id=maker),
        world.token(),
    )
    worker.commit(
        Activation(maker, 1, tokens=[mine, done]),
        Activation(waiter, 1, waits=[Wait(mine.id, 2, of_token=True)], release=True),
    )
    world.store.create_tokens([foreign])
    world.store.end_token(done.id, "COMPLETED", b"1", world.now())
    worker.end(maker)
    assert rows_of(worker, waiter) == [(InboxKind.TOKEN_ENDED, 1, 2, "CANCELED", None)]
    listed = {token.id: token.status for token in world.store.list_tokens(ENVIRONMENT)}
    assert listed == {mine.id: "CANCELED", done.id: "COMPLETED", foreign.id: "WAITING"}
    of_maker = world.store.list_tokens(ENVIRONMENT, run_id=maker, status="CANCELED")
    assert [token.id for token in of_maker] == [mine.id]
    assert world.store.next_due(ENVIRONMENT) is None


def test_a_commit_that_asks_for_nothing_says_whether_there_is_something_to_take_now(
    world: World,
) -> None:
    worker = world.worker()
    parent, child, alone = (world.begun(worker).run.id for _ in range(3))

    def again(*activations: Activation) -> bool:
        return world.store.commit(worker.lease, activations, None, world.now()).again

    assert not again(Activation(parent, 1, waits=[Wait(child, 2)], release=True))
    assert not again(worker.ending(alone))
    assert again(worker.ending(child))
    assert worker.claim_ids() == [parent]


def test_only_a_commit_that_asks_for_runs_looks_for_what_is_due(world: World) -> None:
    worker = world.worker()
    run_id = world.waiting(worker).run.id
    other = world.begun(worker).run.id
    worker.commit(Activation(other, 1, release=True, due_at=world.now() + 1))
    world.skipped_ms += 10
    worker.commit()
    assert world.store.next_due(ENVIRONMENT) is not None
    assert worker.claim_ids() == [other]
    assert run_id not in worker.claim_ids()
