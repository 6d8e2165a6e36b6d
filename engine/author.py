"""What authors call in bodies and steps: `wf.now`, `wf.random`, `wf.uuid4`, `wf.logger`,
`wf.current`, `wf.patched`.

In a body they answer the same on every replay; in a step and outside they are the real thing.
"""

from __future__ import annotations

import logging
import time
import uuid
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, Final, Protocol

from msgspec import Struct

from wf.engine.core.durations import from_ms
from wf.engine.core.execution import Execution
from wf.engine.core.info import RunInfo
from wf.engine.core.names import check_name
from wf.engine.core.operation import current_execution
from wf.engine.core.outcome import text_of
from wf.engine.debugging import standstill
from wf.history.errors import Error
from wf.history.ids import show

if TYPE_CHECKING:
    from wf.history.notes import Note
    from wf.history.step import StepPlace
    from wf.history.store import Store


test_clocks: Final[list[Callable[[], int]]] = []
"""Where time is virtual: what shows it (ms). The last one counts."""


def now() -> datetime:
    """Aware UTC. In a body: the time of the fact that is being delivered."""
    execution = current_execution()
    if execution is not None:
        return from_ms(execution.now)
    return from_ms(test_clocks[-1]() if test_clocks else round(time.time() * 1_000))


_outside_random: Final = Random()


def random() -> Random:
    """A `random.Random`. In a body: one stream per run, the same on every replay."""
    execution = current_execution()
    return execution.random() if execution is not None else _outside_random


def uuid4() -> uuid.UUID:
    """A UUID. In a body: the same on every replay, from a stream of its own."""
    execution = current_execution()
    return execution.uuid4() if execution is not None else uuid.uuid4()


def patched(change: str) -> bool:
    """True where the new code is to run: in runs that have not passed here yet, and for good once
    it was true."""
    execution = current_execution()
    if execution is None:
        raise Error(
            "wf.patched is called outside a task body: it compares with the history of a run"
        )
    return execution.patched(check_name(change, "change"))


# --- who am I
# ------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TaskContext:
    id: str


@dataclass(frozen=True, slots=True)
class RunContext:
    """Of a run: `attempt` counts from 1; `is_replay`: a recorded fact lies ahead."""

    id: str
    attempt: int
    tags: tuple[str, ...]
    created_at: datetime
    version: str
    is_replay: bool


@dataclass(frozen=True, slots=True)
class StepContext:
    """Of a step: `idempotency_key` stays the same across retries and recoveries; give it to the
    vendor's API."""

    id: str
    attempt: int
    idempotency_key: str


@dataclass(frozen=True, slots=True)
class Context:
    """`wf.current()`. `parent` and `root` are run ids; `step` is None in a body; `queue` is the
    task's own where it was told no other."""

    run: RunContext
    task: TaskContext
    environment: str
    queue: str
    parent: str | None
    root: str
    cancel_requested: bool
    step: StepContext | None = None


class Pad(Protocol):
    """Where an attempt of a step notes something (`wf.engine.notes`), from any of its threads."""

    def add(self, note: Note) -> None: ...
    def metadata(self) -> dict[str, Any]:
        """Of the step's run, with what was noted here. Raises StoreUnavailable."""
        ...


class StepCallInfo(Struct):
    """The call that a step runs for, as its thread or coroutine sees it."""

    run: RunInfo
    step: str
    attempt: int
    digest: int
    repeat: int
    is_canceled: bool = False
    deadline: float | None = None
    """Of a sync step."""
    stood_at_start: float = 0.0
    """`standstill.seconds` when the deadline was set."""
    pad: Pad | None = None
    """None: nobody reads what is noted here."""
    store: Store | None = None
    """Where its run is; None where an executor runs it."""
    place: StepPlace | None = None
    asked_at: int = 0
    """When the body asked for it (ms): the same for all its attempts."""
    transaction: Any = None
    """A StepTransaction (an AsyncStepTransaction in an async step) that is open."""

    def is_late(self, now: float) -> bool:
        """Over its deadline, not counting what was spent in a debugger."""
        if self.deadline is None or now <= self.deadline:
            return False
        return now - self.deadline > standstill.seconds - self.stood_at_start

    @property
    def cancel_requested(self) -> bool:
        """Canceled, or over its timeout."""
        return self.is_canceled or self.is_late(time.monotonic())

    @property
    def idempotency_key(self) -> str:
        """A digest of (run, restart count, step, arguments, equal calls before)."""
        parts = (self.run.id.hex(), self.run.restarts, self.step, self.digest, self.repeat)
        return blake2b(repr(parts).encode(), digest_size=16).hexdigest()


step_call: ContextVar[StepCallInfo] = ContextVar("wf_step_call")


def current() -> Context:
    """The run, task and step of the code that asks. Raises wf.Error outside both."""
    execution = current_execution()
    if execution is not None:
        return context_of(
            execution.seen,
            execution.tags,
            execution.is_replaying,
            execution.cancel_requested,
            None,
        )
    call = step_call.get(None)
    if call is None:
        raise Error("wf.current() is called outside a run: call it in a task body or a step")
    step = StepContext(call.step, call.attempt, call.idempotency_key)
    return context_of(call.run, call.run.tags, False, call.cancel_requested, step)


def context_of(
    run: RunInfo,
    tags: tuple[str, ...],
    is_replay: bool,
    canceled: bool,
    step: StepContext | None,
) -> Context:
    """What code that belongs to a run may know of it."""
    return Context(
        run=RunContext(
            show("run", run.id),
            run.attempt,
            tags,
            from_ms(run.created_at),
            run.version,
            is_replay,
        ),
        task=TaskContext(run.task),
        environment=run.environment,
        queue=run.queue or run.task,
        parent=show("run", run.parent_id) if run.parent_id else None,
        root=show("run", run.root_id or run.id),
        cancel_requested=canceled,
        step=step,
    )


# --- log lines
# -----------------------------------------------------------------------------------------------


class _RunLogger(logging.LoggerAdapter[logging.Logger]):
    """In a body: lines go out once, after what led to them is committed; silent on replay. In
    steps: at once."""

    def log(self, level: int, msg: object, *args: object, **kwargs: Any) -> None:
        execution: Execution | None = current_execution()
        if execution is None:
            super().log(level, msg, *args, **kwargs)
        elif self.isEnabledFor(level) and not execution.is_replaying:
            execution.log(level, _line(msg, args))


def _line(msg: object, args: tuple[object, ...]) -> str:
    """As stdlib logging: a line that cannot be formatted does not raise, least of all in a body,
    which does not format it on a replay."""
    try:
        return str(msg) % args if args else str(msg)
    except Exception as error:
        return f"a line of wf.logger raised {type(error).__qualname__}: {text_of(msg)}"


logger: Final = _RunLogger(logging.getLogger("wf.run"), {})
"""`wf.logger.info("…")`: a stdlib logger named "wf.run" that knows about replay."""
