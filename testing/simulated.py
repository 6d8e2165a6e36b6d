"""`wf.testing.simulate`: tasks of somebody's in the engine's own simulation."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Collection, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any, Final

from wf.client.client import Client
from wf.engine.author import test_clocks
from wf.engine.core.durations import Duration, milliseconds
from wf.engine.core.runnable import Runnable
from wf.engine.registry import AnyRunnable, Registry
from wf.engine.replaying import replay_all
from wf.history import connections
from wf.history.audit import audit
from wf.history.errors import DeclarationError
from wf.history.ids import show
from wf.history.model import NewRun
from wf.history.store import Store
from wf.testing.effects import Effects, noting
from wf.testing.environment import learn
from wf.testing.habits import Drawn, Habits, Strategy
from wf.testing.memory import MemoryDatabase
from wf.testing.odds import KINDS, drawn_odds, without
from wf.testing.outside_loop import outside_loop
from wf.testing.properties import Invariant
from wf.testing.simulation import ENVIRONMENT, Report, Simulation
from wf.testing.stand_ins import StandIns, id_of, stand_in_of
from wf.testing.stories import Life, Story
from wf.testing.story import story_of
from wf.testing.watched import WatchedStore

SEEDS: Final = 100
HORIZON: Final[Duration] = "52w"
BAD: Final = (*KINDS, "fails")


@dataclass(frozen=True, slots=True)
class Simulated:
    """What was simulated. `moves`: what somebody did; `faults`: what was done to them, by kind;
    `runs`: how many came to each status."""

    seeds: int = 0
    moves: int = 0
    faults: Counter[str] = field(default_factory=Counter[str])
    runs: Counter[str] = field(default_factory=Counter[str])


def simulate(
    tasks: AnyRunnable | Iterable[AnyRunnable],
    /,
    seeds: int | Iterable[int] = SEEDS,
    *,
    holds: Invariant | None = None,
    payload: Strategy | Mapping[AnyRunnable | str, Strategy] | None = None,
    replace: Mapping[AnyRunnable | str, object] | None = None,
    real: Collection[AnyRunnable | str] | bool = (),
    failures: Mapping[AnyRunnable | str, Sequence[BaseException]] | None = None,
    messages: Mapping[str, Strategy] | None = None,
    bad: Iterable[str] = BAD,
    horizon: Duration = HORIZON,
    moves: int = 0,
) -> Simulated:
    """Let many runs of these tasks go on beside each other in the engine's own simulation: several
    workers in virtual time that are lost, stand still, are taken over and come back, calls of the
    store that fail or whose answer is lost, clocks that jump. After the storm comes a calm in which
    all is done that can be.

    One seed is one simulation, always the same one. seeds: how many, from 0 on; or which. moves: of
    a storm, 0: 100 to 600. `payload`, `replace`, `real`, `failures`, `messages`, `horizon`: as in
    `wf.testing.always`. bad: which of lost, taken, again, jumps, canceled and fails may be.
    holds: is asked about the Story of each run that a client triggered.

    Besides, after each seed: all invariants of the store hold, every trigger that was answered has
    its run, all histories replay and a replay does nothing outside, no run is parked, steps with
    `at_most_once` began once. Raises what `holds` raised, or AssertionError, with notes that tell
    the seed and what happened in it.
    """
    wrong = set(bad) - set(BAD)
    if wrong:
        raise DeclarationError(f"bad={sorted(wrong)} is not known: there are {', '.join(BAD)}")
    given = [tasks] if isinstance(tasks, Runnable) else list(tasks)
    by_task = payload if isinstance(payload, Mapping) else dict.fromkeys(given, payload)
    stand_ins = {id_of(target): stand_in_of(by) for target, by in (replace or {}).items()}
    habits = Habits(
        given,
        _known(given, StandIns(stand_ins)),
        {id_of(task): drawn for task, drawn in by_task.items() if drawn is not None},
        stand_ins,
        None if real is True else frozenset(map(id_of, real or ())),
        {id_of(target): errors for target, errors in (failures or {}).items()},
        messages or {},
        can_fail="fails" in set(bad),
    )
    told = Simulated()
    memory = MemoryDatabase()
    odds = partial(_odds, frozenset(KINDS) - set(bad))
    make = partial(Simulation, moves=moves, odds=odds, horizon_ms=milliseconds(horizon))
    with _quiet():
        for seed in range(seeds) if isinstance(seeds, int) else seeds:
            memory.empty()
            report = _Seed(seed, habits, holds, partial(make, memory=memory)).run()
            told = Simulated(
                told.seeds + 1,
                told.moves + report.moves,
                told.faults + report.faults,
                told.runs + report.statuses,
            )
    return told


def _odds(never: frozenset[str], random: Random) -> Any:
    return without(drawn_odds(random), never)


def _known(tasks: Sequence[AnyRunnable], stand_ins: StandIns) -> Registry:
    """With all that stands beside them."""
    registry = Registry()
    for task in tasks:
        learn(registry, task)
    return Registry(map(stand_ins.of_task, registry)).with_hooks()


@contextmanager
def _quiet() -> Generator[None]:
    """What workers have to say of so many faults is no news."""
    log = logging.getLogger("wf")
    level = log.level
    log.setLevel(logging.CRITICAL + 1)
    try:
        yield
    finally:
        log.setLevel(level)


class _Seed:
    """One simulation, and what is asked about it."""

    def __init__(
        self,
        seed: int,
        habits: Habits,
        holds: Invariant | None,
        make: Callable[..., Simulation],
    ) -> None:
        self._holds = holds
        self._effects = Effects()
        self._drawn = Drawn(seed, habits, self._effects)
        self._simulation = make(seed, self._drawn, self._wrong)
        self._drawn.simulation = self._simulation
        self._bad: Story | None = None
        store = WatchedStore(self._simulation.store, lambda _, call: call())
        store.clock = self._simulation.clock.now
        self._client = Client(store=store, environment=ENVIRONMENT)

    def run(self) -> Report:
        clock = self._simulation.clock.now
        connections.push_process_wide(self._client)
        test_clocks.append(clock)
        try:
            with noting(self._effects), outside_loop():
                report = self._simulation.run()
            assert not report.breaches, "\n".join(report.breaches)
        except Exception as error:
            error.add_note(self._told())
            raise
        finally:
            test_clocks.remove(clock)
            connections.pop_process_wide(self._client)
        return report

    def _wrong(self, store: Store) -> Iterator[str]:
        yield from map(str, audit(store))
        again = Effects()
        with noting(again):
            yield from map(str, replay_all(store, self._drawn.registry))
        for effect in again.all:
            yield f"a body does {effect.what!r} itself, outside of any step: a replay does it again"
        there = set(self._simulation.tables.ids("SELECT id FROM runs"))
        for new in self._drawn.asked:
            if new.id not in there:
                continue  # its trigger was lost
            story = self._story(new)
            if any(life.view.blocked is not None for life in story.runs):
                self._bad = self._bad or story
            elif self._holds is not None:
                self._bad = story
                self._holds(story)
                self._bad = None

    def _told(self) -> str:
        return repr(self._bad) if self._bad is not None else self._again

    @property
    def _again(self) -> str:
        seed = self._simulation.report.seed
        return f"to see it again: the same call of wf.testing.simulate with seeds=[{seed}]"

    def _story(self, new: NewRun) -> Story:
        family = [new.id, *self._below(new.id)]
        names = {show("run", one) for one in family}
        lives: list[Life] = []
        for one in family:
            view = self._client.runs.retrieve(show("run", one))
            history = self._client.runs.history(view.id)
            lives.append(Life(view, history, story_of(history, view.output)))
        begin = round(lives[0].view.created_at.timestamp() * 1_000)
        end = lives[0].view.ended_at
        return Story(
            new.task,
            json.loads(new.payload),
            lives,
            Effects([one for one in self._effects.all if one.run in names]),
            [call for call in self._drawn.stand_ins.calls if call.run in names],
            list(self._lines(set(family), begin)),
            (),
            timedelta(milliseconds=self._simulation.clock.now() - begin)
            if end is None
            else end - lives[0].view.created_at,
            [self._again],
        )

    def _below(self, root: bytes) -> list[bytes]:
        """Parents are older than their children."""
        family = [root]
        for run_id, parent in self._simulation.tables.rows(
            "SELECT id, parent_id FROM runs WHERE parent_id IS NOT NULL ORDER BY id"
        ):
            if parent in family:
                family.append(run_id)
        return family[1:]

    def _lines(self, family: set[bytes], begin_ms: int) -> Iterator[tuple[int, str]]:
        """What happened to these runs, and to all."""
        for at, words in self._simulation.report.notes:
            ids = {word for word in words if isinstance(word, bytes)}
            if at >= begin_ms and (not ids or ids & family):
                yield at - begin_ms, " ".join(str(word) for word in words if word not in ids)
