"""Whatever several workers and people do with queues: no limit is ever exceeded, and when all
workers have looked, no slot is free while somebody waits for it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Final

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.stores.world import PYTHON, World
from wf.history.audit import audit
from wf.history.events import Status
from wf.history.limits import CANCEL_PRIORITY
from wf.history.model import Activation, Claim, Lease, Reason, WorkerInfo
from wf.history.queues import Limits, QueueChange
from wf.history.turns import Ending

TASKS: Final = ("a", "b")
KEYS: Final = ("", "x", "y", "z")
QUEUES: Final = ("p", "q")
RATE_MS: Final = 60_000
IN_THE_FUTURE_MS: Final = 1_000_000
ROUNDS: Final = 60
"""Claims of each worker until nothing is left to be looked at: more than there are runs."""
_numbers: Final = count()

limits: Final = st.builds(
    Limits,
    st.one_of(st.none(), st.integers(1, 4)),
    st.integers(1, 3),
    st.one_of(st.none(), st.integers(1, 4)),
    st.just(RATE_MS),
    st.one_of(st.none(), st.integers(1, 2)),
    st.just(RATE_MS),
)
moves: Final = st.lists(
    st.tuples(
        st.sampled_from(
            ["trigger"] * 5
            + ["work"] * 6
            + ["wait"] * 2
            + ["cancel", "pause", "resume", "limit", "join", "die", "leave", "time", "rest"]
        ),
        st.integers(0, 1_000),
    ),
    min_size=5,
    max_size=40,
)


@dataclass
class Life:
    """An environment of its own in the store. `number` of a move chooses."""

    world: World
    limits: dict[str, Limits]
    environment: str = field(default_factory=lambda: f"env{next(_numbers)}")
    workers: dict[int, Lease] = field(default_factory=dict[int, Lease])
    tasks: dict[int, tuple[str, ...]] = field(default_factory=dict[int, tuple[str, ...]])
    held: dict[bytes, tuple[int, int]] = field(default_factory=dict[bytes, tuple[int, int]])
    """Run: its worker, and the last seq of its history."""
    where: dict[bytes, tuple[str, str]] = field(default_factory=dict[bytes, tuple[str, str]])
    starts: list[tuple[int, str, str]] = field(default_factory=list[tuple[int, str, str]])
    paused: set[str] = field(default_factory=set[str])

    def __post_init__(self) -> None:
        self.world.store.declare_queues(self.environment, [*self.limits.items()])
        self.join(0)

    def trigger(self, number: int) -> None:
        runs = [
            self.world.new(
                TASKS[(number + n) % 2],
                environment=self.environment,
                queue=QUEUES[(number // 2 + n) % 2],
                key=KEYS[(number // 4 + n) % 4],
                priority=number % 3,
                start_at=self.world.now() + 1_000 if number % 7 == 0 else 0,
            )
            for n in range(1 + number % 5)
        ]
        self.where |= {run.id: (run.queue, run.key) for run in runs}
        self.world.store.trigger(runs)

    def work(self, number: int) -> None:
        """A worker ends some of its runs, and claims."""
        if self.workers:
            worker = sorted(self.workers)[number % len(self.workers)]
            mine = sorted(run for run, (owner, _) in self.held.items() if owner == worker)
            self.commit(worker, [self.ending(run) for run in mine[: number % 4]], number % 6)

    def wait(self, number: int) -> None:
        """A worker lets a run go for a second."""
        if self.held:
            run = sorted(self.held)[number % len(self.held)]
            worker, _ = self.held.pop(run)
            due = self.world.now() + 1_000
            self.commit(worker, [Activation(run, 1, release=True, due_at=due)], number % 6)

    def cancel(self, number: int) -> None:
        runs = sorted(self.where)
        if runs:
            self.world.store.cancel([runs[number % len(runs)]], self.world.now())

    def pause(self, number: int) -> None:
        self.change(QUEUES[number % 2], QueueChange(paused=True))
        self.paused.add(QUEUES[number % 2])

    def resume(self, number: int) -> None:
        self.change(QUEUES[number % 2], QueueChange(paused=False))
        self.paused.discard(QUEUES[number % 2])

    def limit(self, number: int) -> None:
        name = QUEUES[number % 2]
        self.limits[name] = replace(
            self.limits[name], concurrency_limit=1 + number % 5, per_key_limit=1 + number % 3
        )
        self.change(name, QueueChange(limits=self.limits[name]))

    def change(self, name: str, change: QueueChange) -> None:
        assert self.world.store.change_queue(self.environment, name, change)

    def join(self, number: int) -> None:
        if len(self.workers) < 3:
            tasks = [TASKS, TASKS[:1], TASKS[1:]][number % 3]
            lease = self.world.store.join(self.environment, WorkerInfo(tasks=tasks))
            self.workers[lease.worker], self.tasks[lease.worker] = lease, tasks

    def die(self, number: int) -> None:
        if self.workers:
            worker = sorted(self.workers)[number % len(self.workers)]
            self.world.store.take_over(self.world.now(), IN_THE_FUTURE_MS, [worker])
            self.gone(worker)

    def leave(self, number: int) -> None:
        if self.workers:
            worker = sorted(self.workers)[number % len(self.workers)]
            self.world.store.leave(self.workers[worker], self.world.now())
            self.gone(worker)

    def gone(self, worker: int) -> None:
        del self.workers[worker]
        self.held = {run: one for run, one in self.held.items() if one[0] != worker}

    def time(self, number: int) -> None:
        self.world.skipped_ms += [1_500, RATE_MS // 2, RATE_MS + 1][number % 3]

    def rest(self, number: int = 0) -> None:
        """All workers look until there is nothing more to look at: nobody waits for a free slot."""
        for _ in range(ROUNDS):
            busy = [self.commit(worker, [], 100) for worker in self.workers]
            if not any(busy):
                break
        else:
            raise AssertionError("the claims do not come to rest")
        self.check_rest()

    def commit(self, worker: int, activations: list[Activation], limit: int) -> bool:
        """True: something was handed out, or there is more to look at."""
        before = self.slots()
        for activation in activations:
            self.held.pop(activation.run_id, None)
        lease, now = self.workers[worker], self.world.now()
        claim = Claim(limit, self.tasks[worker], PYTHON)
        answer = self.world.store.commit(lease, activations, claim, now)
        for claimed in answer.claimed:
            run = claimed.run.id
            if claimed.reason is Reason.NEW:
                self.starts.append((now, *self.where[run]))
            self.held[run] = worker, claimed.seq
            assert self.where[run][0] not in self.paused or claimed.inbox
        self.check_limits(before)
        return answer.again or bool(answer.claimed)

    def ending(self, run: bytes) -> Activation:
        end = Ending(Status.COMPLETED, b"1", None, self.world.now())
        return Activation(run, 1, ending=end)

    # -- what must be true

    def query(self, sql: str) -> list[tuple[Any, ...]]:
        store: Any = self.world.store
        return store._query(sql, [self.environment])

    def slots(self) -> Counter[tuple[str, str]]:
        rows = self.query("SELECT queue, key FROM owned WHERE environment = ?")
        return Counter((queue, key) for queue, key in rows)

    def check_limits(self, before: Counter[tuple[str, str]]) -> None:
        """More slots than the limit are held only from before it was lowered."""
        after = self.slots()
        assert after.total() == len(self.held)
        for name, limit in self.limits.items():
            was = sum(number for (queue, _), number in before.items() if queue == name)
            most = limit.concurrency_limit
            held = sum(number for (queue, _), number in after.items() if queue == name)
            assert most is None or held <= max(most, was)
        for (name, key), held in after.items():
            assert not key or held <= max(self.limits[name].per_key_limit, before[name, key])
        for name, limit in self.limits.items():
            ats = [at for at, queue, _ in self.starts if queue == name]
            assert most_within(ats) <= (limit.rate_limit or len(ats))
            for key in KEYS[1:]:
                ats = [at for at, queue, other in self.starts if (queue, other) == (name, key)]
                assert most_within(ats) <= (limit.key_rate_limit or len(ats))

    def check_rest(self) -> None:
        slots = self.slots()
        marks = self.query(
            "SELECT queue, key, task, reason, priority FROM ready"
            " WHERE environment = ? AND owner IS NULL AND queue <> ''"
        )
        known = {task for worker in self.workers for task in self.tasks[worker]}
        for name, key, task, reason, priority in marks:
            limit = self.limits[name]
            held = sum(number for (queue, _), number in slots.items() if queue == name)
            is_full = limit.concurrency_limit is not None and held >= limit.concurrency_limit
            is_full |= bool(key) and slots[name, key] >= limit.per_key_limit
            is_full |= reason == 0 and self.rate_is_full(name, key)
            is_paused = name in self.paused and priority != CANCEL_PRIORITY
            assert task not in known or is_paused or is_full, (name, key, task)

    def rate_is_full(self, name: str, key: str) -> bool:
        limit, since = self.limits[name], self.world.now() - RATE_MS
        recent = [(queue, other) for at, queue, other in self.starts if at > since]
        of_queue = sum(queue == name for queue, _ in recent)
        of_key = sum(one == (name, key) for one in recent)
        return (limit.rate_limit is not None and of_queue >= limit.rate_limit) or (
            bool(key) and limit.key_rate_limit is not None and of_key >= limit.key_rate_limit
        )


def most_within(ats: list[int]) -> int:
    """Of these times, how many lie within one window."""
    return max((sum(at <= other < at + RATE_MS for other in ats) for at in ats), default=0)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
    phases=[Phase.explicit, Phase.reuse, Phase.generate, Phase.shrink],
)
@given(st.tuples(limits, limits), moves)
def test_no_limit_is_exceeded_and_no_slot_stays_free(
    world: World, two: tuple[Limits, Limits], moves: list[tuple[str, int]]
) -> None:
    life = Life(world, dict(zip(QUEUES, two, strict=True)))
    world.skipped_ms = 0
    for name, number in moves:
        move: Callable[[int], None] = getattr(life, name)
        move(number)
    for name in QUEUES:
        life.change(name, QueueChange(paused=False))
    life.paused.clear()
    life.join(0)
    life.rest()
    assert [breach for breach in audit(world.store) if breach.invariant != "I12"] == []
    world.store.take_over(world.now(), IN_THE_FUTURE_MS, [*life.workers])
