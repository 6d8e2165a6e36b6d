"""Tasks that do what their payload says.

A plan is a list of operations, `["work", 3, 1]`, done one after the other; some hold plans of their
own. The output is the list of what each gave; `tests.faults.model` says what it may be.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Final

import wf
from tests.faults.clockwork import knock, knocks
from tests.faults.hooked import told
from tests.faults.letters import hear
from tests.faults.model import Op, Plan
from tests.faults.starting import start, starts, starts_plain
from wf.engine.registry import Registry
from wf.history import errors
from wf.history.errors import StepFailed, StepInterrupted, StepTimedOut
from wf.testing.ledger import note
from wf.testing.programs import started

RETRY: Final = wf.Retry(max_attempts=4, min_delay="2s", max_delay="10s")


def _attempt() -> int:
    step = wf.current().step
    assert step is not None
    return step.attempt


@wf.step(retry=RETRY)
async def work(value: int, fails: int) -> int:
    note()
    await asyncio.sleep(value % 3)
    if _attempt() <= fails:
        raise ValueError(f"attempt {_attempt()}")
    return value * 2


@wf.step(retry=RETRY)
def work_sync(value: int, fails: int) -> int:
    note()
    if _attempt() <= fails:
        raise wf.RetryAfter(3)
    return value * 2


@wf.step(at_most_once=True)
async def once(value: int) -> int:
    note()
    return value * 2


@wf.step(timeout="4s", retry=wf.Retry(max_attempts=2, min_delay="1s"))
async def slow(seconds: int) -> str:
    note()
    await asyncio.sleep(seconds)
    return "in time"


@wf.step(retry=RETRY)
async def doomed() -> None:
    note()
    raise wf.Abort("no use")


@wf.step(retry=RETRY)
async def say(value: int, fails: int) -> int:
    """Tells what it does while it does it."""
    note()
    wf.stream("step").append(value)
    wf.metadata.set("step", value)
    await asyncio.sleep(value % 3)
    wf.stream("step").append(value)
    if _attempt() <= fails:
        raise ValueError(f"attempt {_attempt()}")
    return value


async def do(plan: Plan) -> list[Any]:
    return [await do_one(op) for op in plan]


async def do_one(op: Op) -> Any:
    name, *args = op
    return await _OPERATIONS[name](*args)


async def _tell(value: int) -> str:
    wf.metadata.increment("sum", value)
    wf.metadata.append("seen", value)
    wf.metadata.parent.increment("below", value)
    wf.metadata.root.increment("all", value)
    wf.stream("body").append(value)
    wf.tags.add(f"told:{value % 3}")
    return "told"


async def _slow(seconds: int) -> str:
    try:
        return await slow(seconds)
    except StepTimedOut:
        return "late"


async def _once(value: int) -> Any:
    try:
        return await once(value)
    except StepInterrupted:
        return "interrupted"


async def _doomed() -> str:
    try:
        await doomed()
    except StepFailed as error:
        return error.type
    return "?"


async def _sleep(ms: int) -> str:
    await wf.wait.for_(milliseconds=ms)
    return "slept"


async def _nap(ms: int) -> str:
    await asyncio.sleep(ms / 1_000)
    return "slept"


async def _all(plans: list[Plan]) -> list[Any]:
    return list(await asyncio.gather(*(do(plan) for plan in plans)))


async def _group(plans: list[Plan]) -> list[Any]:
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(do(plan)) for plan in plans]
    return [task.result() for task in tasks]


async def _race(plans: list[Plan]) -> list[Any]:
    """[which, what it gave] of the first."""
    tasks = [asyncio.create_task(do(plan)) for plan in plans]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in tasks:
            task.cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
    first = next(n for n, end in enumerate(ends) if not isinstance(end, BaseException))
    return [first, ends[first]]


async def _within(ms: int, plan: Plan) -> Any:
    try:
        async with asyncio.timeout(ms / 1_000):
            return await do(plan)
    except TimeoutError:
        return "timeout"


async def _child(plan: Plan) -> Any:
    try:
        return await follow(plan)
    except wf.RunCanceled:
        return "canceled"


async def _lined(queue: str, key: str, plan: Plan) -> Any:
    options: Any = {"queue": queue} | ({"concurrency_key": key} if key else {})
    try:
        return await follow.options(**options).trigger_and_wait(plan)
    except wf.RunCanceled:
        return "canceled"


async def _keyed(key: str, plan: Plan) -> Any:
    try:
        return await follow.options(idempotency_key=key).trigger_and_wait(plan)
    except wf.RunCanceled:
        return "canceled"


async def _handle(key: str, plan: Plan) -> Any:
    options: Any = {"idempotency_key": key} if key else {"tags": ["spawned"]}
    handle = await follow.options(**options).trigger(plan)
    try:
        return await handle.result()
    except wf.RunCanceled:
        return "canceled"


async def _batch(items: list[list[Any]]) -> list[Any]:
    """Of [key, plan], or ["", plan]."""
    members = [wf.Item(plan, idempotency_key=key) if key else plan for key, plan in items]
    return _ends(await follow.batch_trigger_and_wait(members, return_exceptions=True))


async def _batch_later(plans: list[Plan]) -> list[Any]:
    batch = await follow.batch_trigger(plans)
    await work(1, 0)
    return _ends(await batch.results(return_exceptions=True))


def _ends(found: list[Any]) -> list[Any]:
    for one in found:
        if isinstance(one, Exception) and not isinstance(one, wf.RunCanceled):
            raise one
    return ["canceled" if isinstance(one, wf.RunCanceled) else one for one in found]


async def _spawn(plan: Plan) -> str:
    await follow.trigger(plan)
    return "spawned"


async def _token(timeout_ms: int) -> Any:
    timeout = timeout_ms / 1_000 if timeout_ms else None
    token = await wf.wait.create_token(int, timeout=timeout)
    try:
        return await wf.wait.for_token(token)
    except errors.TokenTimedOut:
        return "nobody"
    except errors.TokenCanceled:
        return "canceled"


async def _write(name: str, value: int, plan: Plan) -> str:
    """To a child of whom nobody knows how far it is."""
    handle = await follow.trigger(plan)
    try:
        await work(value, 0)
        await handle.send(name, value)
    except wf.AlreadyEnded:
        return "ended"
    return "told"


async def _again(times: int, plan: Plan) -> Any:
    try:
        return await follow_again([times, plan])
    except wf.RunCanceled:
        return "canceled"


async def _flaky(kind: str, fails: int, plan: Plan) -> Any:
    try:
        return await (flaky_fresh if kind == "fresh" else flaky)([fails, plan])
    except wf.RunCanceled:
        return "canceled"


async def _broken(plan: Plan) -> str:
    try:
        await broken(plan)
    except wf.RunFailed as error:
        return error.type
    except wf.RunCanceled:
        return "canceled"
    return "?"


async def _undo(plan: Plan, value: int) -> Any:
    try:
        return await do(plan)
    finally:
        await work(value, 0)


async def _ids() -> list[Any]:
    before = wf.now()
    return [str(wf.uuid4()), wf.random().random(), wf.now() >= before, wf.patched("new")]


async def _generator(plan: Plan) -> Any:
    try:
        return await follow_generator(plan)
    except wf.RunCanceled:
        return "canceled"


_OPERATIONS: Final[dict[str, Callable[..., Any]]] = {
    "work": work,
    "sync": work_sync,
    "start": start,
    "say": say,
    "tell": _tell,
    "once": _once,
    "slow": _slow,
    "doomed": _doomed,
    "sleep": _sleep,
    "nap": _nap,
    "all": _all,
    "group": _group,
    "race": _race,
    "within": _within,
    "child": _child,
    "lined": _lined,
    "keyed": _keyed,
    "handle": _handle,
    "batch": _batch,
    "batch_later": _batch_later,
    "spawn": _spawn,
    "token": _token,
    "flaky": _flaky,
    "broken": _broken,
    "undo": _undo,
    "ids": _ids,
    "generator": _generator,
    "hear": hear,
    "write": _write,
    "again": _again,
}


@wf.task(on_complete=told)
async def follow(plan: list[Any]) -> list[Any]:
    return await do(plan)


@wf.task
def follow_generator(plan: list[Any]) -> wf.Gen[list[Any]]:
    """Only steps and timers: what a generator can yield."""
    done: list[Any] = []
    for name, value in plan:
        if name == "work":
            done.append((yield from work(value, 0)))
        else:
            yield from wf.wait.for_(milliseconds=value)
            done.append("slept")
    return done


@wf.task
async def follow_again(given: list[Any]) -> list[Any]:
    """The plan, so many times in fresh histories."""
    times, plan = given
    done = await do(plan)
    if times > 1:
        await wf.restart([times - 1, plan])
    return done


@wf.task(retry=RETRY, on_start=told, on_wait=told, on_resume=told)
async def flaky(given: list[Any]) -> list[Any]:
    """Fails by a step of its own in its first attempts; keeps what was completed."""
    fails, plan = given
    done = await do(plan)
    await asyncio.gather(do(plan[:1]), trip(fails))
    return done


@wf.task(retry=wf.Retry(max_attempts=5, min_delay="1s", fresh=True))
async def flaky_fresh(given: list[Any]) -> list[Any]:
    fails, plan = given
    done = await do(plan)
    if wf.current().run.attempt <= fails:
        raise ValueError("not yet")
    return done


@wf.step(retry=wf.Retry(max_attempts=1))
async def trip(fails: int) -> int:
    note()
    attempt = wf.current().run.attempt
    if attempt <= fails:
        raise ValueError(f"run attempt {attempt}")
    return attempt


@wf.task
async def broken(plan: list[Any]) -> None:
    await do(plan)
    raise KeyError("broken")


REGISTRY: Final = Registry(
    [
        *(work, work_sync, once, say, slow, doomed, starts, starts_plain, started),
        *(told, trip, follow, follow_generator, follow_again, flaky, flaky_fresh, broken),
        *(knock, knocks),
    ]
).with_hooks()
