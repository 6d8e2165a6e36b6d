"""Following runs and streams, by clients that are not async, and where something is missing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest

import wf
from tests.observing import until
from wf.history.errors import StoreUnavailable
from wf.history.ids import new_id, show
from wf.history.limits import MAX_CHUNKS
from wf.history.notes import Note, NoteKind
from wf.history.sqlite import SQLiteStore
from wf.testing.watched import WatchedStore

T = TypeVar("T")


@wf.step
def speak(file: str) -> str:
    for word in ("one", "two"):
        wf.stream("words").append({"word": word})
        wf.metadata.set("word", word)
    until(Path(file).exists)
    wf.stream("words").append({"word": "three"})
    return "said"


@wf.task
async def speaker(file: str) -> str:
    return await speak(file)


@wf.task
async def follows_its_child() -> str:
    handle = await speaker.trigger("/")
    told: list[str] = []
    for call in (handle.subscribe, lambda: handle.stream("words")):
        try:
            call()
        except wf.NotDeterministic as error:
            told.append(str(error))
    return "\n".join(told)


def test_a_client_that_is_not_async_follows_a_run_and_its_stream(
    database: str, tmp_path: Path
) -> None:
    file = tmp_path / "go on"
    engine = wf.Engine(database, [speaker])
    engine.start_now()
    client = wf.Client(database)
    try:
        handle = client.trigger(speaker, str(file), metadata={"from": "outside"})
        words: list[str] = []
        for chunk in handle.stream("words"):
            words.append(chunk.data["word"])
            if len(words) == 2:
                assert not client.runs.retrieve(handle.id).status.ended
                file.touch()
        assert words == ["one", "two", "three"]
        [run] = handle.subscribe()
        assert (run.output, run.metadata) == ("said", {"from": "outside", "word": "two"})
        [last] = client.runs.stream(handle.id, "words", after=2)
        assert (last.seq, last.data) == (3, {"word": "three"})
        assert last.to_json()["at"] == last.at.isoformat()
        assert list(handle.stream("unheard")) == []
    finally:
        engine.stop_now()
        client.close()


async def test_in_a_body_a_run_is_only_waited_for(database: str) -> None:
    async with wf.Engine(database, [follows_its_child, speaker]):
        told = await follows_its_child()
    assert told.splitlines()[0].endswith(
        "subscribe() is called in a task body, where a run can only be waited for: "
        "`await handle.result()`, or follow it from outside"
    )
    assert "stream('words') is called in a task body" in told


def test_who_follows_a_run_that_is_not_there_is_told(database: str) -> None:
    with wf.Client(database) as client:
        nobody = show("run", new_id(1_700_000_000_000))
        for following in (client.runs.subscribe(nobody), client.runs.stream(nobody, "words")):
            with pytest.raises(wf.NotFound, match="there is no run"):
                next(following)
        with pytest.raises(wf.NotFound):
            client.runs.stream("no id", "words")


def test_a_long_stream_is_read_to_its_end(database: str) -> None:
    with wf.Client(database) as client:
        handle = client.trigger("nobody's task")
        number = 2 * MAX_CHUNKS + 5
        chunk = Note(handle.raw_id, NoteKind.CHUNK, "log", b"1")
        client.store.note([chunk] * number, client.store.now())
        handle.cancel()
        assert [one.seq for one in handle.stream("log")] == list(range(1, number + 1))


def test_a_database_that_is_away_is_waited_for(tmp_path: Path) -> None:
    looks = 0

    def door(name: str, call: Callable[[], T]) -> T:
        nonlocal looks
        looks += name == "get_runs"
        if name == "get_runs" and looks % 2:
            raise StoreUnavailable("away")
        return call()

    client = wf.Client(store=WatchedStore(SQLiteStore(tmp_path / "wf.db"), door))
    handle = client.trigger("nobody's task")
    following = handle.subscribe()
    assert next(following).status is wf.Status.PENDING_VERSION
    client.store.cancel([handle.raw_id], client.store.now())
    assert [run.status for run in following] == [wf.Status.CANCELED]
    client.store.close()
