"""Messages, on every store: kept until they are asked for, and nobody is woken before."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from tests.stores.world import ENVIRONMENT, Worker, World, at_once, step
from wf.history.events import Event, Kind
from wf.history.ids import new_id
from wf.history.limits import MESSAGES_AHEAD
from wf.history.messages import NewMessage, Sent
from wf.history.model import Activation, InboxKind, Wait
from wf.history.turns import NextChapter


def listening(world: World, worker: Worker, *names: str, **more: Any) -> bytes:
    """A run that waits for messages of these names."""
    run_id = world.begun(worker).run.id
    worker.commit(Activation(run_id, 1, listening=names, release=True, **more))
    return run_id


def send(world: World, run_id: bytes, name: str, *values: bytes) -> list[Sent]:
    messages = [NewMessage(run_id, name, value) for value in values]
    return world.store.send(messages, world.now())


def read(worker: Worker) -> dict[bytes, list[tuple[str, bytes]]]:
    """What is handed out with the runs that are claimed."""
    return {
        claimed.run.id: [(message.name, message.data) for message in claimed.messages]
        for claimed in worker.claim()
    }


def marks(world: World) -> list[bytes]:
    store: Any = world.store
    return [row[0] for row in store._query("SELECT run_id FROM ready", ())]


def unread(world: World) -> list[tuple[str, bytes]]:
    store: Any = world.store
    rows = store._query("SELECT name, data FROM messages ORDER BY id", ())
    return [(name, world.opened(data)) for name, data in rows]


# --- sending --------------------------------------------------------------------------------------


def test_ten_thousand_messages_to_a_run_that_listens_to_none_make_no_mark(world: World) -> None:
    worker = world.worker()
    deaf = world.waiting(worker).run.id
    other = listening(world, worker, "b")
    for _ in range(100):
        assert send(world, deaf, "a", *[b"1"] * 50) == [Sent.SENT] * 50
        assert send(world, other, "a", *[b"1"] * 50) == [Sent.SENT] * 50
    assert marks(world) == []
    assert worker.claim() == []
    assert len(unread(world)) == 10_000
    assert world.kinds(deaf) == world.kinds(other) == [Kind.STARTED]


def test_a_message_wakes_who_listens_to_its_name(world: World) -> None:
    worker = world.worker()
    run_id = listening(world, worker, "a", "b")
    send(world, run_id, "c", b"0")
    assert marks(world) == []
    send(world, run_id, "b", b"1")
    send(world, run_id, "a", b"2")
    assert marks(world) == [run_id]
    assert read(worker) == {run_id: [("b", b"1"), ("a", b"2")]}


def test_a_message_to_an_owned_run_is_routed_to_its_owner(world: World) -> None:
    owner, idle = world.worker(), world.worker()
    run_id = world.begun(owner).run.id
    owner.commit(Activation(run_id, 1, listening=["a"]))
    send(world, run_id, "a", b"1")
    assert read(idle) == {}
    assert read(owner) == {run_id: [("a", b"1")]}


def test_messages_of_before_are_told_when_somebody_begins_to_listen(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    send(world, run_id, "a", b"1", b"2")
    assert worker.claim() == []
    worker.commit(Activation(run_id, 1, listening=["b"], release=True))
    assert worker.claim() == []
    send(world, run_id, "b", b"3")
    assert read(worker) == {run_id: [("b", b"3")]}
    worker.commit(Activation(run_id, 1, listening=["a"], release=True))
    assert read(worker) == {run_id: [("a", b"1"), ("a", b"2")]}


def test_a_run_that_has_not_begun_takes_messages_and_an_ended_one_none(world: World) -> None:
    worker = world.worker()
    queued = world.trigger()
    assert send(world, queued, "a", b"1") == [Sent.SENT]
    assert send(world, new_id(1), "a", b"1") == [Sent.UNKNOWN]
    assert read(worker) == {queued: []}
    worker.end(queued)
    assert send(world, queued, "a", b"1") == [Sent.ENDED]
    assert unread(world) == []
    assert world.store.send([], world.now()) == []


def test_each_message_of_one_call_has_its_own_answer(world: World) -> None:
    worker = world.worker()
    ended, alive = world.begun(worker).run.id, listening(world, worker, "a")
    worker.end(ended)
    asked = [NewMessage(id, "a", b"1") for id in (alive, ended, new_id(1), alive)]
    answers = world.store.send(asked, world.now())
    assert answers == [Sent.SENT, Sent.ENDED, Sent.UNKNOWN, Sent.SENT]


# --- reading --------------------------------------------------------------------------------------


def test_what_has_been_read_is_gone_and_the_rest_is_handed_out_next(world: World) -> None:
    worker = world.worker()
    run_id = listening(world, worker, "a")
    values = [str(n).encode() for n in range(MESSAGES_AHEAD + 5)]
    send(world, run_id, "a", *values)
    (claimed,) = worker.claim()
    assert [message.data for message in claimed.messages] == values[:MESSAGES_AHEAD]
    ids = [message.id for message in claimed.messages]
    assert ids == sorted(ids)
    (again,) = worker.claim(1_000, Activation(run_id, 1, received=ids))
    assert [message.data for message in again.messages] == values[MESSAGES_AHEAD:]
    worker.commit(
        Activation(run_id, 1, received=[message.id for message in again.messages], release=True)
    )
    assert (marks(world), unread(world)) == ([], [])


def test_what_was_not_read_stays_for_the_next_worker(world: World) -> None:
    worker = world.worker()
    run_id = listening(world, worker, "a")
    send(world, run_id, "a", b"1", b"2")
    (claimed,) = worker.claim()
    worker.commit(Activation(run_id, 1, received=[claimed.messages[0].id], listening=["a"]))
    world.store.take_over(world.now(), -1_000_000)
    assert read(world.worker()) == {run_id: [("a", b"2")]}


def test_a_run_that_no_longer_listens_is_not_woken(world: World) -> None:
    worker = world.worker()
    run_id = listening(world, worker, "a")
    send(world, run_id, "a", b"1")
    (claimed,) = worker.claim()
    received = [message.id for message in claimed.messages]
    worker.commit(Activation(run_id, 1, received=received, listening=[], release=True))
    send(world, run_id, "a", b"2")
    assert marks(world) == []


def test_a_resync_brings_the_messages_again(world: World) -> None:
    worker = world.worker()
    run_id = listening(world, worker, "a")
    send(world, run_id, "a", b"1")
    assert read(worker) == {run_id: [("a", b"1")]}
    (claimed,) = worker.claim(resync=True)
    assert [message.data for message in claimed.messages] == [b"1"]


# --- sent by runs ---------------------------------------------------------------------------------


def test_a_run_sends_and_learns_what_became_of_it(world: World) -> None:
    worker = world.worker()
    reader, ended = listening(world, worker, "a"), world.begun(worker).run.id
    worker.end(ended)
    sender = world.begun(worker).run.id
    sends = [
        NewMessage(reader, "a", b"1", settle=4),
        NewMessage(ended, "a", b"2", settle=5),
        NewMessage(reader, "b", b"3", settle=6),
        NewMessage(new_id(1), "a", b"4", settle=7),
    ]
    worker.commit(Activation(sender, 1, sends=sends, release=True))
    claimed = {one.run.id: one for one in worker.claim()}
    assert [(row.kind, row.ordinal, row.name) for row in claimed[sender].inbox] == [
        (InboxKind.SEND_SETTLED, 4, "SENT"),
        (InboxKind.SEND_SETTLED, 5, "ENDED"),
        (InboxKind.SEND_SETTLED, 6, "SENT"),
        (InboxKind.SEND_SETTLED, 7, "UNKNOWN"),
    ]
    assert [message.data for message in claimed[reader].messages] == [b"1"]
    assert unread(world) == [("a", b"1"), ("b", b"3")]


def test_a_run_may_send_to_a_child_of_the_same_group_and_to_itself(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run.id
    child = world.new(parent_id=parent)
    sends = [NewMessage(child.id, "a", b"1", settle=2), NewMessage(parent, "a", b"2", settle=3)]
    worker.commit(Activation(parent, 1, children=[child], sends=sends, listening=["a"]))
    claimed = {one.run.id: one for one in worker.claim()}
    assert [row.name for row in claimed[parent].inbox] == ["SENT", "SENT"]
    assert [message.data for message in claimed[parent].messages] == [b"2"]
    worker.commit(Activation(child.id, 1, listening=["a"], release=True))
    assert read(worker) == {child.id: [("a", b"1")]}


# --- at once --------------------------------------------------------------------------------------


def test_who_sends_and_who_begins_to_listen_do_not_miss_each_other(world: World) -> None:
    for _ in range(20):
        worker = world.worker(store=world.another_store())
        run_id = world.begun(worker).run.id
        other = world.another_store()
        activation = Activation(run_id, 1, listening=["a"], release=True)
        message = NewMessage(run_id, "a", b"1")
        at_once(partial(worker.commit, activation), partial(other.send, [message], world.now()))
        assert marks(world) == [run_id]
        assert read(worker) == {run_id: [("a", b"1")]}
        worker.end(run_id)


def test_who_sends_and_who_ends_agree(world: World) -> None:
    for _ in range(20):
        worker = world.worker(store=world.another_store())
        run_id = listening(world, worker, "b")
        other = world.another_store()
        send(world, run_id, "b", b"0")
        worker.claim()
        message = NewMessage(run_id, "a", b"1")
        _, [outcome] = at_once(
            partial(worker.end, run_id), partial(other.send, [message], world.now())
        )
        assert outcome in (Sent.SENT, Sent.ENDED)
        assert unread(world) == []


def test_many_who_send_at_once_keep_their_own_order(world: World) -> None:
    worker = world.worker()
    run_id = listening(world, worker, "a")

    def some(who: int) -> None:
        store = world.another_store()
        for number in range(10):
            store.send([NewMessage(run_id, "a", f"[{who},{number}]".encode())], world.now())

    at_once(*(partial(some, who) for who in range(4)))
    (claimed,) = worker.claim()
    read_first = [json.loads(message.data) for message in claimed.messages]
    assert len(unread(world)) == 40
    for who in range(4):
        numbers = [number for sender, number in read_first if sender == who]
        assert numbers == list(range(len(numbers)))


# --- the end of a chapter -------------------------------------------------------------------------


def test_a_chapter_takes_its_waits_and_the_tokens_that_are_cut_with_it(world: World) -> None:
    worker = world.worker()
    run_id, waiter = world.begun(worker).run.id, world.begun(worker).run.id
    kept, cut = world.token(run_id=run_id), world.token(run_id=run_id, timeout_at=world.now() + 99)
    made = [
        Event(2 + n, Kind.TOKEN_CREATED, 1 + n, 1, data=t.id) for n, t in enumerate((kept, cut))
    ]
    waits = [Wait(kept.id, 3, of_token=True)]
    worker.commit(
        Activation(run_id, 1, events=made, tokens=[kept, cut], waits=waits, listening=["a"]),
        Activation(waiter, 1, waits=[Wait(cut.id, 1, of_token=True)]),
    )
    send(world, run_id, "b", b"1")
    chapter = NextChapter(2, before_seq=3, attempt=2)
    worker.commit(Activation(run_id, 1, next_chapter=chapter, release=True))
    told = {one.run.id: [row.name for row in one.inbox] for one in worker.claim()}
    assert told == {waiter: ["CANCELED"]}
    statuses = {token.id: token.status for token in world.store.list_tokens(ENVIRONMENT)}
    assert statuses == {kept.id: "WAITING", cut.id: "CANCELED"}
    assert world.store.next_due(ENVIRONMENT) is None
    world.store.end_token(kept.id, "COMPLETED", b"1", world.now())
    send(world, run_id, "a", b"2")
    assert marks(world) == []
    assert unread(world) == [("b", b"1"), ("a", b"2")]


def test_a_restart_drops_old_chapters_but_for_the_beginning(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    started = world.run(run_id).started_at
    for number in range(2, 6):
        event = Event(0, Kind.STARTED, 0, 1_000, attempt=number - 1, data=b"[%d]" % number)
        chapter = NextChapter(number, 1, 1, events=[event], oldest=max(1, number - 2))
        worker.commit(Activation(run_id, number - 1, [step(2), step(3, 2)], next_chapter=chapter))
    chapters = [(chapter, event.seq) for chapter, event in world.store.history(run_id)]
    assert chapters == [(1, 1), (3, 1), (3, 2), (3, 3), (4, 1), (4, 2), (4, 3), (5, 1)]
    run = world.run(run_id)
    assert (run.chapter, run.attempt, run.started_at) == (5, 1, started)
    assert (run.payload, run.restarted_with) == (b'{"n":1}', b"[5]")
