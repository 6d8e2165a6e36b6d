"""Faults of the worker that were found once, each as a script of what happened."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from typing import TypeVar

import pytest

import wf
from wf.engine.attempts import StepOutcome
from wf.engine.author import StepCallInfo
from wf.engine.core.info import RunInfo
from wf.engine.limits import Limits
from wf.engine.registry import Registry
from wf.engine.settings import MAX_TAKEOVERS
from wf.engine.steps import StepOrder, cancel_async, start_async
from wf.history.errors import AlreadyEnded, StoreUnavailable
from wf.history.events import Kind, Status
from wf.testing.clock import SkewedClock
from wf.testing.ledger import note, using
from wf.testing.watched import Cut
from wf.testing.world import World

T = TypeVar("T")


@wf.step
async def add(value: int) -> int:
    note()
    return value + 1


@wf.step
async def slowly(seconds: float) -> float:
    note()
    await asyncio.sleep(seconds)
    return seconds


@wf.step(retry=wf.Retry(max_attempts=1))
async def fail_in_attempt(attempt: int) -> str:
    note()
    if wf.current().run.attempt == attempt:
        raise ValueError("this attempt")
    return "done"


@wf.task
async def adds(value: int) -> int:
    return await add(await add(value))


@wf.task
async def slowly_once(seconds: float) -> float:
    return await slowly(seconds)


@wf.task
async def give_up_at_once() -> str:
    """A step is asked for and given up in the activation in which the run begins."""
    task = asyncio.create_task(_step_in_cleanup())
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return "over"


async def _step_in_cleanup() -> None:
    await add(1)


@wf.task
async def two_branches() -> list[float]:
    return list(await asyncio.gather(slowly(1), _twice()))


async def _twice() -> float:
    return await slowly(0.1) + await slowly(0.2)


@wf.task
async def child(ms: int) -> str:
    await wf.wait.for_(milliseconds=ms)
    return "child"


@wf.task(retry=wf.Retry(max_attempts=3, min_delay="1s", jitter=False))
async def retried_beside_a_child() -> list[str]:
    return list(await asyncio.gather(child(60_000), fail_in_attempt(1)))


@wf.task(retry=wf.Retry(max_attempts=3, min_delay="1s", jitter=False))
async def retried_in_a_group() -> list[str]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(one) for one in (child(60_000), fail_in_attempt(1))]
    return [task.result() for task in tasks]


@wf.task(retry=wf.Retry(max_attempts=3, min_delay="1s", jitter=False))
async def retried_beside_a_result() -> list[str]:
    handle = await child.trigger(60_000)
    return list(await asyncio.gather(handle.result(), fail_in_attempt(1)))


@wf.task(retry=wf.Retry(max_attempts=3, min_delay="1s", jitter=False))
async def retried_beside_a_token() -> list[str]:
    token = await wf.wait.create_token(str, timeout="1m")
    return list(await asyncio.gather(_token(token), fail_in_attempt(1)))


async def _token(token: wf.Token[str]) -> str:
    try:
        return await wf.wait.for_token(token)
    except TimeoutError:
        return "nobody"


@wf.task
async def patched_after_a_takeover() -> bool:
    new = wf.patched("change")
    await add(1)
    return new


@wf.task(retry=wf.Retry(max_attempts=2, min_delay="5s", jitter=False, fresh=True))
async def fresh_with_a_token() -> str:
    token = await wf.wait.create_token(str, timeout="2s")
    told = await _token(token)
    if wf.current().run.attempt == 1:
        raise ValueError("again")
    return told


@wf.task(retry=wf.Retry(max_attempts=2, min_delay="5s", jitter=False, fresh=True))
async def fails_beside_a_wait() -> str:
    token = await wf.wait.create_token(str)
    answer = asyncio.create_task(_token(token))
    await asyncio.sleep(0)
    if wf.current().run.attempt == 1:
        raise ValueError("again")
    return await answer


@wf.task
async def keyed_child() -> str:
    return await child.options(idempotency_key="one").trigger_and_wait(10)


REGISTRY = Registry(
    [
        *(add, slowly, fail_in_attempt, adds, give_up_at_once, two_branches, child),
        *(retried_beside_a_child, retried_in_a_group, retried_beside_a_result),
        *(retried_beside_a_token, patched_after_a_takeover, keyed_child),
        *(fresh_with_a_token, fails_beside_a_wait, slowly_once),
    ]
)


@pytest.fixture
def world(sqlite_url: str) -> Iterator[World]:
    world = World(sqlite_url, REGISTRY)
    with using(world.ledger):
        yield world
    world.close()


class Doors:
    """Does `what` at the `number`-th call of a method, and nothing at others."""

    def __init__(
        self, method: str, number: int, what: Callable[[Callable[[], object]], None]
    ) -> None:
        self.method = method
        self.left = number
        self.what = what

    def __call__(self, name: str, call: Callable[[], T]) -> T:
        if name == self.method:
            self.left -= 1
            if self.left == 0:
                self.what(call)
        return call()


def lose_answer(call: Callable[[], object]) -> None:
    call()
    raise StoreUnavailable("lost", outcome_unknown=True)


def refuse(call: Callable[[], object]) -> None:
    raise StoreUnavailable("not reached")


def cut_before(call: Callable[[], object]) -> None:
    raise Cut


def cut_after(call: Callable[[], object]) -> None:
    call()
    raise Cut


def test_a_step_given_up_in_the_first_activation_does_not_strand_the_run(world: World) -> None:
    run_id = world.trigger(give_up_at_once)
    world.start()
    world.live([run_id])
    assert world.run(run_id).output == b'"over"'


@pytest.mark.parametrize(
    ("task", "first"),
    [
        (retried_beside_a_child, "child"),
        (retried_in_a_group, "child"),
        (retried_beside_a_result, "child"),
        (retried_beside_a_token, "nobody"),
    ],
)
def test_the_next_attempt_of_a_task_waits_anew_for_what_the_last_one_waited_for(
    world: World, task: wf.Runnable[[], list[str]], first: str
) -> None:
    run_id = world.trigger(task)
    world.start()
    world.live([run_id])
    run = world.run(run_id)
    assert (run.status, run.chapter) == (Status.COMPLETED, 2)
    assert task.signature.decode_result(run.output) == [first, "done"]


def test_a_patch_that_was_decided_in_a_takeover_is_known_to_the_second_body(world: World) -> None:
    world.door = Doors("commit", 2, cut_before)
    run_id = world.trigger(patched_after_a_takeover)
    world.start()
    world.live([run_id])
    run = world.run(run_id)
    assert (run.status, run.output) == (Status.COMPLETED, b"true")
    assert Kind.TAKEN in world.kinds(run_id)


def test_a_draining_worker_keeps_a_run_whose_step_it_has_held_back(world: World) -> None:
    run_id = world.trigger(two_branches)
    process = world.start()
    process.worker.tick()
    process.runner.run_all()
    process.worker.is_draining = True
    for _ in range(20):
        world.clock.advance(100)
        process.runner.run_all()
        process.worker.tick()
    assert not process.worker.steps_in_flight
    assert world.rows("SELECT count(*) FROM owned") == [(1,)]
    process.worker.leave()
    world.lose(process)
    world.start()
    world.live([run_id])
    assert world.run(run_id).status is Status.COMPLETED


def test_a_poll_that_failed_does_not_hold_up_results(world: World) -> None:
    run_id = world.trigger(adds, 1)
    process = world.start()
    process.worker.tick()
    process.store.door = Doors("commit", 1, refuse)
    process.worker.hint()
    with pytest.raises(StoreUnavailable):
        process.worker.tick()
    for _ in range(6):
        process.runner.run_all()
        process.worker.tick()
    assert world.run(run_id).status is Status.COMPLETED


def test_a_full_worker_takes_new_runs_with_the_commit_that_ends_others(world: World) -> None:
    runs = {world.trigger(add, number, number) for number in range(4)}
    process = world.start(max_owned=2)
    process.worker.tick()
    first = set(process.worker.bodies)
    process.runner.run_all()
    process.worker.tick()
    assert set(process.worker.bodies) == runs - first
    assert {world.run(run_id).status for run_id in first} == {Status.COMPLETED}


def test_a_full_worker_has_nothing_to_do_until_a_step_ends(world: World) -> None:
    """Also where it knows that there is more to take up."""
    for number in range(4):
        world.trigger(slowly_once, 1.0, number)
    process = world.start(max_owned=2)
    while process.worker.tick():
        pass
    assert len(process.worker.bodies) == 2
    process.worker.hint()
    process.worker.tick()
    assert process.worker.wait_ms() > 0
    process.worker.drop()
    assert process.worker.wait_ms() == 0, "it owns nothing: there is room"


def test_a_parked_run_is_not_written_again_when_its_commit_had_landed(world: World) -> None:
    """Then it may be another worker's."""
    run_id = world.trigger(adds, 1)
    for _ in range(MAX_TAKEOVERS):
        process = world.start(back_offs_ms=[0])
        process.worker.tick()
        world.lose(process)
        world.pass_lease()
    process = world.start()
    process.worker.tick()
    process.store.door = Doors("commit", 1, lose_answer)
    with pytest.raises(StoreUnavailable):
        process.worker.tick()
    assert world.run(run_id).blocked is not None
    world.store.cancel([run_id], world.clock.now())
    other = world.start()
    other.worker.tick()
    assert world.rows("SELECT count(*) FROM blocked") == [(0,)]
    process.worker.tick()
    assert world.rows("SELECT count(*) FROM blocked") == [(0,)]


@pytest.mark.parametrize("by", ["the run", "another step"])
def test_an_async_step_canceled_before_its_first_line_is_reported(by: str) -> None:
    delivered: list[StepOutcome] = []

    async def cancel_at_once() -> None:
        info = StepCallInfo(RunInfo(b"", "", b""), "slowly", 1, 0, 0)
        order = StepOrder(b"", 1, slowly, b"[1]", info)
        limits = Limits(asyncio.get_running_loop())
        start_async([order], lambda _, outcome: delivered.append(outcome), limits)
        if by == "the run":
            info.is_canceled = True
            cancel_async(order)
        else:
            (task,) = asyncio.all_tasks() - {asyncio.current_task()}
            task.cancel()
        await asyncio.sleep(0)

    asyncio.run(cancel_at_once())
    assert [type(outcome.error) for outcome in delivered] == [asyncio.CancelledError]


def test_facts_are_never_older_than_their_run(world: World) -> None:
    """Where the clock of the worker is behind that of the client."""
    run_id = world.trigger(keyed_child)
    process = world.start()
    process.worker.clock = behind = SkewedClock(world.clock)
    behind.jump(-5_000)
    process.worker.settings.lease_ms = 1_000_000_000
    process.worker._swept_at = 1 << 62  # pyright: ignore[reportPrivateUsage] # never asks the time
    world.live([run_id])
    times = [event.at for _, event in world.store.history(run_id)][1:]
    assert times == sorted(times)
    assert times[0] >= world.run(run_id).created_at


def test_a_fresh_attempt_begins_when_it_begins(world: World) -> None:
    """And not when the first one did: its timers and tokens have their whole time."""
    run_id = world.trigger(fresh_with_a_token)
    world.start()
    world.live([run_id])
    assert world.run(run_id).output == b'"nobody"'
    tokens = world.rows("SELECT created_at, ended_at - created_at FROM tokens ORDER BY created_at")
    assert [lived >= 2_000 for _, lived in tokens] == [True, True]
    assert tokens[1][0] - tokens[0][0] >= 7_000


def test_an_answer_to_the_last_attempt_is_none_to_the_next(world: World) -> None:
    run_id = world.trigger(fails_beside_a_wait)
    world.start()
    world.settle()
    world.clock.advance(6_000)
    world.settle()
    old, new = [row[0] for row in world.rows("SELECT id FROM tokens ORDER BY created_at")]
    with pytest.raises(AlreadyEnded):
        world.store.end_token(old, "COMPLETED", b'"old"', world.clock.now())
    world.store.end_token(new, "COMPLETED", b'"new"', world.clock.now())
    world.clock.advance(1_100)
    world.settle()
    assert world.run(run_id).output == b'"new"'
