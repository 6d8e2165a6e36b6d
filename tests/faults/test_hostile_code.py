"""What users' code may raise, return and ask for: it is their run's trouble, and no other's. The
worker lives, and the run fails or is parked."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

import wf
from wf.engine.alarms import SLACK, Alarms
from wf.engine.core.names import MAX_NAME_BYTES
from wf.engine.core.outcome import MAX_TEXT
from wf.engine.core.triggers import trigger_options
from wf.engine.registry import Registry
from wf.engine.results import GROUP_BYTES
from wf.history.errors import DeclarationError
from wf.history.events import Failure, Status
from wf.testing.ledger import note, using
from wf.testing.world import World

ONCE = wf.Retry(max_attempts=1)
SURROGATE = "\ud800"


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


ERRORS: dict[str, Any] = {
    "unprintable": Unprintable(),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "generator-exit": GeneratorExit(),
    "stop": StopIteration(),
    "base": BaseException("base"),
    "canceled": asyncio.CancelledError(),
    "surrogate": ValueError(SURROGATE),
    "nul": ValueError("a\0b"),
    "huge": ValueError("x" * 1_000_000),
    "retry-nan": wf.RetryAfter(float("nan")),
    "retry-inf": wf.RetryAfter(float("inf")),
    "retry-huge": wf.RetryAfter(1e30),
    "retry-text": wf.RetryAfter("soon"),  # pyright: ignore[reportArgumentType]
    "retry-past": wf.RetryAfter(-5),
    "odd-failure": wf.StepFailed("odd", type=5, traceback=7),  # pyright: ignore[reportArgumentType]
}


@wf.step(retry=wf.Retry(max_attempts=2, min_delay=0))
def raise_in_step(which: str) -> None:
    note()
    raise ERRORS[which]


@wf.task
async def call(which: str) -> None:
    await raise_in_step(which)


@wf.task
async def raise_in_body(which: str) -> None:
    raise ERRORS[which]


@wf.step
async def one() -> int:
    note()
    return 1


@wf.task
async def well() -> int:
    return await one()


@wf.task
async def callback() -> int:
    def end() -> None:
        raise GeneratorExit

    asyncio.get_running_loop().call_soon(end)
    return await one()


@wf.task
async def ask(what: str) -> Any:
    match what:
        case "sleep":
            await asyncio.sleep(1e18)
        case "patch":
            wf.patched(SURROGATE)
        case "patch-nul":
            wf.patched("a\0b")
        case "token-tag":
            await wf.wait.create_token(str, tags=[SURROGATE])
        case "tag":
            await well.trigger(tags=[SURROGATE])
        case "key":
            await well.trigger(idempotency_key="a\0b")
        case "long-key":
            await well.trigger(idempotency_key="k" * 10_000)
        case "lane":
            await well.trigger(concurrency_key=SURROGATE)
        case _:
            await well.trigger(priority=1 << 40)


@wf.task
async def log_badly() -> int:
    wf.logger.error("%d", "no number")
    wf.logger.error("%s", Unprintable())
    return await one()


@wf.step(retry=ONCE)
async def large() -> str:
    note()
    return "x" * (GROUP_BYTES // 8)


@wf.task
async def many_large(count: int) -> int:
    return len(await asyncio.gather(*[large() for _ in range(count)]))


@wf.task
async def under_a_timeout(steps: int) -> int:
    async with asyncio.timeout(86_400):
        for _ in range(steps):
            await one()
    return steps


REGISTRY = Registry(
    [
        *(raise_in_step, call, raise_in_body, one, well, callback, ask, log_badly),
        *(large, many_large, under_a_timeout),
    ]
)


@pytest.fixture
def world(url: str) -> Iterator[World]:
    world = World(url, REGISTRY)
    with using(world.ledger):
        yield world
    world.close()


def live_beside(world: World, task: wf.Runnable[..., Any], payloads: list[Any]) -> list[Any]:
    """These runs, each between others that are well."""
    runs: list[bytes] = []
    healthy: list[bytes] = []
    for number, payload in enumerate(payloads):
        healthy.append(world.trigger(well, None, 1_000 + number))
        runs.append(world.trigger(task, payload, number))
    world.start()
    world.live(runs)
    assert {world.run(run_id).status for run_id in healthy} == {Status.COMPLETED}
    return [world.run(run_id) for run_id in runs]


def test_whatever_a_step_raises_is_its_failure(world: World) -> None:
    for run in live_beside(world, call, list(ERRORS)):
        assert run.status is Status.FAILED
        assert len(run.failure or b"") < 8 * MAX_TEXT


def test_whatever_a_body_raises_is_its_failure(world: World) -> None:
    for run in live_beside(world, raise_in_body, list(ERRORS)):
        assert run.status is Status.FAILED


def test_what_no_store_can_hold_is_refused_in_the_body(world: World) -> None:
    asked = ["sleep", "patch", "patch-nul", "token-tag", "tag", "key", "long-key", "lane", "prio"]
    for run in live_beside(world, ask, asked):
        assert run.status is Status.FAILED
        assert Failure.decode(run.failure).type == "DeclarationError"


def test_a_callback_may_raise_anything(world: World) -> None:
    [run] = live_beside(world, callback, [None])
    assert run.output == b"1"


def test_a_line_that_cannot_be_formatted_does_not_raise(world: World) -> None:
    """On a replay it is not formatted: raised live only, it would be a mismatch."""
    [run] = live_beside(world, log_badly, [None])
    assert run.output == b"1"


def test_a_run_that_the_store_refuses_is_parked_alone(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where no check knew of it beforehand."""
    from wf.engine import author

    def unchecked(value: str, what: str) -> str:
        return value

    monkeypatch.setattr(author, "check_name", unchecked)
    healthy = [world.trigger(well, None, 100 + number) for number in range(7)]
    bad = [world.trigger(ask, "patch", number) for number in range(2)]
    process = world.start()
    world.settle()
    assert {world.run(run_id).status for run_id in healthy} == {Status.COMPLETED}
    for run_id in bad:
        blocked = world.run(run_id).blocked
        assert blocked is not None
        assert (blocked.reason, blocked.detail[:18]) == ("error", "UnicodeEncodeError")
    assert not process.worker.bodies
    assert world.rows("SELECT count(*) FROM owned") == [(0,)]
    monkeypatch.undo()
    world.lose(process)
    world.start().worker.info.code = "mended"
    world.live(bad)


def test_large_results_are_written_in_several_groups(world: World) -> None:
    run_id = world.trigger(many_large, 20)
    process = world.start()
    sizes: list[int] = []
    commit = process.worker.store.commit

    def measured(lease: Any, activations: Any, *more: Any) -> Any:
        events = [event for a in activations for event in a.events]
        sizes.append(sum(len(event.data or b"") for event in events))
        return commit(lease, activations, *more)

    process.worker.store.commit = measured  # type: ignore[method-assign]
    process.worker.tick()
    process.runner.run_all()
    world.live([run_id])
    assert world.run(run_id).output == b"20"
    assert GROUP_BYTES // 2 < max(sizes) < 2 * GROUP_BYTES


def test_alarms_that_are_far_ahead_do_not_pile_up(world: World) -> None:
    process = world.start()
    alarms = process.worker._alarms  # pyright: ignore[reportPrivateUsage]
    run_id = world.trigger(under_a_timeout, 30)
    world.live([run_id])
    assert len(alarms) <= 1


def test_alarms_of_runs_that_are_gone_are_cleared_away() -> None:
    alarms = Alarms()
    for number in range(5 * SLACK):
        run_id = number.to_bytes(4, "big")
        alarms.set(run_id, 1_000_000 - number)
        alarms.set(run_id, 2_000_000)
        if number % 2:
            alarms.forget(run_id)
            alarms.forget(run_id)
    assert len(alarms) <= 2 * (5 * SLACK // 2) + SLACK
    rung: list[bytes] = []
    while (run_id := alarms.ring(1_500_000)) is not None:
        rung.append(run_id)
    assert rung == [number.to_bytes(4, "big") for number in range(5 * SLACK - 2, -1, -2)]
    assert alarms.next > 2_000_000


def test_a_draining_worker_waits_for_its_steps_and_does_not_spin(world: World) -> None:
    world.trigger(well)
    process = world.start()
    process.worker.tick()
    process.worker.is_draining = True
    world.clock.advance(process.worker.settings.poll_ms + 1)
    assert process.worker.wait_ms() > 0


@pytest.mark.parametrize("name", ["idempotency_key", "concurrency_key", "queue", "version"])
def test_names_are_checked_where_they_are_given(name: str) -> None:
    assert trigger_options({name: "k" * MAX_NAME_BYTES})
    for odd in ("", "a\0b", SURROGATE, "é" * MAX_NAME_BYTES):
        with pytest.raises(DeclarationError, match=name):
            trigger_options({name: odd})
