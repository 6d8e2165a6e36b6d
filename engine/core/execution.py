"""One live body. `Execution.apply(fact) -> decisions` is the only door.

A fact is delivered, the body runs until nothing is ready, the decisions are taken; then the next
fact. Live and replay are this same call. What a replay adds is an index of what was recorded: the
k-th operation that the body issues has to be the k-th of the history (what it is, its name, the
digest of its arguments), and what was recorded is not decided again. What the history does not have
is new work, wherever it stands.

*Replaying* is no flag: it is that a recorded fact still lies ahead, or that this execution is still
being built from its history. Log lines ask that one question. `patched` asks another: is anything
recorded at or after this place.
"""

from __future__ import annotations

import json
import logging
from asyncio import CancelledError
from collections import deque
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from hashlib import blake2b
from random import Random
from typing import TYPE_CHECKING, Any, Final, NoReturn
from uuid import UUID

from msgspec.structs import replace

from wf.engine.core.decisions import Decision, End, Log, Noted, Patched, Restart, WriteNote
from wf.engine.core.index import History
from wf.engine.core.info import RunInfo
from wf.engine.core.loop import BodyLoop, BodyTask, Handle
from wf.engine.core.mismatch import VERBS, Issued, explain
from wf.engine.core.operation import Dropped, Operation, OperationFuture
from wf.engine.core.outcome import failure_of, outcome_of, text_of
from wf.engine.core.scopes import order_scopes
from wf.engine.core.timers import Timers
from wf.history.errors import NonDeterminism, StepBudgetExceeded
from wf.history.events import COMPLETIONS, UNKNOWN_DIGEST, Event, Kind, Status
from wf.history.ids import show
from wf.history.notes import Note, NoteKind, first_metadata, operate

if TYPE_CHECKING:
    from wf.engine.core.runnable import Runnable

log = logging.getLogger("wf.run")

CLOSE_ROUNDS: Final = 100
"""Throws into a body that is dropped and does not end; then it is let go with a logged error."""
CLOSE_BUDGET: Final = 10_000
"""Callbacks in each of these rounds."""
DROPS: Final = 1_000
"""Operations refused to a body, after which they suspend it: it may be swallowing the refusals."""


_live: Final[set[Execution]] = set()
"""Bodies under way, and those that would not end when they were dropped.

Held, so that no collector ever finds one: it would run the body's `finally` blocks in whatever
thread it works in, where awaiting a step runs that step for real. `close` takes a body out.
"""


class Execution:
    """The body of one run, in one chapter.

    Build it, then `apply` STARTED and every fact after it.
    """

    ordinal = 0
    ended: End | Restart | None = None
    is_over = False
    """It has ended, and nothing of it is left that could run."""
    cancel_requested = False
    timed_out = False
    is_closing = False
    issued: list[Issued] | None = None
    """A trace of what the body issued, where somebody wants one (`trace`)."""
    _is_inside = False
    _mismatch: NonDeterminism | None = None
    _random: Random | None = None
    _uuids = 0
    _metadata: Any = None
    _is_first = False
    """STARTED is being delivered."""
    _has_noted = False
    _drops = 0
    _restart: Restart | None = None
    _root: BodyTask[Any] | None = None

    def __init__(
        self, runnable: Runnable[..., Any], run: RunInfo, history: History | None = None
    ) -> None:
        self.runnable = runnable
        self.run = run
        self.seen = run
        """As which run the body sees itself: a fork is the other run as long as it is in the
        history that it shares."""
        self.now = run.created_at
        self._forks = deque(history.forks if history is not None else ())
        if self._forks:
            self.seen = _before(run, self._forks)
            self.now = self.seen.created_at
        self.loop = BodyLoop(self, int.from_bytes(self.seen.id[-7:], "big"), Operation)
        self.open: dict[int, OperationFuture] = {}
        self.issued_when: dict[int, int] = {}
        """By an operation that failed: how many the body had issued when it was told so."""
        self.made: dict[int, Operation[Any]] = {}
        """Operations that were called and not numbered yet, by their address."""
        self.waits: dict[int, Kind] = {}
        """Operations that wait for something outside the run, and the kind of fact that ends it."""
        self.listening: dict[int, str] = {}
        """Operations that wait for a message, and its name."""
        self.timers = Timers(self.open)
        self.is_building = history is not None
        self.recorded: dict[int, Event] = history.operations if history else {}
        self._history = history
        self._facts_ahead = len(history.facts) if history else 0
        self._decisions: list[Decision] = []
        self._patched: dict[str, bool] = {}
        self._repeats: dict[tuple[str, int], int] = {}
        self.tags = run.tags
        """As far as the body knows: those that the run was born with, and its own."""

    # -- the door

    def apply(self, fact: Event) -> list[Decision]:
        """Deliver one fact; answer what the body decided.

        Raises NonDeterminism where history and body part.
        """
        if self._facts_ahead:
            self._facts_ahead -= 1
        if fact.kind in COMPLETIONS:
            if fact.at > self.now:
                self.now = fact.at
            self._is_first = False
            future = self.open.pop(fact.ordinal, None)
            if future is not None:
                future.settle(self, future, fact)
            else:
                self._complete_other(fact)
        else:
            self._take(fact)
        try:
            if self._is_inside:
                self.loop.drain()
            else:
                with self.loop:
                    self.loop.drain()
        except StepBudgetExceeded as error:
            self.loop.stop_now()
            self._end(End(Status.FAILED, failure=failure_of(error).encode(), error=error))
        if self._mismatch is not None:
            raise self._mismatch
        root = self._root
        if self.ended is None and self._restart is not None:
            self._end(self._restart)
        if self.ended is None and root is not None and root.done():
            end = outcome_of(
                root, self.runnable, canceled=self.cancel_requested, timed_out=self.timed_out
            )
            if self.made and end.status == Status.COMPLETED:
                end.never_awaited = [one for one in self.made.values() if not one.is_taken]
            self._end(end)
        decisions = self._decisions
        self._decisions = []
        return decisions

    @contextmanager
    def inside(self) -> Generator[None]:
        """For many facts in a row: the loop is entered once."""
        with self.loop:
            self._is_inside = True
            try:
                yield
            finally:
                self._is_inside = False

    def _take(self, fact: Event) -> None:
        """A fact that completes no operation."""
        kind = fact.kind
        if kind == Kind.ATTEMPT_STARTED:
            self.timers.shift(fact.at - self.now)
        elif kind == Kind.FORKED:
            self._fork(fact)
        self.now = max(self.now, fact.at)
        self._is_first = kind == Kind.STARTED
        if kind == Kind.STARTED:
            _live.add(self)
            order_scopes()
            self._root = BodyTask(self._main(), self.loop, "body", Context())
        elif kind == Kind.STEP_ATTEMPT_FAILED:
            self._retry_later(fact)
        elif kind == Kind.CANCEL_REQUESTED:
            self._cancel()
        elif kind == Kind.TIME_OUT:
            self.timed_out = True
            self._cancel()

    async def _main(self) -> Any:
        args, kwargs = self.runnable.signature.decode_call(self.run.payload)
        try:
            return await self.runnable.body(*args, **kwargs)
        finally:
            await self.loop.close_generators()

    def _complete_other(self, fact: Event) -> None:
        """A timer; or what was settled or canceled before: a late completion is dropped, as on
        replay."""
        if fact.kind == Kind.TIMER_FIRED and self.timers.fire(fact.ordinal):
            return
        if fact.ordinal > self.ordinal:
            self._part(fact.ordinal, None)

    def _retry_later(self, fact: Event) -> None:
        future = self.open.get(fact.ordinal)
        if future is None:
            if fact.ordinal > self.ordinal:
                self._part(fact.ordinal, None)
            return
        if future.is_canceled:
            del self.open[fact.ordinal]
            future.cancel_now()
            return
        future.attempt = fact.attempt + 1
        future.retry_at = fact.at + fact.took
        self.timers.retry(fact.ordinal, future.retry_at)

    def _fork(self, fact: Event) -> None:
        """Chance goes another way from here on, and time that the run stood still does not
        count."""
        self.timers.shift(fact.digest)
        self._forks.popleft()
        self.seen = _before(self.run, self._forks)
        if self._random is not None:
            self._random.seed(self._seed(b"random"))

    def _cancel(self) -> None:
        self.cancel_requested = True
        if self._root is not None:
            self._root.cancel()

    def _end(self, end: End | Restart) -> None:
        self.ended = end
        for ordinal in sorted(self.open):
            future = self.open.get(ordinal)
            if future is not None:
                future.cancel()
        self.timers.clear()
        if not self.loop.tasks():
            _live.discard(self)
            self.is_over = True
        self._decisions.append(end)
        if self._history is not None and self._history.last_ordinal > self.ordinal:
            self._part(self._history.last_ordinal, None)
            assert self._mismatch is not None
            raise self._mismatch

    # -- what operations ask

    def restart(self, restart: Restart) -> None:
        """The body ends here: nothing of it runs any more."""
        if self.is_closing:
            self._drop()
        self._restart = restart
        self.loop.stop_now()

    @property
    def title(self) -> str:
        return f"{self.run.task} {show('run', self.run.id)}"

    @property
    def is_replaying(self) -> bool:
        return self.is_building or self._facts_ahead > 0

    def decide(self, decision: Decision) -> None:
        self._decisions.append(decision)

    def next_recorded(self) -> Event | None:
        """What the history holds for the next operation."""
        return self.recorded.get(self.ordinal + 1)

    def number(self, operation: Operation[Any] | None, verb: str, name: str, digest: int) -> int:
        """The ordinal of an operation that the body issues now.

        Raises where the history holds another one.
        """
        if self.is_closing:
            self._drop()
        if operation is not None:
            self.made.pop(id(operation), None)
        self.ordinal = ordinal = self.ordinal + 1
        if self.issued is not None:
            where = operation.where if operation is not None else ""
            self.issued.append(Issued(ordinal, verb, name, digest, where))
        recorded = self.recorded.get(ordinal)
        if recorded is not None and (
            (recorded.digest != digest and recorded.digest != UNKNOWN_DIGEST)
            or recorded.name != name
            or VERBS[recorded.kind] != verb
        ):
            where = operation.where if operation is not None else ""
            self._part(ordinal, Issued(ordinal, verb, name, digest, where))
            self._drop()
        return ordinal

    def _drop(self) -> NoReturn:
        self._drops += 1
        raise Dropped

    @property
    def is_stuck(self) -> bool:
        """The body swallows Dropped again and again: its operations suspend it from now on."""
        return self._drops > DROPS

    def open_operation(
        self, ordinal: int, settle: Callable[[Execution, OperationFuture, Event], None]
    ) -> OperationFuture:
        future = OperationFuture(loop=self.loop)
        future.ordinal = ordinal
        future.settle = settle
        future.on_cancel = None
        self.open[ordinal] = future
        return future

    def repeats(self, name: str, digest: int) -> int:
        """How many equal calls of a step came before this one in the run."""
        key = (name, digest)
        count = self._repeats.get(key, 0)
        self._repeats[key] = count + 1
        return count

    def open_timer(
        self,
        operation: Operation[Any] | None,
        delay_ms: int,
        digest: int,
        fire: Callable[[], None],
        *,
        is_fixed: bool = False,
    ) -> int:
        """A durable timer.

        `digest`: what the history compares, the delay (or the moment, where it `is_fixed`).
        """
        ordinal = self.number(operation, "timer", "", digest)
        self.timers.open(ordinal, self.now + delay_ms, digest, fire, is_fixed=is_fixed)
        return ordinal

    def open_loop_timer(self, delay_ms: int, handle: Handle) -> None:
        """`loop.call_later`: what asyncio.sleep, timeout and wait_for are made of."""

        def fire() -> None:
            self.loop.ready.append(handle)

        ordinal = self.open_timer(None, delay_ms, delay_ms, fire)
        handle.on_cancel = lambda: self.timers.drop(ordinal)

    def patched(self, name: str) -> bool:
        """See the module. The first answer of a chapter is remembered."""
        known = self._patched.get(name)
        if known is None:
            history = self._history
            known = (
                history is None or name in history.patches or self.ordinal >= history.last_ordinal
            )
            self._patched[name] = known
            if known and (history is None or name not in history.patches):
                self._decisions.append(Patched(name))
        return known

    def random(self) -> Random:
        if self._random is None:
            self._random = Random(self._seed(b"random"))
        return self._random

    def uuid4(self) -> UUID:
        self._uuids += 1
        source = self._seed(b"uuid") + self._uuids.to_bytes(4, "big")
        return UUID(bytes=blake2b(source, digest_size=16).digest(), version=4)

    def _seed(self, stream: bytes) -> bytes:
        """Not of the chapter: a retry keeps what is completed, and the arguments that led to it."""
        return stream + self.seen.id + self.seen.restarts.to_bytes(4, "big")

    @property
    def metadata(self) -> dict[str, Any]:
        """As far as the body knows: what the trigger gave, and what it did itself."""
        metadata = self._metadata
        if metadata is None:
            metadata = self._metadata = json.loads(first_metadata(self.run.options))
        return metadata

    def add(self, note: Note) -> None:
        """Note something. Decided once: what was noted before is not decided again, but by a fork,
        which has no metadata of its own yet."""
        if note.run_id == self.run.id:
            if note.kind is NoteKind.TAG and note.name not in self.tags:
                self.tags = (*self.tags, note.name)
            operate(self.metadata, note)
        history = self._history
        is_forking = self.is_replaying and history is not None and bool(history.forks)
        if not self._is_first and not is_forking:
            if self.is_replaying:
                return
        elif history is not None and history.has_begun:
            return
        elif not self._has_noted:
            self._has_noted = True
            self._decisions.append(Noted())
        self._decisions.append(WriteNote(note))

    def log(self, level: int, message: str) -> None:
        if not self.is_replaying:
            self._decisions.append(Log(level, message))

    def report(self, context: dict[str, Any]) -> None:
        """What asyncio tells its exception handler: a task whose exception nobody took, a callback
        that raised."""
        if not self.is_replaying and not self.is_closing:
            error = text_of(context.get("exception"), repr)
            self.log(logging.ERROR, f"{context.get('message')}: {error}")

    # -- what the worker asks

    def check_rebuilt(self) -> None:
        """After the last recorded fact: the body has issued all that was recorded.

        Raises NonDeterminism.
        """
        self.is_building = False
        history = self._history
        if history is not None and history.last_ordinal > self.ordinal:
            missing = min(ordinal for ordinal in history.operations if ordinal > self.ordinal)
            self._part(missing, None)
            assert self._mismatch is not None
            raise self._mismatch
        self.recorded = {}

    def close(self) -> None:
        """Drop the body from memory: its `finally` blocks run now, on its own loop, and no
        operation with them."""
        if self.is_closing:
            return
        self.is_closing = True
        if not self.is_over:
            self._wind_down()
        root = self._root
        if root is not None and root.done():
            with suppress(CancelledError):  # which it gives away, and with it all frames it crossed
                root.exception()
        self.open.clear()
        self.made.clear()
        self.timers.clear()
        self.loop.close()
        if not self.loop.tasks():
            self._root = None
            del self.loop  # or all of this would be a cycle, that stays until the collector comes

    # -- inside

    def _wind_down(self) -> None:
        self.loop.go_on()
        self._decisions = []
        for _ in range(CLOSE_ROUNDS):
            tasks = self.loop.tasks()
            if not tasks:
                break
            for task in tasks:
                task.cancel()
            try:
                with self.loop:
                    self.loop.drain(CLOSE_BUDGET)
            except StepBudgetExceeded:
                continue
        if self.loop.tasks():
            log.error("the body of %s does not end when it is dropped; it is let go", self.title)
        else:
            _live.discard(self)

    def _part(self, ordinal: int, issued: Issued | None) -> None:
        if self._mismatch is None:
            self._mismatch = NonDeterminism("", ordinal=ordinal)
            if self._history is not None:
                self._mismatch = explain(
                    self.run, self._history.events, ordinal, issued, self.issued or []
                )
        self.loop.stop_now()


def _before(run: RunInfo, forks: Sequence[Event]) -> RunInfo:
    """The run as its body knows it while these forks are still ahead."""
    if not forks:
        return run
    return replace(run, id=forks[0].data or b"", created_at=int(forks[0].name))
