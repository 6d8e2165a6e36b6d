"""Programs: task bodies as data, so that a test can draw them at random.

A `Program` is a small tree: steps that succeed or fail, timers, children, tokens, messages, put
together by sequences, gather, races, time-outs, cancels, task groups, `finally` blocks and
restarts. `programs()` is a Hypothesis strategy of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from hypothesis.strategies import SearchStrategy


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


class Start(Node):
    """A step that starts runs, one by one and as a batch, and fails `fails` times after that.
    `plain`: a step without `async`."""

    kind: Literal["start"] = "start"
    name: int
    fails: int = 0
    plain: bool = False


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
    | Start
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


# --- at random ----------------------------------------------------------------------------------


def programs(
    max_leaves: int = 12, more: Sequence[SearchStrategy[Any]] = ()
) -> SearchStrategy[Program]:
    """Programs at random. Times are few and small, so that things happen at once, or just not.
    `more`: leaves beside the usual ones."""
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
        *more,
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
