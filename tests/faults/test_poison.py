"""Runs that take their workers with them are found out, and nobody else pays for it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from itertools import pairwise
from random import Random
from typing import Any, cast

import psycopg
import pytest

import wf
from tests.faults.invariants import store_breaches
from wf.engine.registry import Registry
from wf.engine.settings import BACK_OFFS_MS, MAX_TAKEOVERS, SUSPECT
from wf.engine.trials import lost_in_a_row
from wf.history.events import Kind, Status
from wf.testing.ledger import using
from wf.testing.world import ROUNDS, World


@wf.step
async def sleep(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@wf.task
async def innocent(seconds: float) -> float:
    return await sleep(seconds)


@wf.step
async def explode() -> None:
    """Whoever hands it out is lost: see `live_dangerously`."""


@wf.task
async def killer() -> None:
    await sleep(1)
    await explode()


REGISTRY = Registry([sleep, innocent, explode, killer])


@pytest.fixture
def world(url: str) -> Iterator[World]:
    world = World(url, REGISTRY)
    with using(world.ledger):
        yield world
    world.close()


def live_dangerously(world: World, losses: int = 0) -> None:
    """Until every run has ended or is parked, or so many processes are lost. One that hands out
    `explode` is lost with all that it has, and another one starts."""
    for _ in range(ROUNDS):
        worked = False
        for process in list(world.processes):
            worked |= world.tick(process)
            owned = list(process.worker.bodies.values())
            if any("explode" in {step.step for step in body.steps.values()} for body in owned):
                assert process.worker.lease is not None
                lost = process.worker.lease.worker
                world.lose(process)
                world.store.take_over(world.clock.now(), 3_600_000, [lost])
                world.start()
                worked = True
                losses -= 1
                if losses == 0:
                    return
            else:
                worked |= process.runner.run_one()
        if worked:
            continue
        if all(run.status.ended or run.blocked for run in world.runs()):
            return
        world.clock.advance_to(world.next_event())
    states = [f"{run.task} {run.status} {run.blocked}" for run in world.runs()]
    raise AssertionError(f"they do not come to rest: {states}")


def last_losses(world: World, run_id: bytes) -> list[int]:
    """When its worker was lost, since it made progress."""
    events = [event for _, event in world.store.history(run_id)]
    lost = lost_in_a_row(events)
    return [event.at for event in events[len(events) - lost :]]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("workers", [1, 3])
def test_a_killer_is_parked_and_its_neighbours_complete(
    world: World, workers: int, seed: int
) -> None:
    order = [killer] * 2 + [innocent] * 6
    Random(seed).shuffle(order)
    runs = [
        (
            task,
            world.trigger(task, None if task is killer else float(1 + 40 * (number % 3)), number),
        )
        for number, task in enumerate(order)
    ]
    for _ in range(workers):
        world.start()
    live_dangerously(world)
    for task, run_id in runs:
        run = world.run(run_id)
        if task is killer:
            assert run.blocked is not None
            assert run.blocked.reason == "poisoned"
            assert len(last_losses(world, run_id)) == MAX_TAKEOVERS
        else:
            assert run.status is Status.COMPLETED
            assert len(last_losses(world, run_id)) <= SUSPECT
    assert store_breaches(world.store, REGISTRY) == []


def test_a_killer_waits_longer_each_time_before_it_is_tried_again(world: World) -> None:
    run_id = world.trigger(killer)
    world.start()
    live_dangerously(world)
    waited = [later - earlier for earlier, later in pairwise(last_losses(world, run_id)[1:])]
    assert len(waited) == MAX_TAKEOVERS - 2
    for least, found in zip(BACK_OFFS_MS, waited, strict=False):
        assert found >= least


def test_a_poisoned_run_says_what_is_known(world: World) -> None:
    run_id = world.trigger(killer)
    world.start()
    live_dangerously(world)
    blocked = world.run(run_id).blocked
    assert blocked is not None
    assert f"lost {MAX_TAKEOVERS} times in a row" in blocked.detail
    assert "event 2, STEP_FINISHED 1 (sleep)" in blocked.detail


def test_a_suspect_that_is_canceled_or_told_something_waits_all_the_same(world: World) -> None:
    """What comes while it has to wait wakes it, and does not begin it."""
    run_id = world.trigger(killer)
    world.start()
    live_dangerously(world, losses=SUSPECT)
    world.settle()
    waits_until = last_losses(world, run_id)[-1] + BACK_OFFS_MS[SUSPECT - 2]
    world.store.cancel([run_id], world.clock.now())
    world.settle()
    assert not any(process.worker.bodies for process in world.processes)
    assert world.store.next_due("dev") == waits_until
    world.live([run_id])
    assert world.run(run_id).status is Status.CANCELED


def test_a_poisoned_run_has_another_try_with_other_code(world: World) -> None:
    run_id = world.trigger(killer)
    world.start()
    live_dangerously(world)
    for process in list(world.processes):
        world.lose(process)
    world.start().worker.info.code = "mended"
    world.live([run_id])
    assert world.run(run_id).status is Status.COMPLETED


def test_a_poisoned_run_can_be_canceled(world: World) -> None:
    run_id = world.trigger(killer)
    world.start()
    live_dangerously(world)
    world.store.cancel([run_id], world.clock.now())
    world.live([run_id])
    assert world.run(run_id).status is Status.CANCELED
    assert store_breaches(world.store, REGISTRY) == []


# --- rows that cannot be read ---------------------------------------------------------------------


def damage(world: World, change: str) -> None:
    """What no code of ours does."""
    sql = f"UPDATE events SET {change} WHERE kind = {Kind.STEP_FINISHED.value}"
    store: Any = world.store
    if world.is_postgres:
        with psycopg.connect(world.url, autocommit=True) as connection:
            connection.execute(cast("Any", sql))
    else:
        with store.database.write() as db:
            db.execute(sql)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("data = {bad}", "unreadable"),
        ("kind = 99", "unreadable"),
        ("name = 'other'", "nondeterminism"),
        ("digest = 7", "nondeterminism"),
    ],
)
def test_a_history_that_cannot_be_read_parks_its_run_alone(
    world: World, change: str, reason: str
) -> None:
    run_id = world.trigger(killer, None, 1)
    world.start()
    live_dangerously(world, losses=1)
    bad = "'{bad'::bytea" if world.is_postgres else "CAST('{bad' AS BLOB)"
    damage(world, change.format(bad=bad))
    healthy = [world.trigger(innocent, 0.1, number) for number in range(2, 6)]
    live_dangerously(world)
    blocked = world.run(run_id).blocked
    assert blocked is not None
    assert blocked.reason == reason
    assert {world.run(one).status for one in healthy} == {Status.COMPLETED}
    assert len(world.processes) == 1
