"""A stage for one body: facts as a script wants them, no store, no threads, no clock.

A `Stage` keeps virtual time. Steps are run where they are handed out and end when the script says
so; children and tokens end as the script says. What the body decides is carried out as a worker
would: facts and the records of the decisions on them become the history, `stage.events`.

`play` runs to the end (or to where nothing is due any more), `rebuild` builds a body again from a
history, `follow` feeds it the facts that are left: what was decided on each fact is compared.
"""

from __future__ import annotations

import heapq
import json
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import copy_context
from dataclasses import dataclass, field
from itertools import count
from random import Random
from typing import Any

from tests.core.answers import Answer, batch_ended, batch_started
from tests.core.script import Script
from tests.core.stepping import run_step
from wf.engine.core.batches import BatchFuture
from wf.engine.core.decisions import (
    AwaitBatch,
    AwaitRun,
    AwaitToken,
    CancelRun,
    CancelStep,
    CreateToken,
    Decision,
    End,
    Log,
    Restart,
    RunStep,
    SendMessage,
    TriggerBatch,
    TriggerChild,
    WriteNote,
)
from wf.engine.core.execution import Execution
from wf.engine.core.info import RunInfo
from wf.engine.core.mismatch import PYTHON_MINOR
from wf.engine.core.outcome import failure_of
from wf.engine.core.paranoid import Paranoid
from wf.engine.core.replay import replay
from wf.engine.core.runnable import Runnable
from wf.engine.mailbox import Mailbox
from wf.history.events import FACTS, Event, Failure, Kind, Status
from wf.history.ids import derived_id, member_ids
from wf.history.messages import Message
from wf.history.model import Activation
from wf.history.notes import Note

START_MS = 1_700_000_000_000
MAX_FACTS = 2_000
"""A body that is given more goes round in a circle."""

Told = list[tuple[Any, ...]]
"""Decisions as plain data."""


@dataclass(slots=True)
class Stage:
    runnable: Runnable[..., Any]
    payload: bytes = b"null"
    script: Script = field(default_factory=Script)
    paranoid: bool = True
    run: RunInfo = field(init=False)
    events: list[Event] = field(init=False, default_factory=list[Event])
    decisions: list[list[Decision]] = field(init=False, default_factory=list[list[Decision]])
    """Per fact."""
    calls: list[str] = field(init=False, default_factory=list[str])
    """Steps as they were run."""
    logs: list[str] = field(init=False, default_factory=list[str])
    notes: list[Note] = field(init=False, default_factory=list[Note])
    canceled_runs: list[bytes] = field(init=False, default_factory=list[bytes])
    sent: list[tuple[str, Any]] = field(init=False, default_factory=list[tuple[str, Any]])
    now: int = field(init=False, default=START_MS)
    execution: Execution = field(init=False)
    _twin: Paranoid | None = field(init=False, default=None)
    _agenda: list[tuple[int, int, Event]] = field(
        init=False, default_factory=list[tuple[int, int, Event]]
    )
    _numbers: Iterator[int] = field(init=False, default_factory=lambda: count(1))
    _mail: Mailbox = field(init=False, default_factory=Mailbox)
    _read: Activation = field(init=False, default_factory=lambda: Activation(b"", 1))
    _steps: dict[int, RunStep] = field(init=False, default_factory=dict[int, RunStep])
    _in_flight: set[int] = field(init=False, default_factory=set[int])
    _children: dict[bytes, tuple[int, Answer]] = field(
        init=False, default_factory=dict[bytes, tuple[int, Answer]]
    )
    _tokens: dict[bytes, tuple[int, Answer]] = field(
        init=False, default_factory=dict[bytes, tuple[int, Answer]]
    )

    def __post_init__(self) -> None:
        run_id = derived_id(START_MS, self.runnable.id.encode(), 1, 1)
        self.run = RunInfo(run_id, self.runnable.id, self.payload, created_at=START_MS)
        self.execution = Execution(self.runnable, self.run)

    # -- what tests ask

    @property
    def end(self) -> End | None:
        ended = self.execution.ended
        return ended if isinstance(ended, End) else None

    @property
    def restarts_with(self) -> Any:
        """The payload with which the body restarted. Fails where it did not."""
        assert isinstance(self.execution.ended, Restart)
        return json.loads(self.execution.ended.payload)

    @property
    def output(self) -> Any:
        """What the run returned. Fails where it did not complete."""
        assert self.end is not None, "the body waits for something that never comes"
        assert self.end.status == Status.COMPLETED, Failure.decode(self.end.failure)
        return json.loads(self.end.output or b"null")

    @property
    def failure(self) -> Failure:
        assert self.end is not None, "the body waits for something that never comes"
        return Failure.decode(self.end.failure)

    def told(self) -> list[Told]:
        """What was decided, fact by fact, as data that can be compared."""
        return [told(decisions) for decisions in self.decisions]

    @property
    def kinds(self) -> list[Kind]:
        return [Kind(event.kind) for event in self.events]

    # -- playing

    def start(self) -> Stage:
        if self.paranoid:
            self._twin = Paranoid(self.runnable, self.run, [], nullcontext)
        if self.script.cancel_at is not None:
            at = START_MS + self.script.cancel_at
            self._later(at, Event(0, Kind.CANCEL_REQUESTED, 0, at))
        self._expect_messages()
        self.deliver(Event(0, Kind.STARTED, 0, START_MS, PYTHON_MINOR))
        return self

    def play(self) -> Stage:
        """To the end of the body, or to where nothing is due any more."""
        if not self.events:
            self.start()
        while self.execution.ended is None and self.advance():
            assert len(self.decisions) < MAX_FACTS
        if self.execution.ended is not None:
            self.close()
        return self

    def close(self) -> None:
        """Out of memory, as a worker does it."""
        self.execution.close()
        if self._twin is not None:
            self._twin.close()

    def advance(self) -> bool:
        """Deliver what comes next. False where nothing does."""
        message = self._mail.take(self.execution.listening, self._read)
        if message is not None:
            self.deliver(message)
            return True
        due = self.execution.timers.next_due()
        if self._agenda and (not due or self._agenda[0][0] <= due):
            self.now, _, fact = heapq.heappop(self._agenda)
            self._in_flight.discard(fact.ordinal)
            if fact.kind == Kind.MESSAGE_RECEIVED:
                message = Message(fact.took, b"", fact.name, self.now, fact.data or b"")
                self._mail.put([message], self._read)
                return True
            if fact.ordinal and not self._is_awaited(fact):
                return True
            self.deliver(fact)
            return True
        if not due:
            return False
        self.now = max(self.now, due)
        retries, timer = self.execution.timers.take_due(self.now)
        for ordinal in retries:
            self._hand_out(self._steps[ordinal])
        if timer is not None:
            self.deliver(timer)
        return True

    def deliver(self, fact: Event) -> list[Decision]:
        """Apply one fact now, and carry out what is decided on it."""
        fact = fact.but(seq=len(self.events) + 1, at=max(self.now, self.execution.now))
        self.now = fact.at
        decisions = self.execution.apply(fact)
        first = len(self.events)
        self.events.append(fact)
        for decision in decisions:
            row = decision.record(len(self.events) + 1, self.now)
            if row is not None:
                self.events.append(row)
        self.decisions.append(decisions)
        if self._twin is not None:
            self._twin.check(self.events[first:], decisions, ended=self.execution.ended is not None)
        self.carry_out(decisions)
        return decisions

    def carry_out(self, decisions: Sequence[Decision]) -> None:
        unwanted = {one.ordinal for one in decisions if isinstance(one, CancelStep)}
        for decision in decisions:
            match decision:
                case RunStep(ordinal=ordinal):
                    self._steps[ordinal] = decision
                    if ordinal not in unwanted:
                        self._hand_out(decision)
                case CancelStep(ordinal=ordinal):
                    self._stop_step(ordinal)
                case TriggerChild():
                    self._begin_child(decision)
                case AwaitRun(ordinal=ordinal, run_id=run_id):
                    self._end_later(ordinal, Kind.CHILD_ENDED, *self._children[run_id])
                case TriggerBatch():
                    self._begin_batch(decision)
                case AwaitBatch(ordinal=ordinal, run_ids=run_ids):
                    self._end_members(ordinal, run_ids)
                case CancelRun(run_id=run_id):
                    self.canceled_runs.append(run_id)
                case CreateToken():
                    self._begin_token(decision)
                case AwaitToken(ordinal=ordinal, token_id=token_id):
                    if token_id in self._tokens:
                        self._end_later(ordinal, Kind.TOKEN_ENDED, *self._tokens[token_id])
                case SendMessage(ordinal=ordinal, name=name, message=message):
                    self.sent.append((name, json.loads(message)))
                    self._later(self.now, self._settled(ordinal))
                case Log(message=message):
                    self.logs.append(message)
                case WriteNote(note=note):
                    self.notes.append(note)
                case _:
                    pass

    def cut(self, length: int) -> Stage:
        """A process that takes this run up after `length` events: nothing else survived.

        Children and tokens are as they were; steps that were in flight run again.
        """
        other = Stage(self.runnable, self.payload, self.script, self.paranoid)
        other.events = self.events[:length]
        other.now = other.events[-1].at
        other._children, other._tokens = dict(self._children), dict(self._tokens)
        other.execution, pending = replay(self.runnable, self.run, other.events)
        for decision in pending:
            row = decision.record(len(other.events) + 1, other.now)
            if row is not None and not isinstance(decision, End | Restart):
                other.events.append(row)
        if self.paranoid:
            other._twin = Paranoid(self.runnable, self.run, other.events, nullcontext)
        if self.script.cancel_at is not None and not other.execution.cancel_requested:
            at = START_MS + self.script.cancel_at
            other._later(at, Event(0, Kind.CANCEL_REQUESTED, 0, at))
        other._expect_messages()
        other._take_up(pending)
        return other

    # -- inside

    def _expect_messages(self) -> None:
        """Those that the history has not received, in their order."""
        received = [event.name for event in self.events if event.kind == Kind.MESSAGE_RECEIVED]
        for n, (after_ms, name, value) in enumerate(self.script.messages):
            if name in received:
                received.remove(name)
                continue
            data = json.dumps(value).encode()
            fact = Event(0, Kind.MESSAGE_RECEIVED, 0, 0, name, took=n, data=data)
            self._later(START_MS + after_ms, fact)

    def _settled(self, ordinal: int) -> Event:
        return Event(0, Kind.SEND_SETTLED, ordinal, 0, self.script.sent.name)

    def _take_up(self, pending: Sequence[Decision]) -> None:
        is_open = self.execution.open
        for decision in pending:
            if isinstance(decision, RunStep):
                self._steps[decision.ordinal] = decision
                future = is_open.get(decision.ordinal)
                if future is not None and future.is_canceled:
                    self._stop_step(decision.ordinal)
                elif future is not None and not future.retry_at:
                    self._hand_out(decision)
        for event in self.events:
            if event.ordinal not in is_open:
                continue
            if event.kind in (Kind.BATCH_TRIGGERED, Kind.BATCH_AWAITED):
                future = is_open[event.ordinal]
                assert isinstance(future, BatchFuture)
                told = [place in future.ends for place in range(len(future.run_ids))]
                self._end_members(event.ordinal, future.run_ids, told)
            elif event.kind in (Kind.CHILD_TRIGGERED, Kind.CHILD_AWAITED):
                assert event.data is not None
                self._end_later(event.ordinal, Kind.CHILD_ENDED, *self._children[event.data])
            elif event.kind == Kind.MESSAGE_SENT:
                self._later(self.now, self._settled(event.ordinal))
            elif event.kind == Kind.TOKEN_AWAITED and event.data in self._tokens:
                self._end_later(event.ordinal, Kind.TOKEN_ENDED, *self._tokens[event.data])

    def _is_awaited(self, fact: Event) -> bool:
        future = self.execution.open.get(fact.ordinal)
        return future is not None and not future.done()

    def _later(self, at: int, fact: Event) -> None:
        heapq.heappush(self._agenda, (max(at, self.now), next(self._numbers), fact))

    def _hand_out(self, step: RunStep) -> None:
        attempt = self.execution.open[step.ordinal].attempt
        self._in_flight.add(step.ordinal)
        self.calls.append(step.step)
        took = self.script.took(step.step, json.loads(step.arguments), attempt)
        data, error = copy_context().run(run_step, self.run, step, attempt)
        retry = step.runnable.settings.retry
        again = error is not None and attempt < retry.max_attempts and not retry.gives_up(error)
        if error is None:
            kind, rest = Kind.STEP_FINISHED, took
        elif again:
            kind = Kind.STEP_ATTEMPT_FAILED
            rest = retry.delay_ms(attempt, error, Random(step.ordinal * 100 + attempt))
        else:
            kind, rest = Kind.STEP_FAILED, took
        if error is not None:
            data = failure_of(error).encode()
        fact = Event(0, kind, step.ordinal, 0, step.step, step.digest, attempt, rest, data)
        self._later(self.now + took, fact)

    def _stop_step(self, ordinal: int) -> None:
        """What a worker does for a step that is canceled: it ends badly, or goes on to its end."""
        step, future = self._steps[ordinal], self.execution.open[ordinal]
        is_out = ordinal in self._in_flight
        if is_out and not self.script.stops:
            # An attempt that fails now is the last.
            self._agenda = [
                (at, n, _final(fact) if fact.ordinal == ordinal else fact)
                for at, n, fact in self._agenda
            ]
            return
        self._agenda = [one for one in self._agenda if one[2].ordinal != ordinal]
        heapq.heapify(self._agenda)
        failure = Failure("StepAbandoned", "canceled").encode()
        fact = Event(
            0, Kind.STEP_FAILED, ordinal, 0, step.step, step.digest, future.attempt, 0, failure
        )
        self._later(self.now + (1 if is_out else 0), fact)

    def _begin_child(self, decision: TriggerChild) -> None:
        answer = self.script.child(decision.task, json.loads(decision.payload))
        self._children[decision.child_id] = (self.now + answer.after_ms, answer)
        if "idempotency_key" in decision.options:
            cached = self.script.cached
            self._later(
                self.now,
                Event(
                    0,
                    Kind.CHILD_STARTED,
                    decision.ordinal,
                    0,
                    attempt=cached,
                    data=decision.child_id,
                ),
            )
        if decision.awaited:
            self._end_later(decision.ordinal, Kind.CHILD_ENDED, *self._children[decision.child_id])

    def _begin_batch(self, decision: TriggerBatch) -> None:
        run_ids = member_ids(decision.batch_id, range(len(decision.members)))
        for run_id, (payload, _) in zip(run_ids, decision.members, strict=True):
            answer = self.script.child(decision.task, json.loads(payload))
            self._children[run_id] = (self.now + answer.after_ms, answer)
        if decision.has_keys:
            self._later(self.now, batch_started(decision, run_ids, self.script.cached))
        if decision.awaited:
            self._end_members(decision.ordinal, run_ids)

    def _end_members(
        self, ordinal: int, run_ids: Sequence[bytes], told: Sequence[bool] = ()
    ) -> None:
        still = [n for n in range(len(run_ids)) if not told or not told[n]]
        ends = [(self._children[run_ids[n]][0], n, self._children[run_ids[n]][1]) for n in still]
        for at, event in batch_ended(ordinal, ends):
            self._later(at, event)

    def _begin_token(self, decision: CreateToken) -> None:
        answer = self.script.token(len(self._tokens), decision.tags)
        if answer is not None:
            self._tokens[decision.token_id] = (self.now + answer.after_ms, answer)
        if decision.timeout_at and (
            answer is None or self.now + answer.after_ms > decision.timeout_at
        ):
            self._tokens[decision.token_id] = (decision.timeout_at, Answer(status="TIMED_OUT"))

    def _end_later(self, ordinal: int, kind: Kind, at: int, answer: Answer) -> None:
        self._later(at, Event(0, kind, ordinal, 0, answer.status, data=answer.data))


def _final(fact: Event) -> Event:
    return fact.but(kind=Kind.STEP_FAILED) if fact.kind == Kind.STEP_ATTEMPT_FAILED else fact


def told(decisions: Sequence[Decision]) -> Told:
    """Decisions as data: without log lines, failures by their type."""
    plain: Told = []
    for one in decisions:
        match one:
            case End():
                failure = Failure.decode(one.failure).type
                plain.append(("End", one.status, one.output, failure, one.failed))
            case RunStep():
                plain.append(("RunStep", one.ordinal, one.step, one.arguments, one.repeat))
            case Log():
                pass
            case _:
                plain.append((type(one).__name__, repr(one)))
    return plain


def play(runnable: Runnable[..., Any], payload: Any = None, script: Script | None = None) -> Stage:
    """Run a task to its end; check that a replay, from nothing and from every cut, is the same."""
    stage = Stage(runnable, runnable.signature.encode_payload(payload), script or Script()).play()
    check_replays(stage)
    return stage


def facts_of(events: Sequence[Event]) -> list[int]:
    """The places in a history after which a worker may be lost: before each fact, and the end."""
    return [n for n, event in enumerate(events) if n and event.kind in FACTS] + [len(events)]


def check_replays(stage: Stage) -> None:
    """Rule 4: from every cut, the body that is built again decides on what follows as it did."""
    for length in facts_of(stage.events):
        follow(stage, length)


def follow(stage: Stage, length: int) -> None:
    """Build a body from the first `length` events; feed it the others; compare the decisions."""
    before = sum(event.kind in FACTS for event in stage.events[:length])
    ended = stage.end is not None and length == len(stage.events)
    with rebuilt(stage, length) as (execution, pending):
        assert told(pending) == pending_of(stage, before), f"cut after {length} events"
        decided = [
            told(execution.apply(event)) for event in stage.events[length:] if event.kind in FACTS
        ]
        assert decided == stage.told()[before:], f"cut after {length} events"
        assert type(execution.ended) is type(stage.execution.ended), ended


def pending_of(stage: Stage, facts: int) -> Told:
    """What the first so many facts led to and their history does not hold."""
    settled = {
        event.ordinal
        for event in stage.events[: _length(stage.events, facts)]
        if event.kind in (Kind.STEP_FINISHED, Kind.STEP_FAILED)
    }
    kept: list[Decision] = []
    for decision in [one for decisions in stage.decisions[:facts] for one in decisions]:
        match decision:
            case RunStep():
                if decision.ordinal not in settled:
                    kept.append(decision)
            case CancelStep() | CancelRun() | End() | Restart():
                kept.append(decision)
            case _:
                pass
    return told(kept)


def _length(events: Sequence[Event], facts: int) -> int:
    seen = 0
    for n, event in enumerate(events):
        if event.kind in FACTS:
            if seen == facts:
                return n
            seen += 1
    return len(events)


@contextmanager
def rebuilt(stage: Stage, length: int) -> Generator[tuple[Execution, list[Decision]]]:
    execution, pending = replay(stage.runnable, stage.run, stage.events[:length])
    try:
        yield execution, pending
    finally:
        execution.close()
