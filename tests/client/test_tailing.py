"""Following the history of a run: each row once, as it comes, until it has ended."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import pytest

import wf
from tests.stores.world import ENVIRONMENT, TASK, World, step
from wf.cli.runs import operation_row
from wf.client.views import EventView
from wf.history.errors import StoreUnavailable
from wf.history.ids import new_id, show
from wf.history.model import Activation
from wf.history.sqlite import SQLiteStore
from wf.history.turns import NextChapter
from wf.testing.watched import WatchedStore

T = TypeVar("T")


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    url = f"sqlite:///{tmp_path}/wf.db"
    world = World(url, SQLiteStore(tmp_path / "wf.db"))
    yield world
    world.close()


def seen_by(world: World, door: Callable[[str, Callable[[], Any]], Any] | None = None) -> wf.Client:
    store = WatchedStore(world.store, door or (lambda name, call: call()))
    return wf.Client(store=store, environment=ENVIRONMENT)


def test_each_row_comes_once_as_soon_as_it_is_written(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    rows = seen_by(world).runs.tail(show("run", run))
    assert next(rows).kind == "STARTED"
    worker.commit(Activation(run, 1, [step(2), step(3, 2), step(4, 3)]))
    assert [next(rows).seq for _ in range(3)] == [2, 3, 4]
    worker.end(run)
    assert [row.kind for row in rows] == ["ENDED"]


def test_the_rows_of_an_attempt_that_follows_come_after_those_of_the_first(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    rows = seen_by(world).runs.tail(show("run", run))
    worker.commit(Activation(run, 1, [step(2), step(3, 2), step(4, 3)]))
    assert [(row.chapter, row.seq) for row in (next(rows), next(rows))] == [(1, 1), (1, 2)]
    worker.commit(Activation(run, 1, next_chapter=NextChapter(2, 3, 2)))
    told = [next(rows) for _ in range(4)]
    assert [(row.chapter, row.seq) for row in told] == [(1, 3), (1, 4), (2, 1), (2, 2)]
    worker.end(run, chapter=2)
    assert [(row.chapter, row.seq) for row in rows] == [(2, 3)]


def test_a_run_that_ends_between_two_looks_is_told_of_to_its_end(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id

    def door(name: str, call: Callable[[], T]) -> T:
        if name == "get_runs" and not world.run(run).status.ended:
            worker.end(run)
        return call()

    rows = seen_by(world, door).runs.tail(show("run", run))
    assert [row.kind for row in rows] == ["STARTED", "ENDED"]


def test_a_database_that_is_away_for_a_moment_costs_no_row(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    worker.end(run)
    calls = 0

    def door(name: str, call: Callable[[], T]) -> T:
        nonlocal calls
        calls += name in {"get_runs", "history"}
        if name in {"get_runs", "history"} and calls < 6 and calls % 2:
            raise StoreUnavailable("away")
        return call()

    rows = seen_by(world, door).runs.tail(show("run", run))
    assert [row.kind for row in rows] == ["STARTED", "ENDED"]


def test_who_stops_following_is_woken_no_more(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    listening = 0

    def listen(wake: Callable[[], None]) -> Callable[[], None]:
        nonlocal listening
        listening += 1

        def stop() -> None:
            nonlocal listening
            listening -= 1

        return stop

    client = seen_by(world)
    monkeypatch.setattr(client.store, "listen", listen)
    rows = client.runs.tail(show("run", world.begun(world.worker()).run.id))
    assert (next(rows).kind, listening) == ("STARTED", 1)
    rows.close()
    assert listening == 0


async def test_async_clients_tail_the_same_rows(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    client = wf.AsyncClient(store=world.store, environment=ENVIRONMENT)
    rows = client.runs.tail(show("run", run))
    assert (await anext(rows)).kind == "STARTED"
    worker.commit(Activation(run, 1, [step(2)]))
    assert (await anext(rows)).seq == 2
    following = asyncio.ensure_future(anext(rows))
    await asyncio.to_thread(worker.end, run)
    assert (await following).kind == "ENDED"
    assert [row async for row in rows] == []


def test_who_tails_a_run_that_is_not_there_is_told(world: World) -> None:
    with pytest.raises(wf.NotFound, match="there is no run"):
        next(seen_by(world).runs.tail(show("run", new_id(world.now()))))


def test_the_command_prints_each_row_while_the_run_is_alive(world: World) -> None:
    worker = world.worker()
    run = world.begun(worker).run.id
    arguments = ["runs", "tail", show("run", run), "--json", "--db", world.url]
    process = subprocess.Popen(
        [sys.executable, "-m", "wf.cli", *arguments, "--env", ENVIRONMENT],
        stdout=subprocess.PIPE,
        encoding="utf-8",
        env={name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"},
    )
    assert process.stdout is not None
    try:
        assert json.loads(process.stdout.readline())["kind"] == "STARTED"
        worker.commit(Activation(run, 1, [step(2, data='"grüße"'.encode())]))
        assert '"grüße"' in process.stdout.readline()
        worker.end(run)
        assert json.loads(process.stdout.read())["name"] == "COMPLETED"
        assert process.wait() == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


AT = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def row(kind: str, ordinal: int = 0, name: str = "", data: Any = None, **more: int) -> EventView:
    counts = {"attempt": 0, "took_ms": 0, "delay_ms": 0} | more
    return EventView(1, 7, kind, ordinal, AT, name, data=data, **counts)


FAILURE = {"type": "Boom", "message": "no"}


@pytest.mark.parametrize(
    ("event", "told"),
    [
        (row("STARTED", name="3.11"), "started|3.11"),
        (row("ENDED", name="COMPLETED"), "ended|COMPLETED"),
        (row("ATTEMPT_FAILED", data=FAILURE), "attempt failed|Boom: no"),
        (row("FORKED", name="x", data="run_1"), "forked|from run_1"),
        (row("TAKEN"), "taken"),
        (
            row("STEP_FINISHED", 3, "mail", {"id": 1}, attempt=1, took_ms=2_000),
            '#3|step mail|done|2s|{"id": 1}',
        ),
        (row("STEP_FINISHED", 3, "mail", "ok", attempt=2), "#3|step mail|done|attempt 2|0ms|ok"),
        (
            row("STEP_ATTEMPT_FAILED", 3, "mail", FAILURE, attempt=1, delay_ms=5),
            "#3|step mail|retrying|Boom: no",
        ),
        (
            row("STEP_FAILED", 3, "mail", FAILURE, attempt=3),
            "#3|step mail|failed|attempt 3|Boom: no",
        ),
        (row("TIMER_FIRED", 4, delay_ms=5), "#4|wait|done"),
        (row("CHILD_TRIGGERED", 5, TASK, "run_2"), f"#5|child {TASK}|triggered|run_2"),
        (row("CHILD_ENDED", 5, "COMPLETED", 8), "#5|child|completed|8"),
        (row("CHILD_ENDED", 5, "FAILED", FAILURE), "#5|child|failed|Boom: no"),
        (row("TOKEN_ENDED", 6, "TIMED_OUT", FAILURE), "#6|token|timed_out|Boom: no"),
        (row("MESSAGE_RECEIVED", 7, "go", "on"), "#7|message|done|on"),
    ],
    ids=lambda one: one if isinstance(one, str) else one.kind,
)
def test_a_row_is_one_line(event: EventView, told: str) -> None:
    at, *words = operation_row(event)
    assert at.startswith("2026-01-0")
    assert "|".join(word for word in words if word) == told
