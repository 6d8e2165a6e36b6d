"""Tasks that together use every operation, each with the people outside that it needs.

Their timers are so far apart that a lease that passes (10 s, or 20) does not change who is first.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import wf
from tests.faults import hooked, lined
from tests.faults import letters as mail
from wf.engine.core.runnable import Runnable
from wf.engine.registry import Registry
from wf.history.errors import StepFailed, StepInterrupted, StepTimedOut
from wf.history.events import Kind
from wf.testing.ledger import note
from wf.testing.world import World

RETRY: Final = wf.Retry(max_attempts=3, min_delay="1s", jitter=False)


def attempt() -> int:
    step = wf.current().step
    assert step is not None
    return step.attempt


# --- steps ----------------------------------------------------------------------------------------


@wf.step(retry=RETRY)
async def double(value: int) -> int:
    note(str(value))
    return value * 2


@wf.step(retry=RETRY)
def double_in_thread(value: int) -> int:
    note(str(value))
    return value * 2


@wf.step(retry=RETRY)
async def fail_twice() -> str:
    note()
    if attempt() < 3:
        raise ValueError(f"attempt {attempt()}")
    return "third"


@wf.step(retry=RETRY)
def fail_always() -> str:
    note()
    raise ValueError("always")


@wf.step(retry=RETRY)
async def abort() -> str:
    note()
    raise wf.Abort("no use")


@wf.step(retry=RETRY)
async def busy_vendor() -> str:
    note()
    if attempt() == 1:
        raise wf.RetryAfter(2.5)
    return "served"


@wf.step(timeout="2s", retry=wf.Retry(max_attempts=2, min_delay="1s", jitter=False))
async def hang() -> str:
    note()
    await asyncio.sleep(3_600)
    return "never"


@wf.step(at_most_once=True)
async def charge(amount: int) -> str:
    note(str(amount))
    return "charged"


@wf.step(retry=RETRY)
def deposit(amount: int) -> int:
    """Its row and its result are one write. Answers how many rows there are."""
    note(str(amount))
    with wf.transaction() as conn:
        conn.execute("CREATE TABLE IF NOT EXISTS deposits (amount INTEGER)")
        conn.execute(f"INSERT INTO deposits (amount) VALUES ({amount})")
        return conn.execute("SELECT count(*) FROM deposits").fetchone()[0]


@wf.step(retry=wf.Retry(max_attempts=1))
async def fail_in_first_attempt() -> str:
    note()
    if wf.current().run.attempt == 1:
        raise ValueError("first")
    return "second"


@wf.task
async def steps() -> list[Any]:
    done: list[Any] = [await double(1), await double_in_thread(2), await double(1)]
    done += [await fail_twice(), await busy_vendor()]
    for failing in (fail_always, abort, hang):
        try:
            done.append(await failing())
        except StepTimedOut:
            done.append("timed out")
        except StepFailed as error:
            done.append(error.type)
    return done


@wf.task
async def deposits() -> list[int]:
    return [await deposit(1), await double(2), await deposit(1), await deposit(3)]


@wf.task
async def charges() -> str:
    """Whether it was interrupted depends on where the cut was."""
    try:
        await charge(5)
    except StepInterrupted:
        await double(0)
    return "over"


# --- concurrency and time -------------------------------------------------------------------------


@wf.task
async def together() -> list[Any]:
    done: list[Any] = list(await asyncio.gather(double(1), double_in_thread(2), fail_twice()))
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(double(n)) for n in (3, 4)]
    return done + [task.result() for task in tasks]


@wf.task
async def races() -> list[Any]:
    first, others = await asyncio.wait(
        [asyncio.create_task(double(1)), asyncio.create_task(_forever())],
        return_when=asyncio.FIRST_COMPLETED,
    )
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)
    done: list[Any] = [task.result() for task in first]
    try:
        async with asyncio.timeout(2):
            await wf.wait.for_("10m")
    except TimeoutError:
        done.append("timeout")
    async with asyncio.timeout(600):
        done.append(await double(2))
    return done


async def _forever() -> int:
    await wf.wait.for_("1h")
    return 0


@wf.task
async def timers() -> list[Any]:
    before = wf.now()
    await wf.wait.for_("1s")
    await asyncio.sleep(0.5)
    await wf.wait.until(datetime(2020, 1, 1, tzinfo=UTC))
    passed = (wf.now() - before).total_seconds()
    return [await double(1), passed >= 1.5]


@wf.task
async def chance() -> list[Any]:
    numbers: list[Any] = [str(wf.uuid4()), wf.random().random(), await double(1)]
    if wf.patched("new"):
        numbers.append(await double(2))
    return [*numbers, str(wf.uuid4()), wf.random().random()]


@wf.task
def generator(value: int) -> wf.Gen[int]:
    first = yield from double(value)
    yield from wf.wait.for_("1s")
    return (yield from double(first))


# --- runs -----------------------------------------------------------------------------------------


@wf.task
async def child(value: int) -> int:
    await wf.wait.for_("1s")
    return await double(value)


@wf.task
async def bad_child() -> None:
    await double(1)
    raise KeyError("bad")


@wf.task
async def parents() -> list[Any]:
    await child.trigger(7)
    handle = await child.trigger(2, tags=["later"])
    done: list[Any] = [await child(1), await handle.result()]
    try:
        await bad_child()
    except wf.RunFailed as error:
        done.append(error.type)
    return done


@wf.task
async def keyed() -> list[Any]:
    """The second and third find the first one's run, under way and ended."""
    first = await child.trigger(1, idempotency_key="one")
    second = await child.trigger_and_wait(1, idempotency_key="one")
    third = await child.trigger(1, idempotency_key="one")
    return [await first.result(), second, await third.result(), third.is_cached]


PATIENTLY: Final = wf.Retry(max_attempts=6, min_delay="1s", jitter=False)


@wf.step(retry=PATIENTLY)
def start(value: int) -> bool:
    """Its first attempt fails after it has triggered."""
    note(str(value))
    run_id = child.trigger(value).id
    if attempt() == 1:
        raise ValueError("again")
    return run_id.startswith("run_")


@wf.step(retry=PATIENTLY)
async def start_many(values: list[int]) -> int:
    note(str(values))
    last = await child.trigger(values[-1])
    batch = await child.batch_trigger(values)
    child.trigger(values[0])
    return len({*(handle.id for handle in batch), last.id})


@wf.task
async def starting() -> list[int]:
    """The runs that its steps started are as many, wherever it was cut."""
    return [await start(1), await start_many([2, 3]), await double(3)]


@wf.task
async def patient(seconds: int) -> int:
    if not seconds:
        raise ValueError("at once")
    await wf.wait.for_(seconds=seconds)
    return seconds


@wf.task
async def batches() -> list[Any]:
    """Of the last one the two that have not ended are canceled when it does."""
    await child.batch_trigger([8, 9])
    two = wf.Item(2, idempotency_key="two")
    batch = await child.batch_trigger([1, two, two])
    done: list[Any] = await child.batch_trigger_and_wait([3, two, 4])
    done += await batch.results()
    done += [handle.is_cached for handle in batch]
    kept = await patient.batch_trigger_and_wait([0, 1], return_exceptions=True)
    done += [one if isinstance(one, int) else one.type for one in kept]
    try:
        await patient.batch_trigger_and_wait([3_600, 0, 3_600])
    except wf.RunFailed as error:
        done.append(error.type)
    return done


@wf.task(retry=RETRY)
async def kept() -> list[Any]:
    """The second attempt keeps the first two steps, and waits for the child anew."""
    done = [await double(1), await double(2)]
    handle = await child.trigger(3)
    last = await asyncio.gather(handle.result(), fail_in_first_attempt())
    return [*done, *last]


@wf.task(retry=wf.Retry(max_attempts=3, min_delay="1s", jitter=False, fresh=True))
async def fresh() -> list[Any]:
    done: list[Any] = [await double(1), wf.current().run.attempt]
    if wf.current().run.attempt < 3:
        raise ValueError("again")
    return done


@wf.task
async def sleeper() -> None:
    await wf.wait.for_("1h")


@wf.task
async def canceled() -> str:
    try:
        await double(1)
        await asyncio.gather(sleeper(), _forever())
    finally:
        await double(2)
        await wf.wait.for_("1s")
        await double_in_thread(3)
    return "never"


def cancel_it(world: World) -> None:
    for run in world.runs():
        kinds = world.kinds(run.id) if run.task == canceled.id else []
        if Kind.CHILD_TRIGGERED in kinds and Kind.CANCEL_REQUESTED not in kinds:
            world.client.cancel([run.id], world.clock.now())


@wf.step(retry=RETRY)
async def toil(value: int) -> int:
    note(str(value))
    await asyncio.sleep(0.1)
    return value


@wf.step
async def die(how: str) -> None:
    note()
    if how == "exit":
        os._exit(3)
    ctypes.string_at(0)


@wf.task
async def kills(how: str) -> None:
    await die(how)


@wf.task
async def kills_in_its_body(how: str) -> None:
    await double(1)
    ctypes.string_at(0)


@wf.step
async def rest(seconds: float) -> float:
    note()
    await asyncio.sleep(seconds)
    return seconds


@wf.task
async def rests(seconds: float) -> float:
    return await rest(seconds)


@wf.task
async def chores(number: int) -> list[int]:
    """For many at once: 5 to 10 short steps, some in a child, some beside a timer."""
    total = 5 + number % 6
    for place in range(total - 3):
        await toil(number * 100 + place)
    if number % 3 == 0:
        await errand(number)
    elif number % 3 == 1:
        await asyncio.gather(wf.wait.for_("200ms"), double_in_thread(number), double(-number))
    else:
        await (await errand.trigger(number)).result()
    await double_in_thread(number)
    return [number, total]


@wf.task
async def errand(number: int) -> int:
    await wf.wait.for_("100ms")
    return await double(number) + await double_in_thread(-number)


# --- notes ----------------------------------------------------------------------------------------


@wf.step(retry=RETRY)
async def speak(value: int) -> int:
    """Says 1 and 2, a second apart; says it again, because its first attempt fails."""
    note()
    for said in (1, 2):
        wf.stream("step").append(said)
        wf.metadata.set("step", said)
        await asyncio.sleep(1)
    step = wf.current().step
    if step is not None and step.attempt == 1:
        raise ValueError("again")
    return value


@wf.task
async def told_child(value: int) -> int:
    wf.metadata.parent.increment("children", value)
    wf.metadata.root.append("names", "child")
    return await double(value)


@wf.task(retry=RETRY)
async def telling() -> list[Any]:
    """Its second attempt keeps what was noted in the first."""
    wf.metadata.set("stage", "begun")
    wf.metadata.increment("count")
    wf.stream("body").append("begun")
    wf.tags.add("a", "b")
    done: list[Any] = [await speak(1), await told_child(2)]
    wf.metadata.increment("count")
    wf.stream("body").append(done)
    await fail_in_first_attempt()
    wf.metadata.increment("count")
    wf.metadata.set("stage", "done")
    return [*done, wf.metadata.current(), wf.current().run.tags]


@dataclass(frozen=True, slots=True)
class Sample:
    """`output` of the first run; `in_order`: its facts always come in the same order; `short`:
    pairs of cuts are tried, too."""

    task: Runnable[..., Any]
    output: Any
    payload: Any = None
    outside: Callable[[World], None] = mail.nobody
    in_order: bool = True
    short: bool = False

    @property
    def name(self) -> str:
        return self.task.id


ANY: Final = object()

SAMPLES: Final = [
    Sample(steps, [2, 4, 2, "third", "served", "ValueError", "Abort", "timed out"]),
    Sample(deposits, [1, 4, 2, 3], short=True),
    Sample(charges, "over", in_order=False, short=True),
    Sample(together, [2, 4, "third", 6, 8], in_order=False),
    Sample(races, [2, "timeout", 4], in_order=False),
    Sample(timers, [2, True]),
    Sample(chance, ANY, short=True),
    Sample(generator, 8, 2, short=True),
    Sample(parents, [2, 4, "KeyError"], in_order=False),
    Sample(keyed, [2, 2, 2, True], in_order=False),
    Sample(
        batches,
        [6, 4, 8, 2, 4, 4, False, False, True, "ValueError", 1, "ValueError"],
        in_order=False,
    ),
    Sample(starting, [True, 3, 6], in_order=False),
    Sample(kept, [2, 4, 6, "second"], in_order=False),
    Sample(fresh, [2, 3], short=True),
    Sample(canceled, None, outside=cancel_it, in_order=False),
    Sample(telling, [1, 4, {"stage": "done", "count": 3}, ["a", "b"]], short=True),
    Sample(mail.tokens, ["yes", "canceled", "timed out"], outside=mail.answer),
    Sample(mail.letters, [[1, 2], 1, "timed out", "ended"], outside=mail.post, in_order=False),
    Sample(mail.restarting, [3, 3], 1, outside=mail.post, in_order=False, short=True),
    Sample(mail.advised, [1, 2, 3, "second"], outside=mail.post, in_order=False),
    Sample(mail.unhurried, ["second"]),
    Sample(hooked.hooked, [4, "ValueError", "timed out"], in_order=False),
    Sample(lined.lined, [[-1, -2, -3], True, 5], in_order=False),
    Sample(lined.barred, None, outside=lined.bar),
]

REGISTRY: Final = Registry(
    [
        *(double, double_in_thread, fail_twice, fail_always, abort, busy_vendor, hang, charge),
        *(deposit, start, start_many),
        *(fail_in_first_attempt, child, bad_child, patient, sleeper, toil, chores, errand),
        *(mail.reader, *mail.STEPS),
        *(die, kills, kills_in_its_body, rest, rests),
        *(speak, told_child),
        *hooked.TASKS,
        *lined.TASKS,
        *(sample.task for sample in SAMPLES),
    ]
).with_hooks()
