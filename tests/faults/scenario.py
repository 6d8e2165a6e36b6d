"""What clients ask of plans in the mill, and what must come of it."""

from __future__ import annotations

import json
from random import Random

from tests.faults.drawn import QUEUES, random_plan, random_queue
from tests.faults.letters import MESSAGE_NAMES
from tests.faults.model import Plan, fits, fits_child
from tests.faults.plans import REGISTRY, follow
from wf.engine.steps import StepOrder
from wf.history.events import Status
from wf.history.hooks import is_of_hooks
from wf.history.messages import NewMessage
from wf.history.model import Debounced, NewRun, Run
from wf.testing.clients import not_ended
from wf.testing.mail import FIRST_MESSAGE
from wf.testing.programs import started
from wf.testing.tables import Tables


class Plans:
    """A `Scenario` of the simulation: plans at random."""

    def __init__(self) -> None:
        self.registry = REGISTRY

    def new_run(self, random: Random, now: int) -> NewRun:
        key = random.choice(["", "", "k1", "k2"])
        plan = random_plan(Random(key) if key else random)
        queue, lane = random_queue(random)
        delay, debounce = 5_000 if random.random() < 0.1 else 0, None
        if not key and random.random() < 0.1:
            delay = 4_000
            debounce = Debounced(random.choice("de"), delay, random.random() < 0.5, 9_000)
        return NewRun(
            id=b"",
            environment="dev",
            task="follow",
            payload=_payload(plan),
            created_at=now,
            start_at=now + delay if delay else 0,
            debounce=debounce,
            queue=queue,
            key=lane,
            limits=QUEUES.get(queue),
            ttl_ms=20_000 if random.random() < 0.1 else 0,
            idempotency_key=key,
            options=b'{"max_duration": 6000}' if random.random() < 0.1 else b"{}",
            priority=random.randint(0, 2),
        )

    def token_data(self, random: Random, schema: bytes) -> bytes:
        return b"7"

    def message(self, random: Random, tables: Tables, number: int) -> NewMessage | None:
        """Numbered, so that it is seen in which order they are read."""
        runs = tables.live_runs()
        if not runs:
            return None
        data = str(FIRST_MESSAGE + number).encode()
        return NewMessage(random.choice(runs), random.choice(MESSAGE_NAMES), data)

    def begins(self, order: StepOrder) -> None:
        """Steps say for themselves what they did."""

    def wrong(self, run: Run, canceled: bool) -> str:
        if not run.status.ended:
            return not_ended(run)
        if run.status is Status.COMPLETED:
            return "" if is_of_hooks(run.task) else _wrong_output(run)
        if run.status is Status.TIMED_OUT:
            return "" if b"max_duration" in run.options else "it had no max_duration"
        if run.status is Status.EXPIRED:
            return "" if run.ttl_ms else "it had no ttl"
        if run.status is Status.FAILED and run.task == "broken":
            return "" if b"KeyError" in (run.failure or b"") else f"failed by {run.failure!r}"
        if run.status is Status.CANCELED and (run.parent_id or run.schedule_id) is not None:
            return ""
        return f"{run.status} {run.failure!r} of {run.payload!r}"


def _payload(plan: Plan) -> bytes:
    return follow.signature.encode_payload(plan)


def _wrong_output(run: Run) -> str:
    args, _ = REGISTRY.get(run.task).signature.decode_call(run.payload)
    output = json.loads(run.output or b"null")
    match run.task:
        case "follow":
            fine = fits(args[0], output)
        case started.id:
            fine = output == args[0].place
        case "knocks":
            fine = output == args[0].timestamp.minute
        case "follow-generator":
            fine = fits_child(["generator"], args[0], output)
        case "flaky" | "flaky-fresh" | "follow-again":
            fine = fits(args[0][1], output)
        case _:
            fine = False
    return "" if fine else f"{run.payload!r} gave {run.output!r}"
