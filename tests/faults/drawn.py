"""Plans at random, and the queues in which their runs stand."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Final

from tests.faults.letters import MESSAGE_NAMES
from tests.faults.model import Op, Plan
from wf.history.queues import Limits

QUEUES: Final = {
    "one": Limits(1),
    "keys": Limits(3, per_key_limit=1),
    "rates": Limits(rate_limit=2, rate_ms=3_000, key_rate_limit=1, key_rate_ms=2_000),
}


def random_queue(random: Random) -> tuple[str, str]:
    """A queue and a key of it; mostly none."""
    queue = random.choice(["", "", "", *QUEUES])
    return queue, random.choice(["", "a", "b"]) if queue else ""


def random_plan(random: Random, depth: int = 2, length: int = 4, *, keys: bool = True) -> Plan:
    """`keys`: some of its children have idempotency keys; theirs have none."""
    return [_random_op(random, depth, keys) for _ in range(random.randint(1, length))]


def _random_op(random: Random, depth: int, keys: bool) -> Op:
    value = random.randint(1, 9)
    leaves: list[Callable[[], Op]] = [
        lambda: ["work", value, random.choice([0, 0, 0, 1, 3])],
        lambda: ["work", value, 0],
        lambda: ["sync", value, random.choice([0, 0, 1])],
        lambda: ["start", value, random.choice([0, 0, 1]), random.random() < 0.5],
        lambda: ["once", value],
        lambda: ["say", value, random.choice([0, 0, 1, 3])],
        lambda: ["tell", value],
        lambda: ["tell", value],
        lambda: ["slow", random.choice([1, 3, 8])],
        lambda: ["doomed"],
        lambda: ["sleep", random.choice([0, 1, 500, 5_000, 30_000])],
        lambda: ["nap", random.choice([10, 2_000, 20_000])],
        lambda: ["token", random.choice([1_000, 20_000, 60_000])],
        lambda: ["ids"],
        lambda: ["hear", random.choice(MESSAGE_NAMES), random.choice([1_000, 20_000, 60_000])],
    ]

    def plan() -> Plan:
        return random_plan(random, depth - 1, 2, keys=keys)

    def plans() -> list[Plan]:
        return [plan() for _ in range(random.randint(2, 3))]

    def key() -> tuple[str, Plan]:
        name = random.choice("abcd")
        return name, random_plan(Random(name), 1, 2, keys=False)

    nodes: list[Callable[[], Op]] = [
        lambda: ["all", plans()],
        lambda: ["group", plans()],
        lambda: ["race", plans()],
        lambda: ["within", random.choice([100, 3_000, 30_000]), plan()],
        lambda: ["child", plan()],
        lambda: ["lined", random.choice([*QUEUES]), random.choice(["", "a", "b"]), plan()],
        lambda: ["handle", "", plan()],
        lambda: ["spawn", plan()],
        lambda: ["batch_later", plans()],
        lambda: ["write", random.choice(MESSAGE_NAMES), value, plan()],
        lambda: ["again", random.randint(1, 3), plan()],
        lambda: ["flaky", random.choice(["keep", "fresh"]), random.randint(0, 2), plan()],
        lambda: ["broken", plan()],
        lambda: ["undo", plan(), value],
        lambda: ["generator", [random.choice([["work", value], ["sleep", 700]])] * 2],
    ]
    if keys:
        nodes += [
            lambda: ["keyed", *key()],
            lambda: ["handle", *key()],
            lambda: ["batch", [[*key()] if random.random() < 0.4 else ["", plan()] for _ in "12"]],
        ]
    choose = nodes if depth > 0 and random.random() < 0.55 else leaves
    return random.choice(choose)()
