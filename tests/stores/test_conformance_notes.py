"""Notes: metadata, tags and streams, on both stores."""

from __future__ import annotations

import json
import sqlite3
from threading import Event
from typing import Any

import psycopg
import pytest

from tests.stores.world import World, at_once, step
from wf.history.limits import MAX_METADATA_BYTES, MAX_TAGS
from wf.history.model import Activation, RunFilter
from wf.history.notes import Note, NoteKind
from wf.history.store import Store

SET, DELETE, APPEND, REMOVE, INCREMENT = list(NoteKind)[:5]


def of(run_id: bytes, kind: NoteKind, name: str, value: Any = None) -> Note:
    return Note(run_id, kind, name, json.dumps(value).encode())


def chunk(run_id: bytes, value: Any, stream: str = "tokens") -> Note:
    return of(run_id, NoteKind.CHUNK, stream, value)


def tag(run_id: bytes, name: str) -> Note:
    return Note(run_id, NoteKind.TAG, name)


def write(world: World, *notes: Note, store: Store | None = None) -> None:
    (store or world.store).note(notes, world.now())


def metadata(world: World, run_id: bytes) -> Any:
    return json.loads(world.run(run_id).metadata)


def tags(world: World, run_id: bytes) -> list[str]:
    run = world.run(run_id)
    return [*run.tags, *run.added_tags]


def read(world: World, run_id: bytes, stream: str = "tokens", after: int = 0) -> list[Any]:
    found = world.store.read_stream(run_id, stream, after)
    return [(one.seq, json.loads(one.data)) for one in found]


def test_a_run_has_the_metadata_that_its_trigger_gave(world: World) -> None:
    run_id = world.trigger(options=b'{"metadata": {"from": "trigger"}}')
    assert metadata(world, run_id) == {"from": "trigger"}
    assert metadata(world, world.trigger()) == {}


def test_operations_change_what_is_there(world: World) -> None:
    run_id = world.trigger(options=b'{"metadata": {"kept": 1, "gone": 2, "list": [1, 2, 1]}}')
    write(world, of(run_id, SET, "new", {"a": None}), of(run_id, DELETE, "gone"))
    write(world, of(run_id, APPEND, "list", [3, 4]), of(run_id, INCREMENT, "kept", 2.5))
    write(world, of(run_id, REMOVE, "list", 1), of(run_id, DELETE, "never there"))
    assert metadata(world, run_id) == {"kept": 3.5, "list": [2, 3, 4], "new": {"a": None}}


def test_operations_leave_something_sensible_whatever_is_there(world: World) -> None:
    run_id = world.trigger()
    write(world, *(of(run_id, SET, key, "text") for key in "air"))
    write(
        world,
        of(run_id, APPEND, "a", ["more"]),
        of(run_id, INCREMENT, "i", 2),
        of(run_id, REMOVE, "r", "text"),
        of(run_id, REMOVE, "nothing", 1),
        of(run_id, APPEND, "list", [1]),
        of(run_id, INCREMENT, "number", 1),
    )
    assert metadata(world, run_id) == {
        "a": ["text", "more"],
        "i": 2,
        "r": "text",
        "list": [1],
        "number": 1,
    }


def test_operations_on_one_key_are_done_in_order(world: World) -> None:
    run_id = world.trigger()
    write(
        world,
        of(run_id, INCREMENT, "n", 5),
        of(run_id, SET, "n", 1),
        of(run_id, INCREMENT, "n", 2),
        of(run_id, INCREMENT, "n", 3),
        of(run_id, APPEND, "l", [1]),
        of(run_id, APPEND, "l", [2]),
        of(run_id, REMOVE, "l", 1),
        of(run_id, APPEND, "l", [1]),
    )
    assert metadata(world, run_id) == {"n": 6, "l": [2, 1]}


def test_odd_texts_come_back_as_they_were(world: World) -> None:
    run_id = world.trigger()
    odd = "NUL \0, ümlaut, 🙂, lone \ud800, %s ? {}"
    notes = [Note(run_id, SET, "ключ %s ?", json.dumps(odd).encode()), tag(run_id, "tag %s ? ü")]
    write(world, *notes, chunk(run_id, odd, "strom %s ?"))
    assert metadata(world, run_id) == {"ключ %s ?": odd}
    assert read(world, run_id, "strom %s ?") == [(1, odd)]
    assert tags(world, run_id) == ["tag %s ? ü"]


def test_metadata_that_would_be_too_large_stays_as_it_is(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    run_id = world.trigger()
    half = "x" * (MAX_METADATA_BYTES // 2)
    write(world, of(run_id, SET, "a", half), of(run_id, SET, "b", half), of(run_id, SET, "c", 1))
    assert sorted(metadata(world, run_id)) == ["a", "c"]
    assert "left out" in caplog.text
    write(world, of(run_id, DELETE, "a"), of(run_id, SET, "b", half))
    assert sorted(metadata(world, run_id)) == ["b", "c"]


def test_chunks_are_numbered_per_run_and_stream_without_gaps(world: World) -> None:
    one, other = world.trigger(), world.trigger()
    write(world, chunk(one, "a"), chunk(other, "x"), chunk(one, 0, "log"), chunk(one, "b"))
    write(world, chunk(one, "c"), chunk(one, 1, "log"))
    assert read(world, one) == [(1, "a"), (2, "b"), (3, "c")]
    assert read(world, one, "log") == [(1, 0), (2, 1)]
    assert read(world, other) == [(1, "x")]
    assert read(world, one, after=2) == [(3, "c")]
    assert read(world, one, after=3) == []
    assert read(world, one, "unknown") == []


def test_tags_are_added_once_and_found(world: World) -> None:
    run_id = world.trigger(tags=["born"])
    write(world, tag(run_id, "added"), tag(run_id, "born"))
    write(world, tag(run_id, "added"), tag(run_id, "later"))
    assert tags(world, run_id) == ["born", "added", "later"]
    for name in ("born", "added", "later"):
        found = world.store.list_runs(RunFilter("test", tag=name))
        [run] = found
        assert (run.id, run.tags, run.added_tags) == (run_id, ["born"], ["added", "later"])
    assert world.store.list_runs(RunFilter("test", tag="nobody's")) == []


def test_a_run_has_so_many_tags_at_most(world: World, caplog: pytest.LogCaptureFixture) -> None:
    run_id = world.trigger(tags=["born"])
    write(world, *(tag(run_id, str(n)) for n in range(MAX_TAGS + 5)))
    assert tags(world, run_id) == ["born", *(str(n) for n in range(MAX_TAGS - 1))]
    assert "are left out" in caplog.text


def test_a_worker_gets_the_tags_that_the_run_was_born_with(world: World) -> None:
    run_id = world.trigger(tags=["born"])
    write(world, tag(run_id, "added"))
    [claimed] = world.worker().claim()
    assert claimed.run.tags == ["born"]


def test_notes_about_unknown_runs_are_dropped(world: World) -> None:
    unknown, run_id = world.new().id, world.trigger()
    write(world, of(unknown, SET, "a", 1), chunk(unknown, 1), tag(unknown, "t"))
    write(world, of(unknown, SET, "a", 1), of(run_id, SET, "a", 1))
    assert read(world, unknown) == []
    assert metadata(world, run_id) == {"a": 1}
    world.store.note([], world.now())


def test_a_run_that_has_ended_takes_notes_of_who_outlives_it(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    worker.end(run_id)
    write(world, of(run_id, INCREMENT, "children", 1), chunk(run_id, 1), tag(run_id, "late"))
    assert (metadata(world, run_id), tags(world, run_id)) == ({"children": 1}, ["late"])
    assert read(world, run_id) == [(1, 1)]


def test_an_activation_brings_its_notes_with_it(world: World) -> None:
    worker = world.worker()
    one, other = world.begun(worker).run.id, world.begun(worker).run.id
    root = world.trigger("elsewhere")
    notes = [chunk(one, "a"), of(root, INCREMENT, "n", 1), tag(one, "t"), chunk(one, "b")]
    ending = worker.ending(other, notes=[of(other, SET, "last", 1), of(root, INCREMENT, "n", 1)])
    worker.commit(Activation(one, 1, notes=notes, release=True), ending)
    assert read(world, one) == [(1, "a"), (2, "b")]
    assert tags(world, one) == ["t"]
    assert metadata(world, root) == {"n": 2}
    assert metadata(world, other) == {"last": 1}


def test_a_refused_group_leaves_no_notes(world: World) -> None:
    worker = world.worker()
    run_id = world.begun(worker).run.id
    taken = Activation(run_id, 1, events=[step(1)], notes=[of(run_id, SET, "a", 1)])
    with pytest.raises((sqlite3.IntegrityError, psycopg.IntegrityError)):
        worker.commit(taken)
    assert metadata(world, run_id) == {}


def test_writers_of_one_run_at_once_lose_nothing(world: World) -> None:
    run_id = world.trigger()
    stores = [world.store, *(world.another_store() for _ in range(3))]

    def job(store: Store) -> Any:
        def work() -> None:
            for n in range(10):
                write(
                    world,
                    of(run_id, INCREMENT, "n", 1),
                    of(run_id, APPEND, "l", [n]),
                    chunk(run_id, n),
                    store=store,
                )

        return work

    at_once(*map(job, stores))
    assert metadata(world, run_id)["n"] == 40
    assert len(metadata(world, run_id)["l"]) == 40
    assert [seq for seq, _ in read(world, run_id)] == list(range(1, 41))


def test_children_that_note_their_parent_crosswise_do_not_hinder_one_another(world: World) -> None:
    """Two groups that end and note the same runs, in other orders."""
    runs = [world.trigger("elsewhere") for _ in range(6)]

    def job(place: int) -> Any:
        worker = world.worker(f"t{place}", store=world.another_store())
        mine = [world.begun(worker, f"t{place}").run.id for _ in range(3)]

        def work() -> None:
            order = runs if place % 2 else runs[::-1]
            worker.commit(
                *(
                    worker.ending(run_id, notes=[of(one, INCREMENT, "n", 1) for one in order])
                    for run_id in mine
                )
            )

        return work

    at_once(*(job(place) for place in range(4)))
    assert [metadata(world, run_id)["n"] for run_id in runs] == [12] * 6


def test_a_note_wakes_who_listens(world: World) -> None:
    run_id = world.trigger()
    heard = Event()
    stop = world.another_store().listen(heard.set)
    try:
        while not heard.wait(0.05):
            write(world, of(run_id, INCREMENT, "n", 1))
    finally:
        stop()
