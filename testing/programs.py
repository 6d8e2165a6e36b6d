"""Programs: task bodies as data, so that a test can draw them at random.

A `Program` is a small tree: steps that succeed or fail, timers, children, tokens, messages, put
together by sequences, gather, races, time-outs, cancels, task groups, `finally` blocks and
restarts. One task,
`interpret`, runs any of them; its payload is the program, its output a trace: what the body saw, in
the order in which it saw it. Two runs that are given the same facts have the same trace.

`programs()` is a Hypothesis strategy of them. Where a program leaves something to the world, the
payload of the child (`Order`), the tags of the token (`answer_of`) or the program itself
(`mail.letters`) say what is to happen, so that any harness can play the world: one in virtual time,
or real stores with real workers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field

from wf.engine.author import current
from wf.engine.core.restart import restart
from wf.engine.core.retry import Retry
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait
from wf.engine.notes import metadata, stream, tags

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy

MAX_ATTEMPTS: Final = 3
"""Of a step: one that fails as often fails for good."""


class Node(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Step(Node):
    """A step of `ms` milliseconds that fails `fails` times before it succeeds."""

    kind: Literal["step"] = "step"
    name: int
    ms: int = 1
    fails: int = 0


class Timer(Node):
    """A wait of `ms`: `wf.wait.for_`, or `asyncio.sleep` where it is `plain`."""

    kind: Literal["timer"] = "timer"
    ms: int
    plain: bool = False


class Child(Node):
    """A child run that ends after `ms`. `later`: triggered first, and waited for by its handle."""

    kind: Literal["child"] = "child"
    name: int
    ms: int
    fails: bool = False
    later: bool = False


class Batch(Node):
    """Child runs as one batch. `later`: triggered first, and waited for by its handle. `kept`: with
    return_exceptions."""

    kind: Literal["batch"] = "batch"
    parts: tuple[Child, ...]
    later: bool = False
    kept: bool = False


class Token(Node):
    """A token that is completed after `ms`, and times out after `timeout_ms` (0: never)."""

    kind: Literal["token"] = "token"
    name: int
    ms: int
    timeout_ms: int = 0


class Tell(Node):
    """The body notes something: in its metadata, in a stream, as a tag."""

    kind: Literal["tell"] = "tell"
    name: int


class Message(Node):
    """The next message of that name. One is sent `ms` after the run was made; nobody waits longer
    than `timeout_ms` (0: for ever)."""

    kind: Literal["message"] = "message"
    name: int
    ms: int
    timeout_ms: int = 0


class Send(Node):
    """A message to a child, that ends when it has read it."""

    kind: Literal["send"] = "send"
    name: int


class Sequential(Node):
    """One after the other."""

    kind: Literal["sequence"] = "sequence"
    parts: tuple[Program, ...]


class Gather(Node):
    kind: Literal["gather"] = "gather"
    parts: tuple[Program, ...]
    return_exceptions: bool = False


class Group(Node):
    """An asyncio.TaskGroup: the first failure cancels the others."""

    kind: Literal["group"] = "group"
    parts: tuple[Program, ...]


class Race(Node):
    """asyncio.wait for the first; the others are canceled and awaited."""

    kind: Literal["race"] = "race"
    parts: tuple[Program, ...]


class AsCompleted(Node):
    kind: Literal["as_completed"] = "as_completed"
    parts: tuple[Program, ...]


class TimeLimit(Node):
    """`asyncio.timeout`, or `asyncio.wait_for` where it is a `call`. A TimeoutError is taken."""

    kind: Literal["time_limit"] = "time_limit"
    ms: int
    part: Program
    call: bool = False


class Cancel(Node):
    """`victim` runs as a task of its own; when `until` is over, it is canceled and awaited."""

    kind: Literal["cancel"] = "cancel"
    until: Program
    victim: Program


class Finally(Node):
    """`part`, and then, come what may, a step."""

    kind: Literal["finally"] = "finally"
    part: Program
    cleanup: Step


class Try(Node):
    """`part`; an Exception that it raises is taken."""

    kind: Literal["try"] = "try"
    part: Program


class Restart(Node):
    """The run starts anew, with another program."""

    kind: Literal["restart"] = "restart"
    program: Program


Program = Annotated[
    Step
    | Timer
    | Child
    | Batch
    | Token
    | Tell
    | Message
    | Send
    | Sequential
    | Gather
    | Group
    | Race
    | AsCompleted
    | TimeLimit
    | Cancel
    | Finally
    | Try
    | Restart,
    Field(discriminator="kind"),
]
for _kind in (
    Sequential,
    Gather,
    Group,
    Race,
    AsCompleted,
    TimeLimit,
    Cancel,
    Finally,
    Try,
    Restart,
):
    _kind.model_rebuild()


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


@step(id="programs/act", retry=Retry(max_attempts=MAX_ATTEMPTS, min_delay="2ms", max_delay="5ms"))
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
            case Step() | Timer() | Child() | Token() | Tell() | Message() | Send():
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

    async def _leaf(self, leaf: Step | Timer | Child | Token | Tell | Message | Send) -> None:
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


# --- at random ----------------------------------------------------------------------------------


def programs(max_leaves: int = 12) -> SearchStrategy[Program]:
    """Programs at random. Times are few and small, so that things happen at once, or just not."""
    from hypothesis import strategies as st

    times, limits = st.sampled_from([1, 2, 3, 5, 8]), st.sampled_from([0, 2, 4])
    names = st.integers(0, 9)
    steps = st.builds(Step, name=names, ms=times, fails=st.sampled_from([0, 0, 0, 1, 2, 3]))
    children = st.builds(Child, name=names, ms=times, fails=st.booleans(), later=st.booleans())
    members = st.lists(children, max_size=3).map(tuple)
    leaves: SearchStrategy[Any] = st.one_of(
        steps,
        st.builds(Timer, ms=times, plain=st.booleans()),
        children,
        st.builds(Batch, parts=members, later=st.booleans(), kept=st.booleans()),
        st.builds(Token, name=names, ms=times, timeout_ms=limits),
        st.builds(Tell, name=names),
        st.builds(Message, name=st.integers(0, 2), ms=times, timeout_ms=limits),
        st.builds(Send, name=names),
    )

    def compound(part: SearchStrategy[Any]) -> SearchStrategy[Any]:
        parts = st.lists(part, min_size=1, max_size=4).map(tuple)
        return st.one_of(
            st.builds(Sequential, parts=parts),
            st.builds(Gather, parts=parts, return_exceptions=st.booleans()),
            st.builds(Group, parts=parts),
            st.builds(Race, parts=parts),
            st.builds(AsCompleted, parts=parts),
            st.builds(TimeLimit, ms=times, part=part, call=st.booleans()),
            st.builds(Cancel, until=part, victim=part),
            st.builds(Finally, part=part, cleanup=steps),
            st.builds(Try, part=part),
            st.builds(Restart, program=part),
        )

    return st.recursive(leaves, compound, max_leaves=max_leaves)


__all__ = [
    "MAX_ATTEMPTS",
    "AsCompleted",
    "Batch",
    "Cancel",
    "Child",
    "Finally",
    "Gather",
    "Group",
    "Interpreter",
    "Message",
    "Order",
    "Pace",
    "Program",
    "Race",
    "Restart",
    "Send",
    "Sequential",
    "Step",
    "Tell",
    "TimeLimit",
    "Timer",
    "Token",
    "Try",
    "act",
    "answer_of",
    "child",
    "interpret",
    "pace",
    "programs",
    "reader",
]
