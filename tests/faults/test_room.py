"""Runs with large values do not fill a worker's memory: it takes up as many as have room."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

import wf
from tests.stores.bounds import small_bounds
from wf.engine.registry import Registry
from wf.engine.room import weight
from wf.history.audit import audit
from wf.history.events import Kind, Status
from wf.testing.world import Process, World

SIZE = 10_000
"""Characters of a payload or a result."""
ROOM = 25_000


@wf.step
async def echo(text: str) -> str:
    return text


@wf.task
async def carries(text: str) -> int:
    return len(await echo(text[:10]))


@wf.task
async def waits(number: int) -> int:
    text = await echo(str(number) * SIZE)
    await wf.wait.for_(seconds=10)
    return len(text)


@wf.task
async def gathers(count: int) -> int:
    return sum(map(len, await echo.batch_trigger_and_wait(["x" * 400] * count)))


@wf.step
async def slowly() -> None:
    await asyncio.sleep(1_000)


@wf.task
async def gathers_beside_a_step(count: int) -> int:
    step = asyncio.create_task(slowly())
    total = await gathers.fn(count)
    await step
    return total


@pytest.fixture
def world(url: str) -> Iterator[World]:
    world = World(url, Registry([echo, carries, waits, gathers, slowly, gathers_beside_a_step]))
    yield world
    world.close()


def held(process: Process) -> int:
    return sum(map(weight, process.worker.bodies.values()))


def test_a_worker_takes_up_as_many_runs_as_have_room_and_leaves_others_to_others(
    world: World,
) -> None:
    runs = {world.trigger(carries, "x" * SIZE, number) for number in range(7)}
    process, other = world.start(live_bytes=ROOM), world.start(live_bytes=ROOM)
    process.worker.tick()
    other.worker.tick()
    assert len(process.worker.bodies) == len(other.worker.bodies) == 2
    assert not set(process.worker.bodies) & set(other.worker.bodies)
    for _ in range(100):
        for each in (process, other):
            each.runner.run_all()
            each.worker.tick()
            assert held(each) <= ROOM
    assert {world.run(run_id).status for run_id in runs} == {Status.COMPLETED}
    assert audit(world.store) == []


def test_a_run_that_is_larger_than_all_room_is_taken_up_alone(world: World) -> None:
    runs = [world.trigger(carries, "x" * SIZE, number) for number in range(3)]
    process = world.start(live_bytes=1)
    for _ in range(30):
        process.worker.tick()
        assert len(process.worker.bodies) <= 1
        process.runner.run_all()
    assert {world.run(run_id).status for run_id in runs} == {Status.COMPLETED}


def test_a_history_that_has_no_room_is_not_taken_up(world: World) -> None:
    runs = [world.trigger(waits, number, number) for number in range(5)]
    process = world.start(live_bytes=ROOM, cache_size=0)
    with small_bounds(SIZE):
        world.settle()
        assert not process.worker.bodies
        world.clock.advance(10_000)
        for _ in range(50):
            process.worker.tick()
            assert held(process) <= ROOM + SIZE  # how large one is tells when it is read
    assert {world.run(run_id).output for run_id in runs} == {b"10000"}


def test_the_cache_keeps_as_many_bodies_as_have_room(world: World) -> None:
    runs = [world.trigger(waits, number, number) for number in range(5)]
    process = world.start(cache_bytes=ROOM)
    world.settle()
    loads: list[int] = []

    def counted(name: str, call: object) -> object:
        loads.append(name == "load")
        return call()  # type: ignore[operator]

    process.store.door = counted  # type: ignore[assignment]
    world.live(runs)
    assert sum(loads) == 1
    assert {world.run(run_id).output for run_id in runs} == {b"10000"}


def test_news_that_have_no_room_come_when_the_others_are_read(world: World) -> None:
    run_id = world.trigger(gathers_beside_a_step, 20)
    world.start()
    with small_bounds(1_000):
        world.live([run_id])
    assert world.run(run_id).output == b"8000"
    *_, gathered = world.events(run_id, Kind.BATCH_ENDED)
    [finished] = world.events(run_id, Kind.STEP_FINISHED)
    assert gathered.at < finished.at
    assert audit(world.store) == []
