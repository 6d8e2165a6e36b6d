"""What runs programs: one task, `interpret`, with the steps and children that they ask for.

Its payload is the program, its output a trace: what the body saw, in the order in which it saw it.
Two runs that are given the same facts have the same trace. Where a program leaves something to the
world, the payload of the child (`Order`), the tags of the token (`answer_of`) or the program itself
(`mail.letters`) say what is to happen, so that any harness can play the world: one in virtual time,
or real stores with real workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, assert_never

from pydantic import BaseModel

from wf.engine.author import current
from wf.engine.core.handles import RunHandle
from wf.engine.core.restart import restart
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait
from wf.engine.notes import metadata, stream, tags
from wf.testing.nodes import (
    AsCompleted,
    Batch,
    Cancel,
    Child,
    Finally,
    Gather,
    Group,
    Message,
    Program,
    Race,
    Restart,
    Send,
    Sequential,
    Start,
    Step,
    Tell,
    TimeLimit,
    Timer,
    Token,
    Try,
)

MAX_ATTEMPTS: Final = 3
"""Of a step: one that fails as often fails for good."""


# --- what programs are made of ------------------------------------------------------------------


class Order(BaseModel):
    """What a step or a child of a program is to do."""

    name: int
    ms: int
    fails: int


@dataclass(slots=True)
class Pace:
    """How long things take in real life. By default nothing does: a harness has virtual time."""

    pause: Callable[[int], Awaitable[None]] = field(default=lambda ms: asyncio.sleep(0))
    waits: bool = False


pace = Pace()
"""`pace.waits = True` and a `pause` of its own: steps take their time."""


_RETRY: Final = Retry(max_attempts=MAX_ATTEMPTS, min_delay="2ms", max_delay="5ms")


@step(id="programs/act", retry=_RETRY)
async def act(order: Order) -> int:
    """Answers its name. Fails in the first `fails` attempts."""
    if pace.waits:
        await pace.pause(order.ms)
    here = current().step
    attempt = here.attempt if here is not None else 1
    if attempt <= order.fails:
        raise ValueError(f"step {order.name} fails ({attempt})")
    return order.name


@task(id="programs/child")
async def child(order: Order) -> int:
    """Answers its name, after `ms`, or fails."""
    await wait.for_(milliseconds=order.ms)
    if order.fails:
        raise ValueError(f"child {order.name} fails")
    return order.name


class Call(BaseModel):
    """The payload of a run that a step started: its key, and which one of its runs it is."""

    key: str
    place: int


STARTS: Final = 3
"""Runs that a step of `Start` starts."""


@task(id="programs/started")
async def started(call: Call) -> int:
    """Answers its place."""
    return call.place


@step(id="programs/start", retry=_RETRY)
async def start(order: Order) -> list[str]:
    """Starts one run and a batch; answers their ids. Fails in the first `fails` attempts, when they
    are there."""
    first, *others = _calls()
    one, batch = await started.trigger(first), await started.batch_trigger(others)
    return _ids(order, [one, *batch])


@step(id="programs/start-plain", retry=_RETRY)
def start_plain(order: Order) -> list[str]:
    """The same in a thread."""
    first, *others = _calls()
    one, batch = started.trigger(first), started.batch_trigger(others)
    return _ids(order, [one.handle, *batch.handle])


def _calls() -> list[Call]:
    here = current().step
    assert here is not None
    return [Call(key=here.idempotency_key, place=place) for place in range(STARTS)]


def _ids(order: Order, handles: Sequence[RunHandle[int]]) -> list[str]:
    here = current().step
    assert here is not None
    if here.attempt <= order.fails:
        raise ValueError(f"step {order.name} fails ({here.attempt}), and its runs are there")
    return [handle.id for handle in handles]


@task(id="programs/reader")
async def reader() -> int:
    """Answers the message that it is sent."""
    return await wait.for_message("letter", int)


@task(id="programs/interpret")
async def interpret(program: Program) -> list[str]:
    """Run a program; answer what was seen, in order."""
    trace: list[str] = []
    await Interpreter(trace).run(program)
    return trace


def answer_of(tags: Sequence[str]) -> tuple[int, int]:
    """What a token of a program is to be completed with, and after how many milliseconds."""
    told = dict(tag.split(":", 1) for tag in tags)
    return int(told["name"]), int(told["after_ms"])


class Interpreter:
    """Runs programs inside a task body. `trace`: what it saw."""

    def __init__(self, trace: list[str]) -> None:
        self._trace = trace

    async def run(self, program: Program) -> None:
        match program:
            case Step() | Timer() | Child() | Token() | Tell() | Message() | Start() | Send():
                await self._leaf(program)
            case Batch():
                await self._batch(program)
            case Restart(program=following):
                await restart(following)
            case Sequential(parts=parts):
                for part in parts:
                    await self.run(part)
            case Gather(parts=parts, return_exceptions=kept):
                found = await asyncio.gather(
                    *(self.run(part) for part in parts), return_exceptions=kept
                )
                self._saw("gathered", *(type(one).__name__ for one in found))
            case Group(parts=parts):
                async with asyncio.TaskGroup() as group:
                    for part in parts:
                        group.create_task(self.run(part))
                self._saw("grouped")
            case Race(parts=parts):
                await self._race([asyncio.create_task(self.run(part)) for part in parts])
            case AsCompleted(parts=parts):
                await self._as_completed([asyncio.create_task(self.run(part)) for part in parts])
            case TimeLimit():
                await self._time_limit(program)
            case Cancel(until=until, victim=victim):
                await self._cancel(until, victim)
            case Finally(part=part, cleanup=cleanup):
                try:
                    await self.run(part)
                finally:
                    await self._leaf(cleanup)
            case Try(part=part):
                try:
                    await self.run(part)
                except Exception as error:
                    self._saw("took", type(error).__name__)
            case _:
                assert_never(program)

    async def _leaf(
        self, leaf: Step | Timer | Child | Token | Tell | Message | Start | Send
    ) -> None:
        match leaf:
            case Step(name=name, ms=ms, fails=fails):
                self._saw("step", await act(Order(name=name, ms=ms, fails=fails)))
            case Timer(ms=ms, plain=True):
                await asyncio.sleep(ms / 1_000)
                self._saw("slept", ms)
            case Timer(ms=ms):
                await wait.for_(milliseconds=ms)
                self._saw("waited", ms)
            case Child(name=name, ms=ms, fails=fails, later=later):
                order = Order(name=name, ms=ms, fails=int(fails))
                if later:
                    handle = await child.trigger(order)
                    self._saw("triggered", name)
                    self._saw("child", await handle.result())
                else:
                    self._saw("child", await child.trigger_and_wait(order))
            case Token(name=name, ms=ms, timeout_ms=timeout_ms):
                token = await wait.create_token(
                    int,
                    timeout=timeout_ms / 1_000 if timeout_ms else None,
                    tags=[f"name:{name}", f"after_ms:{ms}"],
                )
                self._saw("token", await wait.for_token(token))
            case Tell(name=name):
                metadata.increment("sum", name)
                metadata.append("seen", name)
                stream("body").append(name)
                tags.add(f"told:{name % 3}")
                self._saw("told", name)
            case Message(name=name, timeout_ms=timeout_ms):
                timeout = timeout_ms / 1_000 if timeout_ms else None
                self._saw("message", await wait.for_message(str(name), int, timeout=timeout))
            case Start(name=name, fails=fails, plain=plain):
                order = Order(name=name, ms=0, fails=fails)
                self._saw("started", name, len(await (start_plain if plain else start)(order)))
            case Send(name=name):
                handle = await reader.trigger()
                await handle.send("letter", name)
                self._saw("answer", await handle.result())

    async def _batch(self, batch: Batch) -> None:
        orders = [Order(name=one.name, ms=one.ms, fails=int(one.fails)) for one in batch.parts]
        if batch.later:
            handle = await child.batch_trigger(orders)
            self._saw("triggered", len(handle))
            found = await handle.results(return_exceptions=batch.kept)
        else:
            found = await child.batch_trigger_and_wait(orders, return_exceptions=batch.kept)
        self._saw("batch", *(one if isinstance(one, int) else type(one).__name__ for one in found))

    async def _race(self, tasks: list[asyncio.Task[None]]) -> None:
        try:
            done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            self._saw("race", len(done), len(pending))
            for one in done | pending:
                one.cancel()
        finally:
            for one in tasks:
                one.cancel()
            ends = await asyncio.gather(*tasks, return_exceptions=True)
        self._saw("raced", *(type(one).__name__ for one in ends))

    async def _as_completed(self, tasks: list[asyncio.Task[None]]) -> None:
        for earliest in asyncio.as_completed(tasks):
            try:
                await earliest
            except Exception as error:
                self._saw("completed", type(error).__name__)
            else:
                self._saw("completed")

    async def _time_limit(self, limit: TimeLimit) -> None:
        try:
            if limit.call:
                await asyncio.wait_for(self.run(limit.part), limit.ms / 1_000)
            else:
                async with asyncio.timeout(limit.ms / 1_000):
                    await self.run(limit.part)
        except TimeoutError as error:
            self._saw("timeout", type(error).__name__)

    async def _cancel(self, until: Program, victim: Program) -> None:
        task = asyncio.create_task(self.run(victim))
        try:
            await self.run(until)
        finally:
            task.cancel()
            ends = await asyncio.gather(task, return_exceptions=True)
        self._saw("canceled", *(type(one).__name__ for one in ends))

    def _saw(self, what: str, *details: object) -> None:
        self._trace.append(" ".join([what, *map(str, details)]))
