"""What a worker does while its commit is under way: other runs go on, those in it wait."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from typing import Any, TypeVar

import pytest

import wf
from wf.engine.registry import Registry
from wf.history.errors import StoreUnavailable
from wf.history.events import Kind
from wf.testing.ledger import note, using
from wf.testing.runner import Job
from wf.testing.world import Process, World, straight

T = TypeVar("T")


@wf.step
async def add(value: int) -> int:
    note()
    return value + 1


@wf.task
async def side_by_side() -> list[int]:
    return list(await asyncio.gather(add(1), add(2)))


@wf.task
async def one_after_the_other() -> int:
    return await add(await add(1))


@wf.task
async def when_it_began() -> int:
    began = wf.now()
    await add(1)
    return round(began.timestamp() * 1_000)


@pytest.fixture
def world(url: str) -> Generator[World]:
    world = World(url, Registry([add, side_by_side, one_after_the_other, when_it_began]))
    with using(world.ledger):
        yield world
    world.close()


def lose_the_answer(name: str, call: Callable[[], T]) -> T:
    answer = call()
    if name == "commit":
        raise StoreUnavailable("no answer", outcome_unknown=True)
    return answer


def in_the_next_commit(
    process: Process, act: Callable[[], object], *, at_the_end: bool = False
) -> None:
    """Do it when all of the next group has left for the database, before the worker goes on or, at
    the end, after that."""
    store: Any = process.store
    commit = store.commit

    def acting(*group: Any) -> Any:
        *rest, meanwhile = group

        def both() -> None:
            for one in (meanwhile, act) if at_the_end else (act, meanwhile):
                one()

        store.commit = commit
        return commit(*rest, both)

    store.commit = acting


def with_results(world: World, *runs: bytes) -> tuple[Process, list[Job]]:
    """A worker that has begun these runs, and the results of their first steps, not handed in."""
    process = world.start()
    process.worker.tick()
    for job in process.runner.possible():
        process.runner.do(job)
    jobs = process.runner.possible()
    assert {job.order.run_id for job in jobs} == set(runs)
    return process, jobs


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_result_waits_while_its_run_is_being_written(world: World, is_lost: bool) -> None:
    run_id = world.trigger(side_by_side)
    process, (first, second) = with_results(world, run_id)
    process.runner.do(first)
    in_the_next_commit(process, lambda: process.runner.do(second))
    if is_lost:
        process.store.door = lose_the_answer
        with pytest.raises(StoreUnavailable):
            process.worker.tick()
        process.store.door = straight
    else:
        process.worker.tick()
    assert len(world.events(run_id, Kind.STEP_FINISHED)) == 1
    world.live([run_id])
    assert world.run(run_id).output == b"[2,3]"
    assert [event.seq for _, event in world.store.history(run_id)] == [1, 2, 3, 4]


def test_other_runs_go_on_while_a_group_is_being_written(world: World) -> None:
    runs = [world.trigger(one_after_the_other, number=number) for number in range(2)]
    process, (first, second) = with_results(world, *runs)
    process.runner.do(first)
    in_the_next_commit(process, lambda: process.runner.do(second))
    process.worker.tick()
    body = process.worker.body_of(second.order.run_id)
    assert body is not None
    assert body.seq == 2
    assert world.kinds(second.order.run_id) == [Kind.STARTED]
    world.live(runs)
    assert {world.run(run_id).output for run_id in runs} == {b"3"}


def test_a_run_began_when_its_history_says_so_though_results_came_first(world: World) -> None:
    """It is handed out with a commit in which results come, which are written first."""
    busy = world.trigger(one_after_the_other)
    process, (result,) = with_results(world, busy)
    new = world.trigger(when_it_began, number=1)
    process.worker.hint()
    in_the_next_commit(process, lambda: process.runner.do(result), at_the_end=True)
    process.worker.tick()
    [started] = world.events(new, Kind.STARTED)
    assert process.worker.body_of(new) is None
    world.clock.advance(50)
    process.worker.tick()
    assert process.worker.body_of(new) is not None
    world.live([busy, new])
    assert world.run(new).output == str(started.at).encode()
