"""A run in a worker's memory: its live body, and what it adds to the store in the next commit.

Facts go in one by one; what the body decides becomes rows of an Activation (written in one
transaction with the fact) and effects (steps to run, steps to stop, log lines) that leave only when
that transaction has happened. It knows no store and no clock, and may be dropped and built again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random
from typing import Any

from wf.engine.attempts import (
    ABANDONED,
    Arrivals,
    StepOutcome,
    failed_attempt,
    judged,
    task_attempt,
)
from wf.engine.chapters import options_of, restarted, run_info, tried_afresh, tried_again
from wf.engine.core.batches import BatchFuture
from wf.engine.core.decisions import (
    CancelStep,
    Decision,
    End,
    Log,
    Noted,
    Patched,
    Restart,
    RunStep,
    WriteNote,
)
from wf.engine.core.execution import Execution
from wf.engine.core.hooks import NO_HOOKS, Hooks
from wf.engine.core.outcome import failure_of
from wf.engine.core.paranoid import Paranoid
from wf.engine.core.replay import decision_of, replay
from wf.engine.core.retry import NO_RETRY, Retry
from wf.engine.core.runnable import Runnable
from wf.engine.core.steps import INTERRUPTED
from wf.engine.effects import Effects
from wf.engine.length import Length
from wf.engine.mailbox import Mailbox
from wf.engine.moments import Moments
from wf.engine.policies import NO_POLICIES, Policies
from wf.engine.records import fact_of, finished, given_up, page_of, write
from wf.engine.silence import silent
from wf.engine.stopwatch import Stopwatch
from wf.history.errors import StepBudgetExceeded
from wf.history.events import Event, Failure, Kind, Status
from wf.history.messages import Message
from wf.history.model import Activation, InboxKind, InboxRow, Run
from wf.history.turns import Ending, NextChapter


class Body:
    """See the module. `events`: the history so far, [STARTED] for a run that begins."""

    execution: Execution
    has_begun = False
    has_ended = False  # in the activation that is at hand: it takes no more facts

    def __init__(
        self,
        run: Run,
        runnable: Runnable[..., Any],
        policies: Policies = NO_POLICIES,
        hooks: Hooks = NO_HOOKS,
        *,
        paranoid: bool,
    ) -> None:
        self.run = run
        self.runnable = runnable
        self.mailbox = Mailbox()
        self.options = options_of(run)
        self.seq = 0
        self.steps: dict[int, RunStep] = {}
        """Open steps: asked for, and not ended."""
        self.in_flight: set[int] = set()
        self.effects = Effects()
        self.activation = Activation(run.id, run.chapter)
        self.holds_back = False
        """A step was not handed out, because the worker is about to leave."""
        self._paranoid: Paranoid | None = None
        self._is_paranoid = paranoid
        self._queue: deque[Event] = deque()
        self.arrivals = Arrivals()
        self._length = Length()
        self._python = ""
        self._at_least = run.created_at
        """Facts are stamped no earlier: a worker's clock may be behind."""
        self._policies = policies
        limit = policies.max_duration_of(runnable)
        self._active = Stopwatch(self.options.get("max_duration", limit))
        self._moments = Moments(run, hooks) if hooks else None

    # -- beginning

    def begin(self, events: list[Event], inbox: Iterable[InboxRow] = ()) -> None:
        """Of a run's whole history, [STARTED] where it has none yet."""
        if len(events) == 1:
            self.start(events[0])
        else:
            self.rebuild(events, inbox)

    def start(self, started: Event) -> None:
        """The first activation of a run that has no history yet."""
        self.seq = started.seq
        self.info = run_info(self.run, started)
        self._python = started.name
        if self._is_paranoid:
            self._paranoid = Paranoid(self.runnable, self.info, [], silent)
        self.execution = Execution(self.runnable, self.info)
        self.has_begun = True
        self._deliver(started, recorded=True)
        self._run_queue()

    def rebuild(self, events: list[Event], inbox: Iterable[InboxRow] = ()) -> None:
        """Build it again from its history; of `inbox`, which is received next, only which steps
        are done. Raises NonDeterminism where the code does not fit."""
        self.info = run_info(self.run, events[0])
        with silent():
            execution, pending = replay(self.runnable, self.info, events)
        self.execution = execution
        self.has_begun = True
        self.seq = events[-1].seq
        self._length.known(self.seq)
        self._python = events[0].name
        self._at_least = max(self._at_least, events[-1].at)
        kinds = {event.kind for event in events}
        if Kind.MESSAGE_AWAITED in kinds:
            self.mailbox.heard = None
        begun: set[int] = set()
        if Kind.STEP_STARTED in kinds:
            begun = {event.ordinal for event in events if event.kind == Kind.STEP_STARTED}
        self.arrivals.note(events)
        self._active.recall(events)
        if self._moments is not None:
            self._tell_hooks(self._moments.recall(events))
        kind, chapter = InboxKind.STEP_DONE, self.run.chapter
        done = {row.ordinal for row in inbox if row.kind == kind and row.chapter == chapter}
        for decision in pending:
            if isinstance(decision, RunStep) and decision.ordinal in done:
                self.steps[decision.ordinal] = decision
            elif isinstance(decision, RunStep) and decision.ordinal in begun:
                self._take_up_begun(decision)
            elif not isinstance(decision, CancelStep | Log):
                self._decide(decision)
        if self._is_paranoid:
            rows = [*events, *self.activation.events]
            self._paranoid = Paranoid(self.runnable, self.info, rows, silent)
        for ordinal in list(self.steps):
            future = execution.open.get(ordinal)
            if future is None:
                self._forget_step(ordinal)
            elif future.is_canceled and ordinal not in done:
                self._forget_step(ordinal)
                self._settle_step(ordinal, decision_of(pending, ordinal), ABANDONED)
            elif future.retry_at:
                self._unqueue(ordinal)
        self._run_queue()

    def _take_up_begun(self, decision: RunStep) -> None:
        """An `at_most_once` step whose worker was lost: whether it took effect is not known, so it
        is not run again."""
        if decision.ordinal in self.execution.open:
            told = "its worker was lost while it ran; whether it took effect is not known"
            self._settle_step(decision.ordinal, decision, Failure(INTERRUPTED, told, code="WF3013"))

    # -- facts

    @property
    def is_over(self) -> bool:
        """It has ended, and nothing of the author's is left that could run."""
        return self.has_begun and self.execution.is_over

    def finish_step(self, outcome: StepOutcome, now: int, random: Random) -> None:
        """A step came back from where it ran. What it has recorded itself comes by the inbox."""
        if outcome.notes:
            self.activation.notes += outcome.notes
        if outcome.is_recorded:
            return
        ordinal = outcome.ordinal
        self.in_flight.discard(ordinal)
        self._count_active(now)
        step = self.steps.get(ordinal)
        future = self.execution.open.get(ordinal)
        if step is None or future is None or self.has_ended:
            return
        at = self._time(now)
        attempt = future.attempt
        if outcome.error is None:
            fact = finished(self.seq + 1, step, attempt, at, outcome.took_ms, outcome.data)
            self._forget_step(ordinal)
        else:
            retry = NO_RETRY if future.is_canceled else self._step_retry(step.runnable)
            fact = failed_attempt(step, attempt, outcome, retry, at, random)
            if fact.kind == Kind.STEP_FAILED:
                self._forget_step(ordinal)
        self._deliver(fact)
        self._run_queue()

    def _step_retry(self, runnable: Runnable[..., Any]) -> Retry:
        if runnable is self.runnable and "max_attempts" in self.options:
            return replace(
                self._policies.retry_of(runnable), max_attempts=self.options["max_attempts"]
            )
        return self._policies.retry_of(runnable)

    def receive(self, rows: Sequence[InboxRow], now: int) -> None:
        """A row of the inbox becomes a fact (several of one batch together), or is dropped where
        nothing waits for it any more."""
        row = rows[0]
        self.activation.consumed += [one.id for one in rows]
        if self.has_ended:
            return
        at = max(self._time(now), *(one.at for one in rows))
        if row.kind == InboxKind.CANCEL:
            if not self.execution.cancel_requested:
                self._deliver(Event(0, Kind.CANCEL_REQUESTED, 0, at))
        elif row.chapter == self.run.chapter and row.ordinal in self.execution.open:
            step, future = self.steps.get(row.ordinal), self.execution.open[row.ordinal]
            fact = None
            if row.kind == InboxKind.STEP_DONE and step is not None:
                fact = self._done(step, row, at)
            elif not isinstance(future, BatchFuture) or row.kind != InboxKind.CHILD_ENDED:
                fact = fact_of(row, at)
            elif not future.done():
                fact = page_of(rows, future, at)
            if fact is not None:
                self._deliver(fact)
        self._run_queue()

    def _done(self, step: RunStep, row: InboxRow, at: int) -> Event:
        """The fact that a step has committed its own rows with this result."""
        attempt = self.execution.open[row.ordinal].attempt
        self.in_flight.discard(row.ordinal)
        self._count_active(at)
        self._forget_step(row.ordinal)
        return finished(self.seq + 1, step, attempt, at, int(row.name), row.data)

    def read(self, messages: list[Message], now: int) -> None:
        """Messages of names that the run listens to."""
        if messages and not self.has_ended:
            self._at_least = self._time(now)
            self.mailbox.put(messages, self.activation)
            self._run_queue()

    @property
    def time_out_at(self) -> int:
        """When the run will have been active for its max_duration, if it goes on as it does; 0:
        never."""
        return 0 if self.execution.timed_out else self._active.rings_at

    def tick(self, now: int) -> None:
        """Timers and retries that are due, and the end of the run's time."""
        if not self.has_ended and 0 < self.time_out_at <= now:
            limit = self._active.limit_ms
            self._deliver(Event(0, Kind.TIME_OUT, 0, self._time(now), took=limit))
            self._run_queue()
        while not self.has_ended:
            retries, fact = self.execution.timers.take_due(now)
            for ordinal in retries:
                step = self.steps.get(ordinal)
                if step is not None and ordinal not in self.in_flight:
                    self.effects.run_steps.append(step)
            if fact is None:
                return
            self._deliver(fact.but(at=self._time(now)))
            self._run_queue()

    def abandon(self, ordinal: int, now: int) -> None:
        """The grace of a canceled step is over: the body goes on without it."""
        step = self.steps.get(ordinal)
        if step is not None and ordinal in self.in_flight:
            self.in_flight.discard(ordinal)
            self._count_active(now)
            self._forget_step(ordinal)
            self._settle_step(ordinal, step, ABANDONED, now)
            self._run_queue()

    # -- after

    def handed_out(self, step: RunStep, now: int) -> int:
        """A step is on its way; answers which attempt it is."""
        self.in_flight.add(step.ordinal)
        self._active.start(now)
        return self.execution.open[step.ordinal].attempt

    def committed(self) -> Effects:
        """The activation has happened: a new one begins; answers what may leave now."""
        if not self.has_ended:
            self.activation = Activation(self.run.id, self.run.chapter)
        effects, self.effects = self.effects, Effects()
        return effects

    @property
    def has_rows(self) -> bool:
        """Something that has to be written before effects leave."""
        return self.activation.has_rows

    @property
    def is_busy(self) -> bool:
        """A step is under way or about to be."""
        return bool(self.in_flight or self.effects.run_steps or self.holds_back)

    @property
    def leaves(self) -> bool:
        """The worker does not own the run any more when its activation has happened."""
        return self.has_ended or self.activation.release

    def settle_ownership(self) -> None:
        """Give the run back where there is nothing to do for it now."""
        if self.has_ended:
            return
        self.mailbox.tell(self.execution.listening, self.activation)
        if not self.is_busy:
            self.activation.release = True
            self.activation.due_at = self.execution.timers.next_due()
            if self._moments is not None and not self.steps:
                self._tell_hooks(self._moments.at_rest(self.execution))

    def close(self) -> None:
        """Out of memory."""
        if self._paranoid is not None:
            self._paranoid.close()
        if self.is_over:
            self.execution.close()
        elif self.has_begun:
            with silent():
                self.execution.close()

    # -- inside

    def _count_active(self, now: int) -> None:
        if not self.in_flight:
            self._active.stop(now)

    def _time(self, now: int) -> int:
        return max(now, self._at_least)

    def _deliver(self, fact: Event, *, recorded: bool = False) -> None:
        """Apply one fact; note its row and those of the decisions. Raises NonDeterminism."""
        if not recorded:
            self.seq += 1
            if fact.seq != self.seq:
                fact = fact.but(seq=self.seq)
            self.activation.events.append(fact)
        if fact.at > self._at_least:
            self._at_least = fact.at
        self.arrivals.note([fact])
        first = len(self.activation.events)
        try:
            decisions = self.execution.apply(fact)
        except StepBudgetExceeded as error:
            decisions: list[Decision] = [
                End(Status.FAILED, failure=failure_of(error).encode(), error=error)
            ]
        if self.seq >= self._length.next:
            self.effects.logs.append(self._length.told(self.execution.title, self.seq))
        if self._moments is not None:
            self._tell_hooks(self._moments.after(fact, self.execution))
        for decision in decisions:
            self._decide(decision)
        if self._paranoid is not None:
            rows = [fact, *self.activation.events[first:]]
            self._paranoid.check(rows, decisions, ended=self.execution.ended is not None)

    def _tell_hooks(self, moment: str) -> None:
        if moment and self._moments is not None:
            self.seq += 1
            at, issued = self._time(self.execution.now), self.execution.ordinal
            self._moments.tell(self.activation, moment, self.seq, at, issued)

    def _run_queue(self) -> None:
        """Facts that the worker itself has, after the one that led to them."""
        while not self.has_ended:
            if self._queue:
                self._deliver(self._queue.popleft())
                continue
            message = self.mailbox.take(self.execution.listening, self.activation)
            if message is None:
                return
            self._deliver(message.but(at=self._time(message.at)))
        self._queue.clear()

    def _decide(self, decision: Decision) -> None:
        if isinstance(decision, End):
            self._end(decision)
            return
        if isinstance(decision, Restart):
            self._restart(decision)
            return
        activation = self.activation
        row = decision.record(self.seq + 1, self.execution.now)
        if row is not None:
            self.seq += 1
            activation.events.append(row)
        match decision:
            case RunStep():
                self.steps[decision.ordinal] = decision
                self.effects.run_steps.append(decision)
            case CancelStep():
                self._cancel_step(decision.ordinal)
            case Log():
                self.effects.logs.append(decision)
            case WriteNote():
                activation.notes.append(decision.note)
            case Patched() | Noted():
                pass
            case _:
                write(activation, self.run, decision, self.execution.now)

    def _cancel_step(self, ordinal: int) -> None:
        if ordinal in self.in_flight:
            self.effects.stop_steps.append(ordinal)
            return
        step = self.steps.get(ordinal)
        self._forget_step(ordinal)
        self._settle_step(ordinal, step, ABANDONED)

    def _settle_step(
        self, ordinal: int, step: RunStep | None, failure: Failure, now: int | None = None
    ) -> None:
        """Queue the fact that a step ended without a result."""
        future = self.execution.open.get(ordinal)
        if step is None or future is None:
            return
        at = self._time(now or self.execution.now)
        self._queue.append(given_up(step, future.attempt, at, failure))

    def _forget_step(self, ordinal: int) -> None:
        self.steps.pop(ordinal, None)
        self._unqueue(ordinal)

    def _unqueue(self, ordinal: int) -> None:
        if self.effects.run_steps:
            self.effects.run_steps = [
                step for step in self.effects.run_steps if step.ordinal != ordinal
            ]

    def _turn(self, chapter: NextChapter, due_at: int) -> None:
        """The run goes on at `due_at`, in a chapter of its own."""
        self.has_ended = True
        activation = self.activation
        activation.next_chapter = chapter
        activation.waits.clear()
        activation.listening = None
        activation.release = True
        activation.due_at = due_at

    def _stop_steps(self) -> None:
        self.effects.stop_steps += sorted(self.in_flight)
        self.effects.run_steps = []

    def _restart(self, restart: Restart) -> None:
        at = self._time(self.execution.now)
        self._stop_steps()
        self.seq += 1
        self.activation.events.append(restart.record(self.seq, at, self.run.attempt))
        self._turn(restarted(self.run, self.info, restart, self._python, at), at)

    def _end(self, end: End) -> None:
        activation, at = self.activation, self._time(self.execution.now)
        if end.never_awaited:
            end, lines = judged(end, self.execution.title, strictly=self._is_paranoid)
            self.effects.logs += lines
        self._stop_steps()
        delay = None
        policy = self._policies.retry_of(self.runnable)
        if not self.execution.cancel_requested:
            run, failed = self.run, self.arrivals.failed_at
            end, delay = task_attempt(run, self.runnable, policy, self.options, end, failed, at)
        if delay is not None:
            self.seq += 1
            attempt = self.run.attempt
            activation.events.append(
                Event(self.seq, Kind.ATTEMPT_FAILED, 0, at, "", 0, attempt, delay, end.failure)
            )
            due_at = at + delay
            if policy.fresh:
                chapter = tried_afresh(self.run, self.info, self._python, due_at)
            else:
                chapter = tried_again(self.run, self.execution, self.arrivals, end, at, due_at)
            self._turn(chapter, due_at)
            return
        gathered = Kind.BATCH_ENDED in self.execution.waits.values()
        self.has_ended = True
        activation.ending = Ending(end.status, end.output, end.failure, at, gathered)
        if self._moments is not None:
            self._moments.end(activation, end.status, at)
