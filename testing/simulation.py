"""The engine in the mill: a store, workers and clients under a scheduler that draws everything from
one seed.

Real are the store (SQLite, in memory), the workers, the bodies and the steps' code. Virtual are
time, the scheduler, and the world between a worker and its store: calls are delayed, fail, or
answer nothing although they have happened; processes are lost at any call or between two; workers
stand still for longer than their lease and go on as if nothing had been (while a worker is in a
call, others live on); clocks jump. After the storm comes a calm in which everything has to end.

One seed gives one trace, on every machine: `Report.trace` is its hash.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from hashlib import blake2b
from pathlib import Path
from random import Random
from typing import Any, Final, TypeVar

from wf.engine.clock import Clock
from wf.engine.notebook import Notebook
from wf.engine.scheduler import Scheduler
from wf.engine.settings import CACHE_BYTES, LIVE_BYTES, WorkerSettings
from wf.engine.worker import Worker
from wf.history.errors import StoreUnavailable
from wf.history.events import Status
from wf.history.ids import show
from wf.history.model import WorkerInfo
from wf.history.open import sealed
from wf.history.sealing import Codec
from wf.history.sqlite import SQLiteStore
from wf.history.store import Store
from wf.testing.clients import Clients, Scenario
from wf.testing.clock import SkewedClock, VirtualClock
from wf.testing.ledger import MemoryLedger, breaches, using
from wf.testing.memory import MemoryDatabase
from wf.testing.odds import CALM, Odds, drawn_odds
from wf.testing.operators import Operators
from wf.testing.process import Process
from wf.testing.runner import VirtualRunner
from wf.testing.tables import Tables
from wf.testing.watched import WRITES, Cut, WatchedStore

T = TypeVar("T")

ENVIRONMENT: Final = "dev"
LEASE_MS: Final = 10_000
POLL_MS: Final = 4_000
FEW_BYTES: Final = 3_000
"""Room for some runs of a simulation."""
LOST_HINTS: Final = 0.3
WHILE_COMMITTING: Final = 0.5
"""How likely a step of the worker goes on while that commits, and then another."""
MAX_DEPTH: Final = 2
"""Calls within calls: what others do while one waits for the store."""
CALM_MOVES: Final = 40_000
"""More than any scenario needs to end when nothing fails any more: where a hundred runs lost their
workers again and again, each has its trial."""
HORIZON_MS: Final = 40 * 24 * 3_600_000


@dataclass(slots=True)
class Report:
    seed: int
    trace: str = ""
    moves: int = 0
    breaches: list[str] = field(default_factory=list[str])
    faults: Counter[str] = field(default_factory=Counter[str])
    statuses: Counter[str] = field(default_factory=Counter[str])
    notes: list[tuple[int, tuple[object, ...]]] = field(default_factory=list[Any])
    """Who did what, and when (ms)."""


Audit = Callable[[Store], Iterable[str]]


class Simulation:
    """One seed. `run` answers what happened. `audit` says what is wrong with the store's rows. Time
    passes no further than `horizon_ms`. `memory`: an empty one. `codec`: seals what stands in
    it. `operated`: the schedules of the code fire, and operators change them and the queues."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario,
        audit: Audit,
        *,
        moves: int = 0,
        odds: Callable[[Random], Odds] = drawn_odds,
        horizon_ms: int = HORIZON_MS,
        memory: MemoryDatabase | None = None,
        codec: Codec | None = None,
        operated: bool = False,
    ) -> None:
        self.report = Report(seed)
        self.random = Random(seed)
        self.scenario = scenario
        self.clock = VirtualClock()
        plain = SQLiteStore(
            Path(":memory:"),
            clock=self.clock.now,
            random=Random(seed + 1),
            database=memory or MemoryDatabase(),
        )
        self.store: Store = plain if codec is None else sealed(plain, codec)
        self.ledger = MemoryLedger()
        self.odds = odds(self.random)
        self.processes: list[Process] = []
        self._audit = audit
        self._until = self.clock.now() + horizon_ms
        self._moves = moves or self.random.choice([100, 250, 250, 600])
        self._depth = 0
        self._count = 0
        self._trace = blake2b(digest_size=16)
        self.tables = Tables(plain)
        asked = WatchedStore(self.store, partial(self._door, None))
        self.clients = Clients(seed, scenario, asked, self.tables, self.clock, self.note)
        operators = Operators(ENVIRONMENT, asked, self.tables, self.clock, self.note)
        self.operators = operators if operated else None

    # -- the whole

    def run(self) -> Report:
        report = self.report
        try:
            with using(self.ledger):
                self._make_known()
                for _ in range(self.random.randint(1, 3)):
                    self._start_process()
                for _ in range(self._moves):
                    self._move()
                self._calm()
            self._check()
        finally:
            for process in self.processes:
                process.die()
            self.store.close()
        self._trail("end", *sorted(report.statuses.items()))
        report.trace = self._trace.hexdigest()
        return report

    def note(self, *words: object) -> None:
        """Something happened."""
        self.report.notes.append((self.clock.now(), words))
        self._trail(*words)

    def _trail(self, *words: object) -> None:
        """A line of the trace."""
        self._trace.update(repr((self.clock.now(), *words)).encode())

    def _fault(self, who: str, what: str, *which: str) -> None:
        self.report.faults[what.rstrip(":")] += 1
        self.note(who, what, *which)

    # -- moves

    def _move(self) -> None:
        self.report.moves += 1
        odds = self.odds
        moves: list[tuple[float, Callable[[], None]]] = [
            (40, self._tick),
            (25, self._step),
            (12, self._pass_time),
            (4, self._flush),
            (3, partial(self.clients.trigger, self.random)),
            (odds.cancel, partial(self.clients.cancel, self.random)),
            (3, partial(self.clients.end_token, self.random)),
            (4, partial(self.clients.send, self.random)),
            (odds.crash, self._crash),
            (odds.leave, self._leave),
            (odds.stand, self._stall),
            (odds.jump, self._jump),
            (1.5 if len(self.processes) < 3 else 0, self._start_process),
        ]
        if self.operators is not None:
            moves.append((0.7, partial(self.operators.change_queue, self.random)))
            moves.append((0.4, partial(self.operators.change_schedule, self.random)))
        self.random.choices([move for _, move in moves], [weight for weight, _ in moves])[0]()

    def _free(self) -> list[Process]:
        now = self.clock.now()
        return [one for one in self.processes if not one.is_busy and one.asleep_until <= now]

    def _pick(self) -> Process | None:
        free = self._free()
        return self.random.choice(free) if free else None

    def _tick(self) -> None:
        process = self._pick()
        if process is not None:
            self._tick_process(process)

    def _tick_process(self, process: Process) -> bool:
        """True: another tick may find more."""
        worker = process.worker
        if worker.is_draining and (
            not worker.steps_in_flight or process.leaves_at <= self.clock.now()
        ):
            self._inside(process, worker.leave)
            if process in self.processes:
                self._remove(process)
            return True
        return bool(self._inside(process, process.tick))

    def _inside(self, process: Process, call: Callable[[], T]) -> T | None:
        process.is_busy = True
        try:
            return call()
        except StoreUnavailable as error:
            self._trail(process.name, "unavailable", error.outcome_unknown)
        except Cut:
            self._remove(process)
        finally:
            process.is_busy = False
        return None

    def _step(self) -> None:
        process = self._pick()
        if process is not None and self._inside(process, process.runner.run_one):
            self._trail(process.name, "step")

    def _flush(self) -> None:
        """What steps noted is written while they run."""
        process = self._pick()
        if process is not None and process.runner.notebook is not None:
            self._inside(process, process.runner.notebook.flush)

    def _pass_time(self) -> None:
        """To the next moment at which something is due, or by chance."""
        kind = self.random.random()
        if kind < 0.2:
            self.clock.advance(self.random.randint(1, 4_000))
        elif kind < 0.4 and self._is_quiet() and (at := self._next_due()) is not None:
            self._leap(at)
        else:
            self._to_next_event()

    def _to_next_event(self) -> None:
        now = self.clock.now()
        times = [now + one.worker.wait_ms() for one in self.processes]
        times += [now + POLL_MS, self._next_due() or 0]
        self.clock.advance_to(min(at for at in times if at > now))

    def _next_due(self) -> int | None:
        """When there is more to do than to poll (ms)."""
        now = self.clock.now()
        times = [one.runner.next_at() or 0 for one in self.processes]
        times += [one.asleep_until for one in self.processes]
        times.append(self.store.next_due(ENVIRONMENT) or 0)
        if self.operators is not None:
            known = self.scenario.registry.ids
            times.append(self.store.next_schedule_at(ENVIRONMENT, known) or 0)
        return min((at for at in times if now < at <= self._until), default=None)

    def _is_quiet(self) -> bool:
        """Nobody has anything to do now, or is about to."""
        due = f"SELECT id FROM due WHERE at <= {self.clock.now()}"
        asked = ("SELECT run_id FROM ready", "SELECT run_id FROM owned", due)
        return self._depth == 0 and not any(map(self.tables.rows, asked))

    def _leap(self, at: int) -> None:
        """Days may pass. Who is awake has beaten meanwhile, whatever he is at."""
        awake = self._free()
        self.clock.advance_to(at)
        for process in awake:
            if process.worker.lease is not None:
                with suppress(StoreUnavailable):
                    self.store.beat(process.worker.lease)

    def _make_known(self) -> None:
        """Somebody has worked here before: from then on the store knows which ends have hooks, and
        the schedules."""
        if self.operators is not None:
            self._scheduler(self.store, self.clock).tick()
        self.store.leave(self.store.join(ENVIRONMENT, self._info("code")), self.clock.now())

    def _scheduler(self, store: Store, clock: Clock) -> Scheduler:
        return Scheduler(store, self.scenario.registry, ENVIRONMENT, clock)

    def _info(self, code: str) -> WorkerInfo:
        known = self.scenario.registry
        return WorkerInfo("sim", self._count, known.ids, code, known.hooked_ends, known.queues)

    def _start_process(self, code: str = "code") -> None:
        self._count += 1
        name = f"w{self._count}"
        settings = WorkerSettings(
            environment=ENVIRONMENT,
            paranoid=self.random.random() < 0.2,
            python="3.11",
            max_owned=self.random.choice([1, 3, 1_000]),
            cache_size=self.random.choice([0, 1, 1_000]),
            live_bytes=self.random.choice([1, FEW_BYTES, LIVE_BYTES]),
            cache_bytes=self.random.choice([1, FEW_BYTES, CACHE_BYTES]),
            poll_ms=POLL_MS,
            lease_ms=LEASE_MS,
        )
        clock = SkewedClock(self.clock)
        info = self._info(code)
        random = Random(self.random.getrandbits(64))

        def door(name: str, call: Callable[[], T]) -> T:
            return self._door(process, name, call)

        store = WatchedStore(self.store, door)
        worker = Worker(store, self.scenario.registry, clock, settings, info, random)
        notebook = Notebook(store, clock)
        runner = VirtualRunner(
            self.clock, worker.deliver, random, 3_000, notebook, self.scenario.begins
        )
        worker.orders.runner = runner
        scheduler = self._scheduler(store, clock) if self.operators is not None else None
        process = Process(name, worker, scheduler, runner, clock)
        self.processes.append(process)
        self.note(name, "starts")

    def _crash(self) -> None:
        process = self._pick()
        if process is not None:
            self._lose(process)

    def _lose(self, process: Process) -> None:
        self._fault(process.name, "is lost")
        self._remove(process)

    def _remove(self, process: Process) -> None:
        self.processes.remove(process)
        process.die()

    def _leave(self) -> None:
        process = self._pick()
        if process is not None:
            self.note(process.name, "drains")
            process.worker.is_draining = True
            process.leaves_at = self.clock.now() + self.random.randint(0, 10_000)

    def _stall(self) -> None:
        process = self._pick()
        if process is not None:
            self._fault(process.name, "stands still")
            process.asleep_until = self.clock.now() + self.random.randint(1, 3 * LEASE_MS)

    def _jump(self) -> None:
        process = self._pick()
        if process is not None:
            self._fault(process.name, "has a clock that jumps")
            # Ahead it is by little: it takes the database's time, and adds what really passed.
            process.clock.jump(self.random.randint(-60_000, 100))

    # -- the world between a process and its store

    def _door(self, process: Process | None, name: str, call: Callable[[], T]) -> T:
        odds, draw = self.odds, self.random.random
        who = process.name if process is not None else "a client"
        if draw() < odds.delay:
            self._meanwhile()
        if draw() < odds.stall:
            self._fault(who, "stands still in", name)
            self.clock.advance(self.random.randint(LEASE_MS, 3 * LEASE_MS))
            self._meanwhile()
        if draw() < odds.fail:
            self._fault(who, "cannot reach the store for", name)
            raise StoreUnavailable("simulated: not reached")
        if name not in WRITES:
            return call()
        if draw() < odds.lose_call:
            self._fault(who, "gets no answer to, and it has not happened:", name)
            raise StoreUnavailable("simulated: never arrived", outcome_unknown=True)
        if draw() < odds.crash_before:
            self._fault(who, "is lost before", name)
            raise Cut
        if name == "commit" and process is not None:
            self._steps_go_on(process)
        answer = call()
        self._trail(who, name)
        self.report.breaches += self.tables.overfull()
        for other in self.processes:
            if draw() >= LOST_HINTS:
                other.worker.hint()
        if draw() < odds.crash_after:
            self._fault(who, "is lost after", name)
            raise Cut
        if draw() < odds.lose_answer:
            self._fault(who, "gets no answer to, though it has happened:", name)
            raise StoreUnavailable("simulated: the answer was lost", outcome_unknown=True)
        if draw() < odds.delay:
            self._meanwhile()
        return answer

    def _steps_go_on(self, process: Process) -> None:
        """While their worker commits: its results come in between."""
        while self.random.random() < WHILE_COMMITTING and process.runner.run_one():
            self._trail(process.name, "step")

    def _meanwhile(self) -> None:
        """Others live while this one waits."""
        if self._depth >= MAX_DEPTH:
            return
        self._depth += 1
        try:
            for _ in range(self.random.randint(1, 6)):
                self._move()
        finally:
            self._depth -= 1

    # -- the calm

    def _calm(self) -> None:
        """Nothing fails any more; two workers finish what is there."""
        self.odds = CALM
        self.note("calm")
        self._start_process()
        self.clients.insist(self.store)
        if self.operators is not None:
            self.operators.settle(self.store)
        worked_at, most = self.clock.now(), self._count + 3
        for _ in range(CALM_MOVES):
            self.report.moves += 1
            worked = False
            for process in list(self.processes):
                if process.asleep_until <= self.clock.now():
                    worked |= process.runner.run_one() | self._tick_process(process)
            self.clock.advance(1)
            if worked:
                worked_at = self.clock.now()
                continue
            if not self.tables.live_runs():
                return
            if not self.processes:
                self._start_process()
            if self.clock.now() - worked_at < 2 * LEASE_MS:
                self._to_next_event()  # somebody may be to be taken over
            elif self._count < most and self._is_parked():
                self._start_process(f"calm {self._count}")
                worked_at = self.clock.now()
            elif (at := self._next_due()) is not None:
                self._leap(at)
            else:
                return

    def _is_parked(self) -> bool:
        """A run is, because its workers were lost: other code tries it again."""
        asked = "SELECT run_id FROM blocked WHERE reason = 'poisoned'"
        return bool(self.tables.rows(asked))

    # -- what must be true

    def _check(self) -> None:
        report = self.report
        found = report.breaches
        found += self._audit(self.store)
        ids = self.tables.ids("SELECT id FROM runs ORDER BY id")
        runs = self.store.get_runs(ids)
        for run_id in sorted(self.clients.acknowledged - set(runs)):
            found.append(f"{show('run', run_id)} was acknowledged and is not there")
        for run_id in ids:
            run = runs[run_id]
            report.statuses[run.status] += 1
            history = self.store.history(run_id)
            self._trail(run_id, run.status, run.output, *history)
            if run.status is Status.CANCELED and self.clients.canceled:
                continue
            if wrong := self.scenario.wrong(run, bool(self.clients.canceled)):
                found.append(f"{run.task} {show('run', run_id)}: {wrong}")
        if not found:  # it replays them all
            found += breaches(self.ledger.read(), self.store, ids, self.scenario.registry)
