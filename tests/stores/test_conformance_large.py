"""Large values stand beside the rows, belong to one run or token, and are read where they are
asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.stores.test_conformance_pruning import DAY, ENDED, LATER, prune
from tests.stores.world import ENVIRONMENT, World, step
from wf.history.audit import audit
from wf.history.blobs import is_reference, size_of
from wf.history.events import Event, Kind, Status
from wf.history.ids import new_id
from wf.history.limits import INLINE_BYTES
from wf.history.messages import NewMessage, Sent
from wf.history.model import Activation, Debounced, RunFilter, Triggered, Wait
from wf.history.step import StepPlace
from wf.history.turns import NextChapter


def large(word: str) -> bytes:
    """JSON that is too large for a row."""
    return b'"' + word.encode() * (INLINE_BYTES // len(word) + 1) + b'"'


def owners(world: World) -> list[bytes]:
    """Whose large values there are."""
    query: Any = world.store
    return [bytes(row[0]) for row in query._query("SELECT owner FROM blobs ORDER BY owner", [])]


def whole(world: World, data: bytes | None) -> bytes:
    """What a claim or a list stands a reference for."""
    assert data is not None
    assert is_reference(data)
    return bytes(world.store.fetch([data])[data])


def finished(world: World, data: bytes) -> Event:
    return step(2, data=data).but(at=world.now())


def test_small_values_stay_in_their_rows(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker, payload=b'"' + b"x" * (INLINE_BYTES // 2) + b'"').run
    worker.end(run.id)
    assert owners(world) == []


def test_a_claim_and_a_list_hand_out_references_and_all_else_whole_values(world: World) -> None:
    worker = world.worker()
    claimed = world.begun(worker, payload=large("in"))
    assert whole(world, claimed.run.payload) == large("in")
    assert size_of(claimed.run.payload) >= len(large("in"))
    worker.commit(Activation(claimed.run.id, 1, events=[finished(world, large("step"))]))
    worker.commit(worker.ending(claimed.run.id, output=large("out")))
    run = world.run(claimed.run.id)
    assert (run.payload, run.output) == (large("in"), large("out"))
    [listed] = world.store.list_runs(RunFilter(ENVIRONMENT))
    assert whole(world, listed.output) == large("out")
    assert whole(world, listed.payload) == large("in")
    assert [one.data for _, one in world.store.history(run.id)][1] == large("step")
    assert world.store.load([(run.id, 1)])[run.id][1].data == large("step")
    assert owners(world) == [run.id] * 3
    assert audit(world.store) == []


def test_a_childs_output_is_its_parents_own_once_that_has_read_it(world: World) -> None:
    worker = world.worker()
    parent = world.begun(worker).run
    child = world.new(parent_id=parent.id, root_id=parent.id)
    await_it = Event(2, Kind.CHILD_TRIGGERED, 1, world.now(), data=child.id)
    waits = [Wait(child.id, 1)]
    worker.commit(Activation(parent.id, 1, [await_it], children=[child], waits=waits, release=True))
    worker.claim()
    worker.commit(worker.ending(child.id, output=large("out")))
    assert owners(world) == [child.id]
    [news] = worker.claim()[0].inbox
    assert whole(world, news.data) == large("out")
    told = Event(3, Kind.CHILD_ENDED, 1, world.now(), "COMPLETED", data=large("out"))
    sealed = world.store.fetch([news.data or b""])[news.data or b""]
    worker.commit(Activation(parent.id, 1, [told.but(data=sealed)], consumed=[news.id]))
    assert owners(world) == sorted([child.id, parent.id])
    assert [one.data for _, one in world.store.history(parent.id)][-1] == large("out")
    assert audit(world.store) == []


def test_what_somebody_has_yet_to_read_outlives_who_sent_it(world: World) -> None:
    worker, sender = world.worker(), world.worker("sender")
    target = world.begun(sender, "sender").run.id
    token = world.token(run_id=target)
    world.store.create_tokens([token])
    waiter = world.begun(worker).run.id
    waits = [Wait(target, 1), Wait(token.id, 2, of_token=True)]
    worker.commit(Activation(waiter, 1, waits=waits, release=True))
    assert world.store.end_token(token.id, "COMPLETED", large("token"), world.now()).data
    sender.end(target, output=large("out"))
    assert sorted(owners(world)) == sorted([target, token.id])
    assert prune(world, RunFilter(ENVIRONMENT, status=ENDED.status, task="sender")) == [target]
    assert owners(world) == [waiter, waiter]
    [claimed] = worker.claim()
    read = sorted(whole(world, row.data) for row in claimed.inbox)
    assert read == sorted([large("token"), large("out")])


def test_what_is_refused_leaves_no_value(world: World) -> None:
    worker = world.worker()
    keyed = world.new(payload=large("in"), idempotency_key="k", idempotency_expires_at=LATER)
    assert world.trigger_how(keyed)[1] is Triggered.MADE
    again = world.new(payload=large("in"), idempotency_key="k", idempotency_expires_at=LATER)
    assert world.trigger_how(again) == (keyed.id, Triggered.CACHED)
    other = world.new(payload=large("other"), idempotency_key="k", idempotency_expires_at=LATER)
    assert world.trigger_how(other) == (keyed.id, Triggered.CACHED_DIFFERS)
    assert owners(world) == [keyed.id]
    worker.claim()
    worker.end(keyed.id)
    messages = [NewMessage(to, "m", large("hi")) for to in (keyed.id, new_id(1))]
    assert world.store.send(messages, world.now()) == [Sent.ENDED, Sent.UNKNOWN]
    assert owners(world) == [keyed.id]


def test_a_large_message_is_handed_out_with_the_run_that_listens(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    assert world.store.send([NewMessage(run, "m", large("hi"))], world.now()) == [Sent.SENT]
    worker.commit(Activation(run, 1, listening=["m"], release=True))
    [claimed] = worker.claim()
    [message] = claimed.messages
    assert whole(world, message.data) == large("hi")
    assert owners(world) == [run]


def test_a_steps_own_transaction_records_a_large_result(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    place = StepPlace(worker.lease.worker, run, 1, 1)
    world.store.begin(place).commit(5, large("out"))
    [claimed] = worker.claim()
    assert whole(world, claimed.inbox[0].data) == large("out")
    assert owners(world) == [run]


def test_a_pushed_run_has_the_last_large_payload(world: World) -> None:
    def pushed(data: bytes) -> bytes:
        at = world.now()
        new = world.new(
            payload=data, created_at=at, start_at=at + DAY, debounce=Debounced("k", DAY)
        )
        return world.trigger_how(new)[0]

    assert pushed(large("first")) == pushed(large("last"))
    [run] = world.store.list_runs(RunFilter(ENVIRONMENT))
    assert world.run(run.id).payload == large("last")


def test_a_retry_keeps_large_results_and_a_dropped_chapter_gives_up_its_own(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    kept = [step(2, 1, data=large("kept")), step(3, 2, data=large("forgotten"))]
    worker.commit(Activation(run, 1, kept, next_chapter=NextChapter(2, 3, 2, forget=[2])))
    assert [one.data for _, one in world.store.history(run, 2)][1] == large("kept")
    assert owners(world) == [run, run]
    begun = Event(1, Kind.STARTED, 0, world.now(), data=large("again"))
    turn = NextChapter(3, 0, 1, events=[begun], oldest=3)
    worker.claim()
    worker.commit(Activation(run, 2, next_chapter=turn))
    assert world.run(run).restarted_with == large("again")
    assert owners(world) == [run]
    assert audit(world.store) == []


def test_values_go_with_their_runs_and_a_scrub_leaves_no_trace(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker, payload=large("a trace in a payload")).run.id
    token = world.token(run_id=run)
    world.store.create_tokens([token])
    world.store.end_token(token.id, "COMPLETED", large("a trace in a token"), world.now())
    worker.end(run, output=large("a trace in an output"))
    assert len(owners(world)) == 3
    assert prune(world) == [run]
    assert owners(world) == []
    world.store.scrub()
    if world.url.startswith("sqlite") and world.codec is None:
        path = Path(world.url.removeprefix("sqlite:///"))
        assert not any(b"a trace" in one.read_bytes() for one in path.parent.iterdir())


def test_the_audit_finds_a_value_that_is_gone_and_one_that_is_nobodys(world: World) -> None:
    run = world.trigger(payload=large("in"))
    worker = world.worker()
    worker.claim()
    worker.commit(Activation(run, 1, [step(2, data=large("out"))]))
    query: Any = world.store
    references = {
        row[0]: bytes(row[1])
        for row in query._query("SELECT id, payload FROM runs WHERE id = ?", [run])
    }
    assert all(map(is_reference, references.values()))
    lose(world, "UPDATE blobs SET owner = reference")
    found = {breach.what for breach in audit(world.store)}
    assert "runs.payload of it stands for a large value, which is not there" in found
    assert "events.data of it stands for a large value, which is not there" in found
    assert "blobs has a row of it, and it is not there" in found


def lose(world: World, statement: str) -> None:
    """Damage the database."""
    if world.url.startswith("sqlite"):
        import sqlite3

        with sqlite3.connect(world.url.removeprefix("sqlite:///")) as db:
            db.execute(statement)
    else:
        import psycopg

        with psycopg.connect(world.url) as connection:
            connection.execute(statement.encode())


def test_a_large_failure_is_told_like_any_other(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    ending = worker.ending(run, Status.FAILED)
    assert ending.ending is not None
    ending.ending.failure = large("boom")
    worker.commit(ending)
    assert world.run(run).failure == large("boom")
