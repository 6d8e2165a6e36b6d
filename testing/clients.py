"""The clients of a simulation: what they ask for, and what they were told."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final, Protocol

from wf.engine.registry import Registry
from wf.engine.steps import StepOrder
from wf.history.errors import AlreadyEnded, NotFound, StoreUnavailable
from wf.history.ids import derived_id
from wf.history.messages import NewMessage
from wf.history.model import NewRun, Run
from wf.history.store import Store
from wf.testing.clock import VirtualClock
from wf.testing.tables import Tables
from wf.testing.watched import Cut

LOST: Final = (StoreUnavailable, Cut)
"""What a client sees of a world that fails; it does not know whether anything has happened."""


class Scenario(Protocol):
    """What clients do, and what must come of it."""

    registry: Registry

    def new_run(self, random: Random, now: int) -> NewRun:
        """A run that a client triggers; its id is filled in by the simulation."""
        ...

    def token_data(self, random: Random, schema: bytes) -> bytes:
        """What somebody completes a token of that JSON Schema with."""
        ...

    def message(self, random: Random, tables: Tables, number: int) -> NewMessage | None:
        """The number-th message that a client sends; None: there is nobody to send one to."""
        ...

    def begins(self, order: StepOrder) -> None:
        """An attempt of a step is about to run."""
        ...

    def wrong(self, run: Run, canceled: bool) -> str:
        """What is wrong with what became of this run ("": nothing). `canceled`: a client canceled
        some run of this simulation."""
        ...


def not_ended(run: Run) -> str:
    """What is to say of a run that should have."""
    why = run.blocked.detail if run.blocked is not None else "nothing wakes it"
    return f"it has not ended ({run.status}): {why}"


class Clients:
    """All clients of one seed: each method is a call that one of them makes. `store` may fail them;
    `note` writes a line of the trace."""

    def __init__(
        self,
        seed: int,
        scenario: Scenario,
        store: Store,
        tables: Tables,
        clock: VirtualClock,
        note: Callable[..., None],
    ) -> None:
        self._seed = seed.to_bytes(16, "big")
        self._scenario = scenario
        self._store = store
        self._tables = tables
        self._clock = clock
        self._note = note
        self._sent = 0
        self._asked: dict[bytes, NewRun] = {}
        """Runs that a client wants: maybe they are there, maybe not yet."""
        self.acknowledged: set[bytes] = set()
        self.canceled: set[bytes] = set()

    def trigger(self, random: Random) -> None:
        """A new run, or one asked for before whose answer was lost."""
        waiting = self._unanswered()
        if waiting and random.random() < 0.5:
            new = random.choice(waiting)
        else:
            now = self._clock.now()
            new = self._scenario.new_run(random, now)
            new.id = derived_id(now, self._seed, 0, len(self._asked))
            self._asked[new.id] = new
        self._ask(self._store, new)

    def _unanswered(self) -> list[NewRun]:
        return [run for run_id, run in self._asked.items() if run_id not in self.acknowledged]

    def _ask(self, store: Store, new: NewRun) -> None:
        try:
            [(run_id, how)] = store.trigger([new])
        except LOST:
            return
        self._note("a client triggers it:", how.name.lower(), run_id)
        self.acknowledged.add(run_id)
        if run_id != new.id:
            self._asked.pop(new.id, None)

    def insist(self, store: Store) -> None:
        """Whoever had no answer asks once more; `store` fails nobody."""
        for new in self._unanswered():
            self._ask(store, new)

    def cancel(self, random: Random) -> None:
        runs = self._tables.live_runs()
        if not runs:
            return
        run_id = random.choice(runs)
        self.canceled.add(run_id)
        try:
            self._store.cancel([run_id], self._clock.now())
        except LOST:
            return
        self._note("a client cancels it", run_id)

    def end_token(self, random: Random) -> None:
        tokens = self._tables.rows("SELECT id, schema, run_id FROM tokens ORDER BY id")
        if not tokens:
            return
        token_id, schema, run_id = random.choice(tokens)
        status = "COMPLETED" if random.random() < 0.9 else "CANCELED"
        data = self._scenario.token_data(random, schema) if status == "COMPLETED" else None
        try:
            self._store.end_token(token_id, status, data, self._clock.now())
        except (*LOST, AlreadyEnded, NotFound):
            return
        self._note("a token is", status, *([run_id] if run_id else []))

    def send(self, random: Random) -> None:
        self._sent += 1
        message = self._scenario.message(random, self._tables, self._sent)
        if message is None:
            return
        try:
            [outcome] = self._store.send([message], self._clock.now())
        except LOST:
            return
        self._note("a client sends", message.name, outcome.name, message.run_id)
