"""Notes of steps on their way to the store: many in one write, in order, and no step's trouble."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest

import wf
from tests.observing import until
from wf.engine import notebook as notebooks
from wf.engine.clock import DatabaseClock
from wf.engine.engine import Engine
from wf.engine.flusher import FLUSH_SECONDS
from wf.engine.notebook import Notebook, Page
from wf.history.errors import StoreUnavailable
from wf.history.ids import new_id
from wf.history.model import NewRun
from wf.history.notes import Note, NoteKind, Notes
from wf.history.sqlite import SQLiteStore
from wf.testing.watched import WatchedStore

T = TypeVar("T")


class Door:
    """Before each write of notes: `before` may wait, or raise."""

    def __init__(self) -> None:
        self.writes: list[float] = []
        self.before: Callable[[], None] = lambda: None

    def __call__(self, name: str, call: Callable[[], T]) -> T:
        if name == "note":
            self.writes.append(time.monotonic())
            self.before()
        return call()


class Desk:
    """A notebook on a store with one run."""

    def __init__(self, path: Path) -> None:
        self.door = Door()
        self.store = WatchedStore(SQLiteStore(path), self.door)
        now = self.store.now()
        self.run_id = new_id(now)
        self.store.trigger([NewRun(self.run_id, "dev", "task", b"null", now)])
        self.notebook = Notebook(self.store, DatabaseClock())

    def page(self) -> Page:
        return Page(self.notebook, self.run_id)

    def chunk(self, value: Any) -> Note:
        return Note(self.run_id, NoteKind.CHUNK, "log", json.dumps(value).encode())

    def increment(self, by: int = 1) -> Note:
        return Note(self.run_id, NoteKind.INCREMENT, "n", str(by).encode())

    def log(self) -> list[Any]:
        return [json.loads(one.data) for one in self.store.read_stream(self.run_id, "log")]


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    desk = Desk(tmp_path / "wf.db")
    yield desk
    desk.store.close()


def ends(page: Page) -> list[list[Note]]:
    """What the step's end hands on, as soon as it does."""
    handed: list[list[Note]] = []

    def then(notes: Sequence[Note]) -> None:
        handed.append(list(notes))

    page.close(then)
    return handed


def test_all_pages_are_written_in_one_transaction(desk: Desk) -> None:
    pages = [desk.page() for _ in range(5)]
    for number, page in enumerate(pages):
        page.add(desk.chunk(number))
        page.add(desk.increment())
    assert desk.notebook.flush()
    assert desk.log() == [0, 1, 2, 3, 4]
    assert pages[0].metadata() == {"n": 5}
    assert desk.notebook.flush()
    assert len(desk.door.writes) == 1


def test_a_step_that_ends_takes_along_what_is_not_written(desk: Desk) -> None:
    page = desk.page()
    page.add(desk.chunk(1))
    desk.notebook.flush()
    page.add(desk.chunk(2))
    assert ends(page) == [[desk.chunk(2)]]
    desk.notebook.flush()
    assert desk.log() == [1]
    assert len(desk.door.writes) == 1


def test_a_step_that_ends_while_it_is_written_waits_for_that(desk: Desk) -> None:
    """Otherwise what it hands on could be committed before what it said earlier."""
    page = desk.page()
    page.add(desk.chunk(1))
    is_writing, may_write = threading.Event(), threading.Event()

    def wait() -> None:
        is_writing.set()
        assert may_write.wait(60)

    desk.door.before = wait
    writer = threading.Thread(target=desk.notebook.flush)
    writer.start()
    assert is_writing.wait(60)
    page.add(desk.chunk(2))
    handed = ends(page)
    assert handed == []
    may_write.set()
    writer.join(60)
    assert handed == [[desk.chunk(2)]]
    assert desk.log() == [1]
    desk.notebook.flush()
    assert len(handed) == 1


def test_what_a_step_sees_of_its_metadata_waits_for_a_write_under_way(desk: Desk) -> None:
    page = desk.page()
    page.add(desk.increment(1))
    seen: list[Any] = []
    reader = threading.Thread(target=lambda: seen.append(page.metadata()))
    desk.door.before = lambda: (reader.start(), page.add(desk.increment(10)))[1]
    desk.notebook.flush()
    reader.join(60)
    assert seen == [{"n": 11}]
    desk.door.before = lambda: None
    desk.notebook.flush()
    assert page.metadata() == {"n": 11}


def test_while_the_database_is_away_notes_wait_in_order(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    page = desk.page()

    def away() -> None:
        page.add(desk.chunk("meanwhile"))
        raise StoreUnavailable("the database is away")

    desk.door.before = away
    page.add(desk.chunk("first"))
    assert not desk.notebook.flush()
    assert not desk.notebook.flush()
    assert caplog.text.count("notes of steps wait: the database is away") == 1
    desk.door.before = lambda: None
    assert desk.notebook.flush()
    assert desk.log() == ["first", "meanwhile", "meanwhile"]


def test_notes_that_no_store_takes_are_lost_and_said_to_be(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    page = desk.page()
    page.add(Note(desk.run_id, NoteKind.SET, "key", b"no JSON"))
    assert desk.notebook.flush()
    assert "notes of steps are lost; their runs go on" in caplog.text
    page.add(desk.chunk(1))
    assert ends(page) == [[desk.chunk(1)]]


def test_what_waits_is_bounded(
    desk: Desk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(notebooks, "MAX_UNWRITTEN_BYTES", 100)
    page = desk.page()
    for number in range(1_000):
        page.add(desk.chunk(number))
    assert caplog.text.count("are left out") == 1
    desk.notebook.flush()
    there = desk.log()
    assert there == list(range(len(there)))
    assert 10 < len(there) < 100
    page.add(desk.chunk("room again"))
    desk.notebook.flush()
    assert desk.log() == [*there, "room again"]


def test_values_that_are_set_again_take_no_more_room() -> None:
    notes = Notes(Note(b"r", NoteKind.SET, "progress", str(n).encode()) for n in range(10_000))
    notes = Notes([*notes, *(Note(b"r", NoteKind.INCREMENT, "n", b"1") for _ in range(10_000))])
    notes = Notes([*notes, *(Note(b"r", NoteKind.APPEND, "list", b"[1]") for _ in range(100))])
    assert [(note.name, note.data[:9]) for note in notes] == [
        *(("progress", b"9999"), ("n", b"10000"), ("list", b"[1,1,1,1,")),
    ]
    assert notes.size == sum(note.size for note in notes)


# --- with a whole engine --------------------------------------------------------------------------


@wf.step
async def say(number: int) -> int:
    for n in range(number):
        wf.stream("log").append(n)
        wf.metadata.set("progress", n)
        wf.metadata.increment("count")
        await asyncio.sleep(0)
    return number


@wf.task
async def saying(number: int) -> int:
    return await say(number)


@wf.step
def say_until(file: str) -> None:
    pause = threading.Event()
    while not Path(file).exists():
        wf.stream("log").append("again")
        pause.wait(0.001)


@wf.task
async def saying_until(file: str) -> None:
    await say_until(file)


def told(run: wf.RunView, store: WatchedStore) -> list[Any]:
    client = wf.Client(store=store)
    return [one.data for one in client.runs.stream(run.id, "log")]


@pytest.mark.parametrize("error", [StoreUnavailable("away"), ValueError("a bug of ours")])
def test_a_stream_that_cannot_be_written_fails_no_run(error: Exception, tmp_path: Path) -> None:
    door = Door()

    def refuse() -> None:
        raise error

    door.before = refuse
    store = WatchedStore(SQLiteStore(tmp_path / "wf.db"), door)
    engine = Engine(store=store, tasks=[saying, saying_until])
    engine.start_now()
    client = wf.Client(store=store)
    try:
        handle = client.trigger(saying_until, str(tmp_path / "go on"))
        until(lambda: door.writes)
        (tmp_path / "go on").touch()
        handle.result("60s")
        assert set(told(handle.retrieve(), store)) <= {"again"}
        again = client.trigger(saying, 100)
        assert again.result("60s") == 100
        if isinstance(error, StoreUnavailable):  # what was not written went with the result
            assert told(again.retrieve(), store) == list(range(100))
            assert again.retrieve().metadata == {"progress": 99, "count": 100}
    finally:
        engine.stop_now()
        store.close()


def test_a_process_writes_notes_once_in_50_ms_at_most(tmp_path: Path) -> None:
    door = Door()
    store = WatchedStore(SQLiteStore(tmp_path / "wf.db"), door)
    engine = Engine(store=store, tasks=[saying_until])
    engine.start_now()
    client = wf.Client(store=store)
    try:
        runs = [client.trigger(saying_until, str(tmp_path / "go on")) for _ in range(5)]
        until(lambda: len(door.writes) > 5)
        until(lambda: all(len(store.read_stream(run.raw_id, "log")) > 5 for run in runs))
        (tmp_path / "go on").touch()
        for run in runs:
            run.result("60s")
    finally:
        engine.stop_now()
        store.close()
    gaps = [later - before for before, later in zip(door.writes, door.writes[1:], strict=False)]
    assert min(gaps) >= FLUSH_SECONDS * 0.99


def test_a_short_step_needs_no_write_of_its_own(tmp_path: Path) -> None:
    """What it notes goes with its result: there is no notebook's write in a run of such steps."""
    door = Door()
    store = WatchedStore(SQLiteStore(tmp_path / "wf.db"), door)
    engine = Engine(store=store, tasks=[saying])
    engine.start_now()
    try:
        handle = wf.Client(store=store).trigger(saying, 1)
        assert handle.result("60s") == 1
        assert handle.retrieve().metadata == {"progress": 0, "count": 1}
        assert len(door.writes) <= 1  # none, unless this machine stood still for 50 ms
    finally:
        engine.stop_now()
        store.close()
