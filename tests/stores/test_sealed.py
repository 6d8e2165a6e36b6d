"""A sealed store: no value that passes through it stands in the database as it was."""

from __future__ import annotations

import inspect
import json
import sqlite3
import typing
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from msgspec import Struct
from msgspec.structs import replace

from tests.codecs import KeyRing, key_ring
from tests.dumps import dump
from tests.stores.world import ENVIRONMENT, PYTHON, TASK, World, step
from wf.client.views import IDS
from wf.engine.core.cron import cron
from wf.engine.core.schedules import declare, new_schedule
from wf.history import messages, model, notes, schedules, turns
from wf.history.audit import audit
from wf.history.errors import AlreadyEnded, CodecError
from wf.history.events import Event, Failure, Kind, Status
from wf.history.ids import new_id
from wf.history.messages import NewMessage
from wf.history.model import Activation, Blocked, Claim, InboxKind, RunFilter, Triggered
from wf.history.notes import Note, NoteKind
from wf.history.open import open_store
from wf.history.schedules import Move, Schedule
from wf.history.sealed_store import OF_IDS, SealedStore
from wf.history.sealing import KEY_LOST, Unopened, is_sealed
from wf.history.step import StepPlace
from wf.history.store import Store
from wf.history.turns import NextChapter

CANARY = "canary-5e1f"
SECRET = f'{{"secret":"{CANARY}"}}'.encode()

WITHOUT_VALUES = {
    "now", "birth_time", "close", "cancel", "live", "has_worker", "is_done", "join", "beat",
    "landed", "workers", "take_over", "leave", "next_due", "listen", "hint", "drop_schedules",
    "next_schedule_at", "reschedule", "unblock", "awaited", "prune", "scrub",
    "declare_queues", "change_queue", "list_queues", "get_queue", "queue_of", "slot_holders",
}  # fmt: skip
"""Methods of a store in which no value goes in or out."""
SEALING = {
    "trigger", "trigger_in", "trigger_in_async", "fork", "send", "create_tokens", "end_token",
    "note", "commit", "begin", "begin_async", "add_schedules", "move_schedules",
}  # fmt: skip
OPENING = {
    "get_runs", "list_runs", "get_token", "list_tokens", "history", "read_stream", "commit", "load",
    "get_schedules", "schedule_of_key", "list_schedules", "declared_schedules", "due_schedules",
    "prunable", "fetch", "ended",
}  # fmt: skip
NO_VALUES = {
    "id", "run_id", "parent_id", "root_id", "batch_id", "schedule_id", "target", "targets",
    "origin_id", "payload_digest", "cancels", "root", "before",
}  # fmt: skip
"""Fields of bytes that are ids, or a digest."""
VALUES = {
    "payload", "options", "schema", "data", "output", "failure", "metadata", "restarted_with",
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest) -> str:
    made = request.getfixturevalue("empty_postgres_url" if request.param == "postgres" else "file")
    return str(made)


@pytest.fixture
def file(tmp_path: Any) -> str:
    return f"sqlite:///{tmp_path}/wf.db"


@pytest.fixture
def world(url: str) -> Iterator[World]:
    codec = key_ring()
    world = World(url, open_store(url, codec=codec), codec)
    yield world
    world.close()


# --- nothing is forgotten ------------------------------------------------------------------------


def methods() -> dict[str, Any]:
    return {
        name: member
        for one in inspect.getmro(Store)
        for name, member in vars(one).items()
        if inspect.isfunction(member) and not name.startswith("_")
    }


def test_every_method_of_a_store_is_known_to_seal_or_to_have_no_values(world: World) -> None:
    """Whoever adds a method to the protocol says here which of the two it is."""
    assert set(methods()) == WITHOUT_VALUES | SEALING | OPENING
    assert not WITHOUT_VALUES & (SEALING | OPENING)
    assert isinstance(world.store, SealedStore)
    inner = world.store.inner
    for name in WITHOUT_VALUES:
        assert getattr(world.store, name) == getattr(inner, name), name
    for name in SEALING | OPENING:
        assert name in vars(SealedStore), name


@pytest.mark.parametrize("name", sorted(WITHOUT_VALUES))
def test_what_goes_straight_through_takes_and_answers_nothing_with_values(name: str) -> None:
    told = " ".join(str(hint) for hint in typing.get_type_hints(methods()[name]).values())
    holders = {one.__name__ for one in classes_with_values()} | {"Event", "Activation"}
    assert not [holder for holder in holders if f".{holder}" in told]


def classes_with_values() -> list[type[Struct]]:
    return [one for one in structs() if VALUES & {*one.__struct_fields__}]


def structs() -> list[type[Struct]]:
    return [
        one
        for module in (model, messages, notes, schedules, turns)
        for one in vars(module).values()
        if inspect.isclass(one) and issubclass(one, Struct) and one is not Struct
    ]


def test_which_events_hold_ids_is_known_alike_where_they_are_sealed_and_where_they_are_shown() -> (
    None
):
    with_ids = {event for event in Kind if event in OF_IDS}
    assert with_ids == {*IDS, Kind.BATCH_STARTED}


def test_every_field_of_bytes_is_known_to_be_a_value_or_an_id() -> None:
    unknown = [
        (one.__name__, name)
        for one in structs()
        for name, told in one.__annotations__.items()
        if "bytes" in str(told) and name not in NO_VALUES | VALUES
    ]
    assert unknown == []
    assert len(structs()) > 20


# --- no plaintext --------------------------------------------------------------------------------


def schedule(world: World, **more: Any) -> Schedule:
    now = world.now()
    what = declare(cron("* * * * *"), "skip", "last")
    made = new_schedule(new_id(now), TASK, what, {}, environment=ENVIRONMENT, now=now - 120_000)
    return replace(made, options=SECRET, deduplication_key="d", **more)


def test_no_value_stands_in_the_database_and_every_one_comes_back(world: World, url: str) -> None:
    store, worker = world.store, world.worker()
    options = f'{{"metadata":{SECRET.decode()}}}'.encode()
    parent = world.begun(worker, payload=SECRET, options=options).run.id
    assert world.run(parent).metadata == SECRET
    failure = Failure("Boom", CANARY, CANARY).encode()
    child = world.new(payload=SECRET, parent_id=parent)
    token = world.token(schema=SECRET)
    store.create_tokens([token])
    everything = [
        step(2, data=SECRET),
        Event(3, Kind.STEP_FAILED, 2, 1_003, "s", data=failure),
        Event(4, Kind.STEP_ATTEMPT_FAILED, 3, 1_004, "s", data=failure),
        Event(5, Kind.CHILD_TRIGGERED, 4, 1_005, TASK, data=child.id),
        Event(6, Kind.MESSAGE_RECEIVED, 5, 1_006, "m", data=SECRET),
        Event(7, Kind.BATCH_ENDED, 6, 1_007, data=SECRET),
    ]
    worker.commit(
        Activation(
            parent, 1, events=everything, children=[child], tokens=[world.token(schema=SECRET)],
            waits=[model.Wait(child.id, 4), model.Wait(token.id, 7, of_token=True)],
            sends=[NewMessage(parent, "m", SECRET, settle=8)], listening=["m"], release=True,
            notes=[
                Note(parent, NoteKind.SET, "key", f'"{CANARY}"'.encode()),
                Note(parent, NoteKind.APPEND, "list", f'["{CANARY}"]'.encode()),
                Note(parent, NoteKind.CHUNK, "tokens", SECRET),
            ],
        )
    )  # fmt: skip
    store.send([NewMessage(parent, "m", SECRET)], world.now())
    store.note([Note(parent, NoteKind.SET, "of a step", SECRET)], world.now())
    assert store.end_token(token.id, "COMPLETED", SECRET, world.now()).data == SECRET
    claimed = {one.run.id: one for one in worker.claim()}
    worker.end(child.id, Status.FAILED)
    assert claimed[child.id].run.payload == SECRET
    assert [one.data for one in claimed[parent].inbox if one.kind == InboxKind.TOKEN_ENDED] == [
        SECRET
    ]
    assert [message.data for message in claimed[parent].messages] == [SECRET, SECRET]
    told = json.loads(SECRET) | {"key": CANARY, "list": [CANARY], "of a step": json.loads(SECRET)}
    assert json.loads(world.run(parent).metadata) == told
    assert [event.data for _, event in store.history(parent)][1:7] == [
        SECRET, failure, failure, child.id, SECRET, SECRET,
    ]  # fmt: skip
    assert store.load([(parent, 1)])[parent] == [event for _, event in store.history(parent)]
    assert [chunk.data for chunk in store.read_stream(parent, "tokens")] == [SECRET]
    found = store.get_token(token.id)
    assert found is not None
    assert (found.schema, found.data) == (SECRET, SECRET)
    assert found in store.list_tokens(ENVIRONMENT)
    restarted = Event(0, Kind.STARTED, 0, world.now(), PYTHON, attempt=1, data=SECRET)
    turn = NextChapter(2, 1, 1, events=[restarted])
    worker.commit(Activation(parent, 1, next_chapter=turn))
    assert world.run(parent).restarted_with == SECRET
    blocked = Blocked("error", CANARY, world.now())
    worker.commit(Activation(parent, 2, blocked=blocked))
    parked = world.run(parent).blocked
    assert parked is not None
    assert parked.detail == CANARY
    listed = {run.id: run for run in store.list_runs(RunFilter(ENVIRONMENT))}
    assert listed[parent].payload == SECRET
    assert CANARY.encode() not in dump(url)


def test_what_a_step_and_a_caller_write_in_their_transactions_is_sealed(
    world: World, url: str
) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    place = StepPlace(worker.lease.worker, run_id, 1, 1)
    transaction = world.store.begin(place)
    transaction.commit(5, SECRET)
    assert [row.data for row in worker.claim()[0].inbox] == [SECRET]
    run = world.new(payload=SECRET)
    connect: Any = psycopg.connect if url.startswith("postgres") else sqlite3.connect
    with connect(url.removeprefix("sqlite:///")) as connection:
        world.store.trigger_in(connection, [run])
    assert world.run(run.id).payload == SECRET
    assert CANARY.encode() not in dump(url)


async def test_the_same_on_a_loop(world: World, url: str) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    place = StepPlace(worker.lease.worker, run_id, 1, 1)
    transaction = await world.store.begin_async(place)
    await transaction.commit(5, SECRET)
    assert [row.data for row in worker.claim()[0].inbox] == [SECRET]
    run = world.new(payload=SECRET)
    connect: Any = psycopg.connect if url.startswith("postgres") else sqlite3.connect
    with connect(url.removeprefix("sqlite:///")) as connection:
        await world.store.trigger_in_async(connection, [run])
    assert world.run(run.id).payload == SECRET
    assert CANARY.encode() not in dump(url)


def test_options_of_schedules_are_sealed(world: World, url: str) -> None:
    store = world.store
    made = schedule(world, declared=True)
    store.add_schedules([made])
    assert store.get_schedules([made.id])[made.id].options == SECRET
    assert store.list_schedules(ENVIRONMENT)[0].options == SECRET
    assert store.declared_schedules(ENVIRONMENT)[0].options == SECRET
    assert store.due_schedules(ENVIRONMENT, [TASK], world.now(), 10)[0].options == SECRET
    found = store.schedule_of_key(ENVIRONMENT, "d")
    assert found is not None
    assert found.options == SECRET
    assert store.move_schedules([Move(found, [world.new(payload=SECRET)])], world.now()) == [True]
    assert CANARY.encode() not in dump(url)


# --- what stays as it was ------------------------------------------------------------------------


def test_an_idempotency_key_knows_its_payload(world: World) -> None:
    first = world.new(payload=SECRET, idempotency_key="k")
    assert world.trigger_how(first) == (first.id, Triggered.MADE)
    again = world.new(payload=SECRET, idempotency_key="k")
    assert world.trigger_how(again) == (first.id, Triggered.CACHED)
    other = world.new(payload=b'"other"', idempotency_key="k")
    assert world.trigger_how(other) == (first.id, Triggered.CACHED_DIFFERS)


def test_a_token_completed_twice_with_equal_data_is_no_error(world: World) -> None:
    token = world.token()
    world.store.create_tokens([token])
    for _ in range(2):
        ended = world.store.end_token(token.id, "COMPLETED", SECRET, world.now())
        assert (ended.status, ended.data) == ("COMPLETED", SECRET)
    with pytest.raises(AlreadyEnded):
        world.store.end_token(token.id, "COMPLETED", b"1", world.now())


def test_what_is_copied_from_row_to_row_is_sealed_once_and_the_audit_finds_all_well(
    world: World,
) -> None:
    worker = world.worker()
    parent, at = world.begun(worker).run.id, world.now() + 60_000
    child = world.new(parent_id=parent)
    made = Event(2, Kind.CHILD_TRIGGERED, 1, world.now(), TASK, data=child.id)
    wait = model.Wait(child.id, 1)
    worker.commit(Activation(parent, 1, [made], children=[child], waits=[wait], release=True))
    worker.claim()
    worker.end(child.id, Status.FAILED)
    [claimed] = worker.claim()
    [row] = claimed.inbox
    ended = Event(3, Kind.CHILD_ENDED, 1, row.at, row.name, data=row.data)
    worker.commit(Activation(parent, 1, [ended], consumed=[row.id], release=True, due_at=at))
    assert audit(world.store) == []
    store: Any = world.store
    sql = "SELECT failure FROM runs WHERE failure IS NOT NULL UNION SELECT data FROM events"
    stored = {data for (data,) in store._query(f"{sql} WHERE kind IN (9, 20)", ())}
    assert len(stored) == 1


def test_what_was_not_sealed_where_it_came_from_is_sealed_where_it_is_copied(
    world: World,
) -> None:
    """A child that the store canceled before it began, a token of a time without a codec."""
    worker = world.worker()
    parent, at = world.begun(worker).run.id, world.now() + 60_000
    child = world.new(parent_id=parent, start_at=at)
    token = world.token()
    world.store.create_tokens([token])
    made = Event(2, Kind.CHILD_TRIGGERED, 1, world.now(), TASK, data=child.id)
    asked = Event(3, Kind.TOKEN_AWAITED, 2, world.now(), data=token.id)
    waits = [model.Wait(child.id, 1), model.Wait(token.id, 2, of_token=True)]
    given = Activation(parent, 1, [made, asked], children=[child], waits=waits, release=True)
    worker.commit(given)
    world.store.cancel([child.id], world.now())
    with_codec(world, None).end_token(token.id, "COMPLETED", SECRET, world.now())
    [claimed] = worker.claim()
    kinds = {InboxKind.CHILD_ENDED: Kind.CHILD_ENDED, InboxKind.TOKEN_ENDED: Kind.TOKEN_ENDED}
    news = [
        Event(seq, kinds[InboxKind(row.kind)], row.ordinal, row.at, row.name, data=row.data)
        for seq, row in enumerate(claimed.inbox, 4)
    ]
    consumed = [row.id for row in claimed.inbox]
    worker.commit(Activation(parent, 1, news, consumed=consumed, release=True, due_at=at))
    assert len(news) == 2
    assert all(is_sealed(event.data) for _, event in plain_history(world, parent)[3:])
    assert audit(world.store) == []


def plain_history(world: World, run_id: bytes) -> list[tuple[int, Event]]:
    """As it is stored."""
    return with_codec(world, None).history(run_id)


def test_runs_are_found_by_their_sealed_metadata(world: World) -> None:
    wanted = world.trigger(options=f'{{"metadata":{SECRET.decode()}}}'.encode())
    others = [world.trigger(), world.trigger(options=b'{"metadata":{"secret":1}}')]
    world.store.note([Note(others[0], NoteKind.SET, "secret", b"true")], world.now())
    look = RunFilter(ENVIRONMENT, metadata=[("secret", CANARY)])
    assert [run.id for run in world.store.list_runs(look)] == [wanted]
    one = RunFilter(ENVIRONMENT, metadata=[("secret", 1)])
    assert [run.id for run in world.store.list_runs(one)] == others[1:]
    assert with_codec(world, None).list_runs(look) == []


# --- keys ----------------------------------------------------------------------------------------


def with_codec(world: World, codec: KeyRing | None) -> Store:
    store = open_store(world.url, codec=codec)
    world.stores.append(store)
    return store


def test_values_of_an_old_key_are_read_and_new_ones_have_the_new_key(world: World) -> None:
    old = world.trigger(payload=SECRET)
    both = with_codec(world, key_ring("b", "ab"))
    [(new, _)] = both.trigger([world.new(payload=SECRET)])
    assert {run.payload for run in both.get_runs([old, new]).values()} == {SECRET}
    assert is_sealed(world.run(new).payload)


def test_what_was_written_before_there_was_a_codec_is_read(world: World) -> None:
    plain = with_codec(world, None)
    [(run_id, _)] = plain.trigger([world.new(payload=SECRET)])
    assert world.run(run_id).payload == SECRET
    world.store.note([Note(run_id, NoteKind.SET, "a", b"1")], world.now())
    assert world.run(run_id).metadata == b'{"a":1}'


def test_what_cannot_be_opened_stays_as_it_is_stored(world: World) -> None:
    """A worker that has lost the key does not write anything back that is not what it read."""
    run_id = world.trigger(payload=SECRET, options=SECRET)
    other = with_codec(world, key_ring("b"))
    run = other.get_runs([run_id])[run_id]
    assert isinstance(run.payload, Unopened)
    assert run.payload.reason == "KeyError: 'a'"
    [(copy, _)] = other.trigger([world.new(payload=run.payload)])
    assert world.run(copy).payload == SECRET


def test_notes_on_metadata_that_cannot_be_opened_are_left_out(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = world.trigger()
    world.store.note([Note(run_id, NoteKind.SET, "a", b"1")], world.now())
    for codec in (key_ring("b"), None):
        with_codec(world, codec).note([Note(run_id, NoteKind.SET, "b", b"2")], world.now())
        assert "metadata of run_" in caplog.text
        caplog.clear()
    assert world.run(run_id).metadata == b'{"a":1}'


def test_every_worker_that_joins_tries_a_run_whose_key_was_lost(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    lost = Blocked(KEY_LOST, "WF2013 lost", world.now())
    worker.commit(Activation(run_id, 1, blocked=lost))
    assert worker.claim_ids() == []
    assert world.worker().claim_ids() == [run_id]


def test_a_codec_that_fails_to_seal_fails_before_anything_is_written(world: World) -> None:
    broken = with_codec(world, KeyRing({}, "a"))
    with pytest.raises(CodecError, match="KeyError: 'a'"):
        broken.trigger([world.new(payload=SECRET)])
    assert world.store.list_runs(RunFilter(ENVIRONMENT)) == []


def test_a_group_is_sealed_anew_when_it_is_sent_again(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    activation = Activation(run_id, 1, events=[step(2, data=SECRET)])
    before = replace(activation, events=list(activation.events))
    world.store.commit(worker.lease, [activation], Claim(0, [], PYTHON), world.now())
    assert activation == before
