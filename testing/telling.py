"""A story is told move by move: at each place somebody picks one of the moves that are possible.

A move is one thing that may happen next: a step begins, its result arrives, somebody answers, time
passes, the worker is lost. The first move is always the one of a quiet day. Who picks is a
`Chooser`: Hypothesis, or a list of moves that was written down.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Final, Protocol

from wf.client.views import TokenView
from wf.engine.core.durations import show_duration
from wf.engine.core.runnable import Runnable
from wf.engine.core.runs import new_run
from wf.engine.registry import AnyRunnable, Registry
from wf.history.errors import Abort, AlreadyEnded
from wf.history.ids import derived_id, parse, show
from wf.history.limits import MAX_LIST
from wf.history.model import Lease, RunFilter
from wf.testing.asked import LIVE, awaited_schema
from wf.testing.effects import Effect, Effects, noting
from wf.testing.environment import FAR_MS, FOREVER_MS, Env
from wf.testing.outside_loop import outside_loop
from wf.testing.run import Run
from wf.testing.runner import Job
from wf.testing.stand_ins import StandIn, is_strategy, raising, returning, with_fn
from wf.testing.story import value as shown_value
from wf.testing.world import Process

MOST_MOVES: Final = 100
"""Of one story: a run that goes on for longer is told up to there."""
MOST: Final = {"lost": 2, "taken": 1, "fails": 3, "canceled": 1, "again": 2, "deployed": 2}
"""Bad things of each kind in one story: what needs more of them is rare, and no short story."""


class Failure(RuntimeError):
    """What a step raises in a story where nobody said what it may raise."""


@dataclass(frozen=True, slots=True)
class Move:
    """`weight`: how often it is picked, beside the others. `value`: a strategy of what it takes."""

    name: str
    weight: int
    do: Callable[[Any], object]
    value: Any = None
    kind: str = ""


class Chooser(Protocol):
    def pick(self, moves: Sequence[Move]) -> Move: ...
    def value(self, move: Move) -> Any:
        """What it takes; None where it takes nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Plan:
    """What holds in all stories of a task. `real`: ids of steps whose own code runs; None: all.
    `results`, `failures`, `messages`: what others answer, raise, and people send, by name.
    `horizon_ms`: time passes no further. `versions`: of the task, that are deployed one after the
    other."""

    task: Runnable[..., Any]
    stand_ins: Mapping[str, StandIn] = field(default_factory=dict[str, StandIn])
    real: frozenset[str] | None = frozenset()
    failures: Mapping[str, Sequence[BaseException]] = field(
        default_factory=dict[str, Sequence[BaseException]]
    )
    messages: Mapping[str, Any] = field(default_factory=dict[str, Any])
    horizon_ms: int = 0
    versions: Sequence[AnyRunnable] = ()
    bad: frozenset[str] = frozenset(MOST)
    """Kinds of bad things that happen."""


@dataclass
class Telling:
    """One story, as it is told in `env`. `lines`: what happened, with the virtual time (ms);
    `moves`: their names, or pairs of a name and what was taken."""

    env: Env
    plan: Plan
    chooser: Chooser
    effects: Effects = field(default_factory=Effects)
    moves: list[Any] = field(default_factory=list[Any])
    lines: list[tuple[int, str]] = field(default_factory=list[tuple[int, str]])
    _bad: dict[str, int] = field(default_factory=dict[str, int])
    _sent: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    _answered: list[tuple[str, Any]] = field(default_factory=list[tuple[str, Any]])
    _encoded: bytes = b""
    _is_over: bool = False

    def tell(self, payload: Any) -> Run[Any]:
        """From the trigger until nothing can happen any more."""
        self.effects.told = self._told_effect
        with noting(self.effects), outside_loop():
            self.env.learn(self.plan.task)
            self.env.stand_ins.only_tasks = True
            self.env.stand_ins.by_id.update(self.plan.stand_ins)
            self.env.know()
            run = self._run = self._first(payload)
            begin = self.env.clock.now()
            self._settle()
            for _ in range(MOST_MOVES):
                moves = list(self._moves(begin + self.plan.horizon_ms))
                if not moves:
                    break
                self._make(moves)
                if self._is_over:
                    break
        return run

    def _first(self, payload: Any) -> Run[Any]:
        task = self.plan.task
        self._encoded = task.signature.encode_payload(payload)
        run_id = self._trigger()
        decode = task.signature.decode_result
        return Run[Any](self.env, self.env.client, run_id, task.id, decode, is_cached=False)

    def _trigger(self, number: int = 0) -> bytes:
        """As a client asks for it, for the first time or again; under ids that are always the same,
        because others derive from them."""
        env, now = self.env, self.env.clock.now()
        asked = derived_id(now, b"story".ljust(16), 0, number)
        options = {"idempotency_key": "story", "idempotency_key_ttl": FAR_MS}
        task, where = self.plan.task.id, env.environment
        made = new_run(asked, task, self._encoded, options, environment=where, now=now)
        [(run_id, _)] = env.store.trigger([made])
        return run_id

    def _make(self, moves: Sequence[Move]) -> None:
        move = self.chooser.pick(moves)
        value = self.chooser.value(move)
        takes = move.value is not None
        self.moves.append((move.name, value) if takes else move.name)
        self._note(f"{move.name}: {shown_value(value)}" if takes else move.name)
        if move.kind:
            self._bad[move.kind] = self._bad.get(move.kind, 0) + 1
        move.do(value)
        self._settle()

    def _note(self, line: str) -> None:
        self.lines.append((self.env.clock.now(), line))

    def _told_effect(self, effect: Effect) -> None:
        how = f" (key {effect.key[:6]})" if effect.key else ""
        said = "" if effect.value is None else f" {shown_value(effect.value)}"
        self._note(f"    outside: {effect.what}{said}{how}")

    def _settle(self) -> None:
        """All that needs no decision of anybody."""
        for process in self.env.world.processes:
            process.worker.hint()
        is_busy = True
        while is_busy:
            is_busy = False
            for process in list(self.env.world.processes):
                if not process.is_asleep:
                    process.runner.pump()
                    is_busy |= self.env.world.tick(process)

    def _live(self) -> bool:
        wanted = RunFilter(self.env.environment, status=LIVE, limit=1)
        return bool(self.env.store.list_runs(wanted))

    # -- what may happen next

    def _moves(self, until: int) -> Iterator[Move]:
        jobs = [
            (process, job)
            for process in self.env.world.processes
            for job in process.runner.possible()
        ]
        if not jobs and not self._live():
            return
        ordinary = [*self._step_moves(jobs), *self._people()]
        at = self.env.next_at()
        if at is not None and at <= until:
            after = show_duration(at - self.env.clock.now())
            ordinary.append(Move(f"{after} pass", 6, partial(self._pass, at)))
        elif not jobs:
            ordinary.append(Move("nobody does anything more", 2, lambda _: self._end()))
        yield from ordinary
        for move in self._trouble(jobs):
            if self._may(move.kind):
                yield move

    def _may(self, kind: str) -> bool:
        return kind in self.plan.bad and self._bad.get(kind, 0) < MOST[kind]

    def _end(self) -> None:
        self._is_over = True

    def _pass(self, at: int, _: Any) -> None:
        self.env.clock.advance_to(at)

    def _step_moves(self, jobs: Sequence[tuple[Process, Job]]) -> Iterator[Move]:
        for (process, job), title in zip(jobs, titles(jobs), strict=True):
            if job.outcome is not None:
                yield Move(f"the result of {title} arrives", 12, partial(_do, process, job))
                continue
            name, runnable = job.order.runnable.id, job.order.runnable
            stand_in = self.plan.stand_ins.get(name)
            real = self.plan.real is None or name in self.plan.real
            drawn = drawn_of(stand_in)
            if drawn is None and stand_in is None and not real:
                drawn = runnable
            if drawn is not None:
                act = partial(_answer, process, job)
                yield Move(f"{title} answers", 12, act, drawn)
            else:
                fn = stand_in or runnable.fn
                yield Move(f"{title} runs", 12, partial(_run, process, job, fn))
                if self._may("fails"):
                    fail = partial(_run, process, job, failing_after(fn, self._failures(name)[0]))
                    yield Move(f"{title} runs, and fails then", 1, fail, kind="fails")
            if self._may("fails"):
                for error in [*self._failures(name), Abort(f"{name} failed for good")]:
                    act = partial(_run, process, job, raising(error))
                    yield Move(f"{title} fails with {error!r}", 1, act, kind="fails")

    def _failures(self, name: str) -> Sequence[BaseException]:
        return self.plan.failures.get(name) or [Failure(f"{name} failed")]

    def _people(self) -> Iterator[Move]:
        for number, token in enumerate(self._tokens(), 1):
            if token.status == "WAITING":
                act = partial(self._complete, token.id)
                tags = f" ({', '.join(token.tags)})" if token.tags else ""
                stored = self.env.store.get_token(parse("token", token.id))
                schema = stored.schema if stored is not None else b"null"
                yield Move(f"token {number}{tags} is answered", 6, act, schema)
        for run_id, name, kind in self._listening():
            whose = "" if run_id == self._run.raw_id else f" for {show('run', run_id)}"
            act = partial(self._send, show("run", run_id), name)
            yield Move(f"message {name!r} comes{whose}", 6, act, self.plan.messages.get(name, kind))

    def _tokens(self) -> Sequence[TokenView]:
        """All that were made, oldest first: so a token keeps its number."""
        return self.env.client.tokens.list(limit=MAX_LIST)[::-1]

    def _listening(self) -> Iterator[tuple[bytes, str, Any]]:
        wanted = RunFilter(self.env.environment, status=LIVE, limit=MAX_LIST)
        for run in reversed(self.env.store.list_runs(wanted)):
            for name in sorted(self.env.store.awaited(run.id).names):
                yield run.id, name, self._schema_of(run.id, name)

    def _schema_of(self, run_id: bytes, name: str) -> bytes:
        """What the body takes for it: known where a worker has the body."""
        for process in self.env.world.processes:
            schema = awaited_schema(process.worker.body_of(run_id), name)
            if schema is not None:
                return schema
        return b"null"

    def _complete(self, token_id: str, data: Any) -> None:
        self._answered.append((token_id, data))
        self.env.client.tokens.complete(token_id, data)

    def _send(self, run_id: str, name: str, data: Any) -> None:
        self._sent.append((name, (run_id, data)))
        self.env.client.runs.send(run_id, name, data)

    # -- what goes wrong

    def _trouble(self, jobs: Sequence[tuple[Process, Job]]) -> Iterator[Move]:
        processes = self.env.world.processes
        awake = [process for process in processes if not process.is_asleep]
        for process in processes:
            if process.is_asleep:
                yield Move("the old worker wakes up", 4, partial(self._wake, process), kind="taken")
        if awake:
            lose = partial(self._lose, awake[0])
            yield Move("the worker is lost, another one takes over", 2, lose, kind="lost")
            if jobs and len(awake) == len(processes):
                take = partial(self._take_over, awake[0])
                yield Move("the worker stands still, and is taken over", 1, take, kind="taken")
        number = self._bad.get("deployed", 0)
        if awake and number < len(self.plan.versions):
            deploy = partial(self._deploy, awake[0], self.plan.versions[number])
            title = f"version {number + 2} is deployed"
            yield Move(title, 3, deploy, kind="deployed")
        if not self._run.status.ended:
            yield Move("the run is canceled", 1, self._cancel, kind="canceled")
            yield Move("the client triggers it again", 1, self._trigger_again, kind="again")
        if self._sent:
            yield Move("the last message comes again", 1, self._send_again, kind="again")
        if self._answered:
            yield Move("the last token is answered again", 1, self._answer_again, kind="again")

    def _lose(self, process: Process, _: Any) -> None:
        lease = process.worker.lease
        self.env.world.lose(process)
        self._bury(lease)

    def _deploy(self, process: Process, version: AnyRunnable, _: Any) -> None:
        """The worker is stopped, and one with that code begins."""
        registry = Registry(self.env.world.registry)
        registry.replace(version)
        self.env.world.registry = registry.with_hooks()
        self._lose(process, None)

    def _take_over(self, process: Process, _: Any) -> None:
        process.is_asleep = True
        self._bury(process.worker.lease)

    def _bury(self, lease: Lease | None) -> None:
        """Somebody else takes what it had."""
        assert lease is not None, "a worker that has joined"
        self.env.store.take_over(self.env.clock.now(), FOREVER_MS, [lease.worker])
        self.env.world.start()

    def _wake(self, process: Process, _: Any) -> None:
        process.is_asleep = False

    def _cancel(self, _: Any) -> None:
        self.env.client.runs.cancel(self._run.id)

    def _trigger_again(self, _: Any) -> None:
        """It had no answer, and repeats what it asked for: under one key there is one run."""
        run_id = self._trigger(1 + self._bad.get("again", 0))
        assert run_id == self._run.raw_id, "one idempotency key, and a second run"

    def _send_again(self, _: Any) -> None:
        name, (run_id, data) = self._sent[-1]
        try:
            self.env.client.runs.send(run_id, name, data)
        except AlreadyEnded:
            self._note("    it is refused: the run has ended")

    def _answer_again(self, _: Any) -> None:
        token_id, data = self._answered[-1]
        try:
            self.env.client.tokens.complete(token_id, data)
        except AlreadyEnded:
            self._note("    it is refused: it was answered")


def titles(jobs: Sequence[tuple[Process, Job]]) -> list[str]:
    """Names of attempts, with a number where there are several of one step."""
    names = [job.order.runnable.id for _, job in jobs]
    return [
        name if names.count(name) == 1 else f"{name} ({names[: place + 1].count(name)})"
        for place, name in enumerate(names)
    ]


def drawn_of(stand_in: Any) -> Any:
    """The strategy of whose values it answers one; None: it is no such stand-in."""
    args: tuple[Any, ...] = stand_in.args if isinstance(stand_in, partial) else ()
    return args[0] if args and is_strategy(args[0]) else None


def failing_after(fn: StandIn, error: BaseException) -> StandIn:
    """It does what it does, and its answer is lost."""
    if inspect.iscoroutinefunction(fn):

        async def call_async(*args: Any, **kwargs: Any) -> Any:
            await fn(*args, **kwargs)
            raise error

        return call_async

    def call(*args: Any, **kwargs: Any) -> Any:
        fn(*args, **kwargs)
        raise error

    return call


def _do(process: Process, job: Job, _: Any) -> None:
    process.runner.do(job)


def _run(process: Process, job: Job, fn: StandIn, _: Any) -> None:
    job.order.runnable = with_fn(job.order.runnable, fn)
    process.runner.do(job)


def _answer(process: Process, job: Job, value: Any) -> None:
    _run(process, job, returning(value), None)
