"""What clients, people and vendors do in simulations of somebody's tasks: drawn from annotations,
and the same in every process."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from hypothesis import strategies as st

from wf.engine.registry import AnyRunnable, Registry
from wf.engine.steps import StepOrder
from wf.history.errors import Abort, DeclarationError, PayloadError
from wf.history.ids import parse
from wf.history.messages import NewMessage
from wf.history.model import NewRun, Run
from wf.testing.asked import awaited_schema
from wf.testing.effects import Effect, Effects
from wf.testing.ledger import begun
from wf.testing.properties import payloads_of, results_of
from wf.testing.schemas import values_of
from wf.testing.simulation import ENVIRONMENT, Simulation
from wf.testing.stand_ins import StandIn, StandIns, examples_of, raising, returning, with_fn
from wf.testing.tables import Tables
from wf.testing.telling import Failure, drawn_of, failing_after

FAILING: Final = (0.0, 0.05, 0.1, 0.3)
"""How many attempts of steps fail: each seed has one of these."""
FOR_GOOD: Final = 0.2
"""Of those that fail."""

Strategy = st.SearchStrategy[Any]


@dataclass(frozen=True)
class Habits:
    """What holds in all seeds. `payloads`, `stand_ins`, `failures`, `messages`: by id or name;
    `real`: ids of steps whose own code runs, None: all."""

    tasks: Sequence[AnyRunnable]
    registry: Registry
    payloads: Mapping[str, Strategy]
    stand_ins: Mapping[str, StandIn]
    real: frozenset[str] | None
    failures: Mapping[str, Sequence[BaseException]]
    messages: Mapping[str, Strategy]
    can_fail: bool
    _pools: dict[object, list[Any]] = field(default_factory=dict[object, list[Any]])

    def payload(self, random: Random, task: AnyRunnable) -> bytes:
        strategy = self.payloads[task.id] if task.id in self.payloads else payloads_of(task)
        pool = self._pool(("payload", task.id), strategy, task.signature.encode_payload)
        return task.signature.encode_payload(random.choice(pool))

    def value(self, random: Random, schema: bytes) -> Any:
        """Of a JSON Schema."""
        return random.choice(self._pool(schema, values_of(json.loads(schema))))

    def message(self, random: Random, name: str, schema: bytes | None) -> Any:
        if name in self.messages:
            return random.choice(self._pool(("message", name), self.messages[name]))
        return self.value(random, schema or b"null")

    def code_of(self, random: Random, step: AnyRunnable) -> StandIn:
        """What runs for an attempt of a step where it does not fail."""
        stand_in = self.stand_ins.get(step.id)
        strategy = drawn_of(stand_in)
        if strategy is None and stand_in is not None:
            return stand_in
        if strategy is None and (self.real is None or step.id in self.real):
            return step.fn
        results = results_of(step) if strategy is None else strategy
        pool = self._pool(("result", step.id), results, step.signature.encode_result)
        return returning(random.choice(pool))

    def _pool(self, key: object, strategy: Strategy, encode: Any = None) -> list[Any]:
        """Some values that JSON can carry."""
        if key not in self._pools:
            drawn = self._pools[key] = []
            for value in examples_of(strategy):
                with suppress(PayloadError):
                    if encode is not None:
                        encode(value)
                    drawn.append(value)
            if not drawn:
                raise DeclarationError(f"no value of {strategy!r} can be told in JSON")
        return self._pools[key]


class Drawn:
    """The `Scenario` of one seed."""

    def __init__(self, seed: int, habits: Habits, effects: Effects) -> None:
        self.registry = habits.registry
        self.stand_ins = StandIns(only_tasks=True)
        self.effects = effects
        effects.told = self._told
        self.simulation: Simulation | None = None
        self.asked: list[NewRun] = []
        """What clients triggered, or tried to."""
        self._habits = habits
        self._random = Random(seed)
        self._failing = self._random.choice(FAILING) if habits.can_fail else 0.0
        self._schemas: dict[str, bytes] = {}

    # -- clients and people

    def new_run(self, random: Random, now: int) -> NewRun:
        task = random.choice(self._habits.tasks)
        payload = self._habits.payload(random, task)
        new = NewRun(id=b"", environment=ENVIRONMENT, task=task.id, payload=payload, created_at=now)
        self.asked.append(new)
        return new

    def token_data(self, random: Random, schema: bytes) -> bytes:
        return json.dumps(self._habits.value(random, schema)).encode()

    def message(self, random: Random, tables: Tables, number: int) -> NewMessage | None:
        """To somebody who waits for one; where no worker has the body, its type is not known."""
        waiting = tables.rows("SELECT run_id, name FROM listening ORDER BY run_id, name")
        if not waiting:
            return None
        run_id, name = random.choice(waiting)
        schema = self._schema_of(run_id, name)
        if schema is None and name not in self._habits.messages:
            return None
        data = self._habits.message(random, name, schema)
        return NewMessage(run_id, name, json.dumps(data).encode())

    def _schema_of(self, run_id: bytes, name: str) -> bytes | None:
        for process in self._simulated.processes:
            schema = awaited_schema(process.worker.body_of(run_id), name)
            if schema is not None:
                self._schemas[name] = schema
        return self._schemas.get(name)

    # -- vendors

    def begins(self, order: StepOrder) -> None:
        """What runs is drawn: the code, a failure before it, or one after it."""
        self.stand_ins.take(order, self._simulated.clock.now())
        begun(order)
        step, random = order.runnable, self._random
        code, fails = self._habits.code_of(random, step), random.random()
        how = ""
        if fails < self._failing:
            errors = self._habits.failures.get(step.id) or [Failure(f"{step.id} failed")]
            error = random.choice(errors)
            if fails < self._failing * FOR_GOOD:
                error = Abort(f"{step.id} failed for good")
            is_after = random.random() < 0.5
            code = failing_after(code, error) if is_after else raising(error)
            how = f" and fails{' then' if is_after else ''} with {error!r}"
        order.runnable = with_fn(step, code)
        again = f", attempt {order.info.attempt}" if order.info.attempt > 1 else ""
        self._simulated.note(f"    {step.id} runs{again}{how}", order.run_id)

    def _told(self, effect: Effect) -> None:
        run = [parse("run", effect.run)] if effect.run else []
        self._simulated.note(f"    outside: {effect.what} {effect.value!r}", *run)

    # -- what must come of it

    def wrong(self, run: Run, canceled: bool) -> str:
        return f"is parked: {run.blocked.detail}" if run.blocked is not None else ""

    @property
    def _simulated(self) -> Simulation:
        assert self.simulation is not None, "the simulation is set when it is made"
        return self.simulation
