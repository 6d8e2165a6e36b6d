"""Operations on runs: S77, S82, and what the management API does beside."""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import wf
from tests.mission import tasks
from tests.observing import until
from tests.observing import wf as command


@wf.task
async def greet(name: str) -> str:
    wf.metadata.set("length", len(name))
    return f"hello {name}"


@wf.task
async def refuse(name: str) -> str:
    raise ValueError(name)


@wf.task(id="edited")
async def before_edit(n: int) -> int:
    await tasks.count_words("one")
    await wf.wait.for_message("go", str)
    return n


@wf.task(id="edited")
async def after_edit(n: int) -> int:
    await tasks.count_words("two")
    await wf.wait.for_message("go", str)
    return n


@contextmanager
def engine(database: str, *what: Any) -> Generator[None]:
    """A worker, for code that is not async."""
    worker = wf.Engine(database, list(what))
    worker.start_now()
    try:
        yield
    finally:
        worker.stop_now()


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    with wf.Client(database) as client:
        yield client


def names(found: list[wf.RunView]) -> list[str]:
    return [run.payload for run in found]


def test_s77_s82_runs_are_found_by_what_they_are_about(client: wf.Client, database: str) -> None:
    first = client.trigger(greet, "a", tags=["user:123", "feature:onboarding"], version="v1")
    until(lambda: client.now() > first.retrieve().created_at)
    moment = client.now()
    second = client.trigger(greet, "b", tags=["user:456"])
    until(lambda: client.now() > second.retrieve().created_at)  # in one millisecond, as it comes
    batch = client.batch_trigger(greet, ["c", wf.Item("d", tags=["user:123"])])
    client.trigger("elsewhere", "e", metadata={"plan": "pro", "seats": 3, "trial": False})
    assert names(client.runs.list(tag="user:123")) == ["d", "a"]
    assert names(client.runs.list(tag="user:123", task="greet", batch=batch.id)) == ["d"]
    assert names(client.runs.list(version="v1")) == ["a"]
    assert names(client.runs.list(metadata={"plan": "pro", "seats": 3})) == ["e"]
    assert names(client.runs.list(metadata={"trial": 0})) == []
    assert names(client.runs.list(until=first.retrieve().created_at)) == []
    assert names(client.runs.list(since=moment, task="greet")) == ["d", "c", "b"]
    assert names(client.runs.list(since="1h", status="pending_version"))[0] == "e"
    assert names(client.runs.list(root=first.id)) == ["a"]
    listed = command(
        *("runs", "list", "--json", "--tag", "user:123", "--since", "1h", "--status", "queued"),
        *("--status", "PENDING_VERSION"),
        database=database,
    )
    assert [run["payload"] for run in json.loads(listed.stdout)] == ["d", "a"]
    by_value = command("runs", "list", "--json", "--metadata", "plan=pro", database=database)
    assert [run["task"] for run in json.loads(by_value.stdout)] == ["elsewhere"]
    with pytest.raises(wf.PayloadError, match="give one of"):
        client.runs.list(status="done")
    with pytest.raises(TypeError, match="there are batch, metadata"):
        client.runs.list(colour="red")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


def test_s77_pages_stay_in_place_while_runs_are_started(client: wf.Client) -> None:
    client.batch_trigger(greet, [str(n) for n in range(7)])
    found = client.runs.list(limit=3)
    client.trigger(greet, "newer")
    while page := client.runs.list(limit=3, cursor=found[-1].id):
        found += page
    assert sorted(names(found)) == [str(n) for n in range(7)]


async def test_a_replay_is_a_new_run_of_the_same_or_another_payload(database: str) -> None:
    async with wf.Engine(database, [greet]), wf.AsyncClient(database) as client:
        first = await client.trigger(
            greet, "ann", tags=["user:1"], priority=3, metadata={"a": 1}, idempotency_key="k"
        )
        assert await first.result() == "hello ann"
        again = await client.runs.replay(first.id)
        other = await client.runs.replay(first.id, "bob")
        for one in (again, other):
            await one.result()
        runs = [await client.runs.retrieve(one.id) for one in (again, other)]
    assert [run.output for run in runs] == ["hello ann", "hello bob"]
    for run in runs:
        assert (run.replayed_from, run.tags, run.priority) == (first.id, ("user:1",), 3)
        assert run.metadata["a"] == 1
        assert (run.parent, run.root, run.idempotency_key) == (None, run.id, "")
    with wf.Client(database) as sync:
        found = sync.runs.list(replayed_from=first.id)
        assert {run.id for run in found} == {again.id, other.id}
    shown = command("runs", "show", again.id, database=database)
    assert f"replayed from  {first.id}" in shown.stdout


def test_a_replay_from_the_command_line_takes_another_payload(
    client: wf.Client, database: str
) -> None:
    run = client.trigger(greet, "ann")
    made = command("runs", "replay", run.id, "--payload", "bob", "--json", database=database)
    replayed = client.runs.retrieve(json.loads(made.stdout)[run.id])
    assert (replayed.payload, replayed.replayed_from) == ("bob", run.id)


def test_s31_a_delayed_run_is_rescheduled(client: wf.Client, database: str) -> None:
    moment = (datetime.now(UTC) + timedelta(days=3)).replace(microsecond=0)
    delayed = client.trigger(greet, "later", delay="1d")
    assert client.runs.reschedule(delayed.id, moment).due_at == moment
    assert delayed.retrieve().status is wf.Status.DELAYED
    with engine(database, greet):
        moved = command("runs", "reschedule", delayed.id, "0s", database=database)
        assert moved.returncode == 0, moved.stderr
        assert delayed.result("60s") == "hello later"
    with pytest.raises(wf.WrongStatus, match="COMPLETED: only a run that is DELAYED"):
        client.runs.reschedule(delayed.id, "1h")


def test_many_runs_are_canceled_and_replayed_by_a_filter(client: wf.Client, database: str) -> None:
    mine = client.batch_trigger(greet, list("abc"), tags=["mine"])
    other = client.trigger(greet, "z")
    ids = [handle.id for handle in mine]
    assert sorted(client.runs.cancel_all(tag="mine", dry_run=True)) == sorted(ids)
    assert {run.status for run in client.runs.list()} == {wf.Status.PENDING_VERSION}
    tried = command("runs", "cancel", "--tag", "mine", "--dry-run", "--json", database=database)
    assert sorted(json.loads(tried.stdout)) == sorted(ids)
    done = command("runs", "cancel", "--tag", "mine", "--json", database=database)
    assert sorted(json.loads(done.stdout)) == sorted(ids)
    assert other.retrieve().status is wf.Status.PENDING_VERSION
    assert client.runs.cancel_all(tag="mine") == []
    assert client.runs.replay_all(status="canceled", dry_run=True) == dict.fromkeys(ids, "")
    made = client.runs.replay_all(status="canceled")
    assert set(made) == set(ids)
    assert sorted(client.runs.retrieve(new).payload for new in made.values()) == list("abc")
    with pytest.raises(wf.PayloadError, match="cancel all runs of the environment"):
        client.runs.cancel_all()
    refused = command("runs", "cancel", database=database)
    assert refused.returncode == 2
    assert "filters" in refused.stderr


def test_many_runs_are_replayed_in_pages(
    client: wf.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("wf.client.runs.PAGE", 4)
    client.batch_trigger(greet, [str(n) for n in range(10)], tags=["many"])
    assert len(client.runs.cancel_all(tag="many")) == 10
    made = client.runs.replay_all(tag="many")
    assert len(made) == len(set(made.values())) == 10
    assert len(client.runs.list(tag="many", status="pending_version")) == 10


def test_a_run_is_tailed_until_it_has_ended(client: wf.Client, database: str) -> None:
    run = client.trigger(tasks.short_wait, tasks.User(user_id="1", email="a@x"))
    with engine(database, tasks):
        kinds = [event.kind for event in client.runs.tail(run.id)]
    assert kinds == ["STARTED", "STEP_FINISHED", "TIMER_FIRED", "STEP_FINISHED", "ENDED"]
    told = command("runs", "tail", run.id, database=database)
    assert [line.split("  ")[1] for line in told.stdout.splitlines()] == [
        "started", "#1", "#2", "#3", "ended",
    ]  # fmt: skip
    assert not any("   " in line or line.endswith(" ") for line in told.stdout.splitlines())
    lines = command("runs", "tail", run.id, "--json", database=database).stdout.splitlines()
    assert [json.loads(line)["kind"] for line in lines] == kinds


def test_a_parked_run_is_unblocked_and_tried_again(client: wf.Client, database: str) -> None:
    run = client.trigger("edited", 5)
    with engine(database, before_edit):
        until(lambda: run.retrieve().status is wf.Status.WAITING)
        with pytest.raises(wf.WrongStatus, match="is not parked"):
            client.runs.unblock(run.id)
    with engine(database, after_edit):
        client.runs.send(run.id, "go", "on")
        parked = until(lambda: run.retrieve().blocked)
        told = command("runs", "unblock", run.id, database=database)
        assert told.stdout == f"{run.id} is tried again\n"
        until(lambda: run.retrieve().blocked not in (None, parked))
    with engine(database, before_edit):
        assert run.result("60s") == 5
