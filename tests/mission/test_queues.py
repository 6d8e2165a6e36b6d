"""E. Queues: S28 S29 S30 S36 S37."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import wf
from tests.mission import queued
from tests.mission.queued import booked, capped, fan_out, inner, job, most_at_once, outer
from tests.observing import until
from tests.observing import wf as command


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "marks"
    file.touch()
    monkeypatch.setenv(queued.MARKS, str(file))
    return file


@pytest.fixture
def client(database: str) -> Iterator[wf.Client]:
    client = wf.Client(database)
    yield client
    client.close()


def engines(database: str, count: int = 2) -> list[wf.Engine]:
    return [wf.Engine(database=database, tasks=[queued]) for _ in range(count)]


async def finished(database: str, handles: list[Any], count: int = 2) -> list[Any]:
    """Their outputs, by so many workers."""
    running = engines(database, count)
    for engine in running:
        await engine.start()
    try:
        return [await handle.result() for handle in handles]
    finally:
        for engine in running:
            await engine.stop()


def lines(marks: Path) -> list[str]:
    return marks.read_text().splitlines()


async def triggered(
    database: str, runs: list[tuple[Any, Any, dict[str, Any]]], count: int = 2
) -> list[Any]:
    async with wf.AsyncClient(database):
        handles = [await task.trigger(name, **options) for task, name, options in runs]
        return await finished(database, handles, count)


async def test_s28_runs_that_share_a_key_run_one_at_a_time(database: str, marks: Path) -> None:
    runs = [
        (job, f"{tenant} {n}", {"concurrency_key": tenant}) for n in range(4) for tenant in "ab"
    ]
    await triggered(database, runs)
    assert most_at_once(lines(marks), "a") == most_at_once(lines(marks), "b") == 1
    assert most_at_once(lines(marks)) == 2


async def test_s28_the_limit_per_key_can_be_raised(database: str, marks: Path) -> None:
    options = {"concurrency_key": "t", "queue": wf.Queue("keyed", per_key_limit=3)}
    await triggered(database, [(job, f"t {n}", options) for n in range(6)])
    assert most_at_once(lines(marks)) == 3


async def test_s29_a_concurrency_limit_caps_the_queue_over_all_keys(
    database: str, marks: Path
) -> None:
    runs = [(capped, f"run {n}", {"concurrency_key": f"k{n % 5}"}) for n in range(12)]
    await triggered(database, runs)
    assert most_at_once(lines(marks)) == 2


async def test_s30_a_queue_is_made_and_changed_where_a_run_is_triggered(
    database: str, marks: Path, client: wf.Client
) -> None:
    def options(limit: int) -> dict[str, Any]:
        return {"queue": wf.Queue("tenant-7", concurrency_limit=limit)}

    client.trigger(job, "first", **options(1))
    assert client.queues.retrieve("tenant-7").concurrency_limit == 1
    runs = [(job, f"run {n}", options(2)) for n in range(8)]
    await triggered(database, runs)
    found = client.queues.retrieve("tenant-7")
    assert (found.concurrency_limit, found.waiting) == (2, 0)
    assert most_at_once(lines(marks)) == 2


async def test_s30_declared_queues_are_there_with_their_workers(
    database: str, client: wf.Client
) -> None:
    async with wf.Engine(database=database, tasks=[queued]):
        await until_async(lambda: len(client.queues.list()) >= 3)
    limits = {queue.name: queue.concurrency_limit for queue in client.queues.list()}
    assert limits == {"capped": 2, "line": 1, "vendor": 2}


async def test_s36_a_key_is_checked_before_a_run_stands_in_the_queue(
    database: str, client: wf.Client, marks: Path
) -> None:
    options: dict[str, Any] = {"queue": wf.Queue("one"), "concurrency_key": "t"}
    handles = [client.trigger(job, "a", idempotency_key="k", **options) for _ in range(5)]
    assert len({handle.id for handle in handles}) == 1
    assert client.queues.retrieve("one").waiting == 1


async def test_s36_the_bucket_of_a_key_comes_before_the_slots_of_the_queue(
    database: str, marks: Path
) -> None:
    """A key with many waiting runs takes one slot; the others go to other keys."""
    queue = {"queue": wf.Queue("two", concurrency_limit=2)}
    runs = [(job, f"big {n}", {"concurrency_key": "big", **queue}) for n in range(6)]
    runs += [(job, "small", {"concurrency_key": "small", **queue})]
    await triggered(database, runs, count=1)
    order = [line for line in lines(marks) if line.startswith("+")]
    assert "+ small" in order[:2]
    assert most_at_once(lines(marks), "big") == 1


async def test_s37_a_full_queue_makes_runs_wait_and_refuses_none(
    database: str, marks: Path, client: wf.Client
) -> None:
    handles = [client.trigger(capped, f"run {n}") for n in range(30)]
    assert client.queues.retrieve("capped").waiting == 30
    async with wf.AsyncClient(database):
        running = engines(database)
        for engine in running:
            await engine.start()
        outputs = [handle.result(timeout="60s") for handle in handles]
        for engine in running:
            await engine.stop()
    assert sorted(outputs) == sorted(f"run {n}" for n in range(30))
    assert most_at_once(lines(marks)) == 2


async def test_a_parent_does_not_wait_for_the_slot_that_its_child_needs(
    database: str, marks: Path
) -> None:
    outputs = await triggered(database, [(outer, f"p{n}", {}) for n in range(3)], count=1)
    assert outputs == [f"p{n} inner" for n in range(3)]
    assert most_at_once(lines(marks)) == 1


async def test_a_step_with_a_queue_waits_there_and_looks_like_a_step(
    database: str, marks: Path
) -> None:
    [output] = await triggered(database, [(fan_out, 8, {})])
    assert output == [f"call {n}" for n in range(8)]
    assert most_at_once(lines(marks)) == 2


def test_a_queue_is_paused_and_changed_from_the_command_line(
    database: str, client: wf.Client
) -> None:
    client.trigger(inner, "a")
    paused = command("queues", "pause", "line", "--json", database=database)
    assert json.loads(paused.stdout)["paused"] is True
    words = ["set-limit", "line", "--concurrency-limit", "7", "--rate-limit", "50/30s", "--json"]
    changed = json.loads(command("queues", *words, database=database).stdout)
    assert (changed["concurrency_limit"], changed["per_key_limit"]) == (7, 1)
    assert changed["rate_limit"] == {"limit": 50, "per_ms": 30_000}
    command("queues", "resume", "line", database=database)
    [listed] = json.loads(command("queues", "list", "--json", database=database).stdout)
    assert (listed["name"], listed["paused"], listed["waiting"]) == ("line", False, 1)
    unknown = command("queues", "show", "nowhere", database=database)
    assert unknown.returncode != 0
    assert "wf queues list" in unknown.stderr


async def test_a_run_that_has_begun_is_canceled_though_its_queue_is_paused(
    database: str, client: wf.Client, marks: Path
) -> None:
    """Its clean-up is tried twice, so that it comes back from a wait, too."""
    run = client.trigger(booked, "room")
    async with wf.Engine(database=database, tasks=[queued]):
        await until_async(lambda: run.retrieve().status is wf.Status.WAITING)
        client.queues.pause("line")
        other = client.trigger(booked, "other")
        run.cancel()
        await until_async(lambda: run.retrieve().status.ended)
    assert run.retrieve().status is wf.Status.CANCELED
    assert lines(marks) == ["back room"]
    assert other.retrieve().status is wf.Status.QUEUED


async def until_async(condition: Any) -> None:
    await asyncio.to_thread(until, condition)
