"""Metadata, streams and tags in a body: decided once, the same on every replay."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

import wf
from tests.core.stage import Script, Stage, play, rebuilt, told
from wf.engine.core.decisions import WriteNote
from wf.engine.core.execution import Execution
from wf.history.events import Event, Kind
from wf.history.limits import MAX_CHUNK_BYTES, MAX_METADATA_BYTES


@wf.step
def work(value: int) -> int:
    return value


@wf.task
async def talkative() -> dict[str, Any]:
    wf.metadata.set("stage", "first")
    wf.stream("log").append("begun")
    await work(1)
    wf.metadata.set("stage", "second")
    wf.metadata.append("list", 1)
    wf.tags.add("a:1", "born")
    await asyncio.gather(work(2), wf.wait.for_("1h"))
    wf.metadata.increment("n", 2)
    wf.metadata.delete("stage")
    wf.stream("log").append({"n": wf.metadata.get("n")})
    return wf.metadata.current()


@wf.task
async def quiet_first() -> None:
    await work(1)
    wf.metadata.set("a", 1)


def notes_of(stage: Stage) -> list[tuple[str, str, Any]]:
    return [(note.kind.name, note.name, json.loads(note.data)) for note in stage.notes]


EXPECTED = [
    ("SET", "stage", "first"),
    ("CHUNK", "log", "begun"),
    ("SET", "stage", "second"),
    ("APPEND", "list", [1]),
    ("TAG", "a:1", None),
    ("TAG", "born", None),
    ("INCREMENT", "n", 2),
    ("DELETE", "stage", None),
    ("CHUNK", "log", {"n": 2}),
]


def test_a_body_notes_in_order_and_sees_what_it_noted() -> None:
    stage = play(talkative)
    assert notes_of(stage) == EXPECTED
    assert stage.output == {"list": [1], "n": 2}


def test_what_is_noted_on_the_first_fact_leaves_a_record_and_nothing_else_does() -> None:
    assert play(talkative).kinds.count(Kind.NOTED) == 1
    assert Kind.NOTED not in play(quiet_first).kinds


def test_a_replay_notes_nothing_again() -> None:
    stage = play(talkative)
    for length in range(2, len(stage.events) + 1):
        with rebuilt(stage, length) as (execution, pending):
            assert not [one for one in pending if isinstance(one, WriteNote)], length
            rest = [told(execution.apply(event)) for event in stage.events[length:] if event.seq]
            assert [one for part in rest for one in part if one[0] == "WriteNote"] == [
                ("WriteNote", repr(WriteNote(note)))
                for note in stage.notes[len(stage.notes) - _left(stage, length) :]
            ]


def _left(stage: Stage, length: int) -> int:
    """How many notes the facts that follow lead to."""
    facts = [n for n, event in enumerate(stage.events) if event.kind not in RECORDS]
    decided = [
        sum(isinstance(one, WriteNote) for one in decisions) for decisions in stage.decisions
    ]
    return sum(n for place, n in zip(facts, decided, strict=True) if place >= length)


RECORDS = {Kind.NOTED}


def test_what_was_noted_before_the_first_commit_is_noted_again_after_a_takeover() -> None:
    """STARTED is written by the claim: a worker lost right then has written none of it."""
    stage = play(talkative)
    lost = Stage(talkative)
    lost.events = [stage.events[0], Event(2, Kind.TAKEN, 0, stage.events[0].at)]
    with rebuilt(lost, 2) as (_, pending):
        assert [one[0] for one in told(pending)] == ["Noted", "WriteNote", "WriteNote", "RunStep"]


def test_a_body_knows_of_its_metadata_and_tags_what_the_trigger_gave() -> None:
    @wf.task
    async def looks() -> list[Any]:
        before = [wf.metadata.get("a"), wf.metadata.get("b", 7), wf.current().run.tags]
        wf.metadata.increment("a")
        wf.tags.add("more", "born")
        await work(1)
        return [*before, wf.metadata.current(), wf.current().run.tags]

    stage = Stage(looks)
    stage.run.options = b'{"metadata": {"a": 1}}'
    stage.run.tags = ("born",)
    stage.execution = Execution(looks, stage.run)
    stage.play()
    assert stage.output == [1, 7, ["born"], {"a": 2}, ["born", "more"]]


def test_what_a_body_gets_is_a_copy() -> None:
    @wf.task
    async def changes() -> dict[str, Any]:
        given = [1]
        wf.metadata.set("list", given)
        given.append(2)
        wf.metadata.get("list").append(3)
        wf.metadata.current()["other"] = 1
        return wf.metadata.current()

    assert play(changes).output == {"list": [1]}


def test_notes_go_to_the_parent_and_the_root() -> None:
    @wf.task
    async def child() -> None:
        wf.metadata.parent.increment("children")
        wf.metadata.root.set("last", "child")
        wf.metadata.set("own", 1)

    stage = Stage(child)
    stage.run.parent_id, stage.run.root_id = b"p" * 16, b"r" * 16
    stage.play()
    assert [note.run_id for note in stage.notes] == [b"p" * 16, b"r" * 16, stage.run.id]
    alone = play(child)
    assert [note.run_id for note in alone.notes] == [alone.run.id] * 2
    assert notes_of(alone) == [("SET", "last", "child"), ("SET", "own", 1)]


def test_a_body_that_notes_by_chance_is_found_by_paranoid_mode() -> None:
    counter: list[int] = []

    @wf.task
    async def careless() -> None:
        counter.append(1)
        wf.metadata.set("n", len(counter))
        await work(1)

    with pytest.raises(wf.NonDeterminism, match="decides differently"):
        Stage(careless).play()


def test_a_body_that_is_dropped_notes_nothing() -> None:
    @wf.task
    async def cleans_up() -> None:
        try:
            await wf.wait.for_("1h")
        finally:
            wf.metadata.set("cleaned", True)

    stage = Stage(cleans_up).start()
    before = len(stage.decisions)
    stage.close()
    assert len(stage.decisions) == before
    assert stage.notes == []


def test_canceled_bodies_note_in_their_cleanup() -> None:
    @wf.task
    async def cleans_up() -> None:
        try:
            await wf.wait.for_("1h")
        finally:
            wf.metadata.set("stage", "cleaned up")

    stage = Stage(cleans_up, script=Script(cancel_at=1_000)).play()
    assert notes_of(stage) == [("SET", "stage", "cleaned up")]


def test_values_that_cannot_be_told_are_refused_where_they_are_given() -> None:
    @wf.task
    async def refused() -> list[str]:
        told: list[str] = []
        deep: Any = []
        for _ in range(5_000):
            deep = [deep]
        calls: list[Any] = [
            lambda: wf.metadata.set("key", object()),
            lambda: wf.metadata.set("key", deep),
            lambda: wf.metadata.set("", 1),
            lambda: wf.metadata.set("key", "x" * MAX_METADATA_BYTES),
            lambda: wf.metadata.increment("key", float("nan")),
            lambda: wf.stream("name").append("x" * MAX_CHUNK_BYTES),
            lambda: wf.stream("a\0b"),
            lambda: wf.tags.add(""),
        ]
        for call in calls:
            try:
                call()
            except wf.Error as error:
                told.append(error.code if error.code != "WF1006" else str(error))
        return told

    stage = play(refused)
    elsewhere = "over the limit of 262,144: store it elsewhere and pass a reference"
    assert stage.output == [
        *("WF1005", "WF1005", "WF1004", f"metadata 'key' is 262,146 bytes, {elsewhere}"),
        *("WF1005", f"a chunk of the stream 'name' is 262,146 bytes, {elsewhere}"),
        *("WF1004", "WF1004"),
    ]
    assert stage.notes == []


def test_outside_any_run_there_is_nothing_to_note() -> None:
    for call in (
        lambda: wf.metadata.set("key", 1),
        lambda: wf.metadata.get("key"),
        lambda: wf.stream("name").append(1),
        lambda: wf.tags.add("a"),
    ):
        with pytest.raises(wf.Error, match="outside a run: call it in a task body or a step"):
            call()


def test_triggers_take_metadata() -> None:
    @wf.task
    async def parent() -> None:
        await talkative.options(metadata={"from": "parent", "when": 1}).trigger_and_wait()

    decided = Stage(parent).start().told()[0]
    assert "'metadata': {'from': 'parent', 'when': 1}" in repr(decided)
    with pytest.raises(wf.PayloadError, match="metadata"):
        talkative.options(metadata={"a": object()})
    with pytest.raises(wf.PayloadTooLarge, match="over the limit"):
        talkative.options(metadata={"a": "x" * MAX_METADATA_BYTES})
