"""What a claim, a group's commit, a trigger and a page of a list cost beside a million runs, as
multiples of what they cost beside a thousand.

    python -m benchmarks.backlog [--runs 1000000] [--stores sqlite,postgres] [--only "ended"]

CPU of this process and of the server's processes that work for it, not time: the machine is shared.
No engine; what waits and what has ended are copies of runs that the store wrote (`filled`).
"""

from __future__ import annotations

import argparse
import time
from collections import defaultdict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import count
from statistics import median
from tempfile import TemporaryDirectory
from typing import Final, NamedTuple, TypeAlias

import psycopg

from benchmarks.filled import Database, copy_run
from benchmarks.machine import computed_seconds, use_a_disk
from benchmarks.store import ENVIRONMENT, TASK, join, one_step
from benchmarks.subjects import STORES, database
from tests import postgres_server
from wf.history.events import Status
from wf.history.ids import new_id
from wf.history.lanes import STIRS
from wf.history.listing import oldest
from wf.history.model import Claim, Claimed, Lease, NewRun, RunFilter
from wf.history.open import open_store
from wf.history.pruning import PRUNE_RUNS
from wf.history.queues import Limits
from wf.history.store import Store

FEW: Final = 1_000
MANY: Final = 1_000_000
GROUP: Final = 100
"""Runs of a trigger, a claim, a commit."""
ROUNDS: Final = 30
WARM: Final = 8
"""Rounds before that: the server makes its plans, and keeps them."""
QUEUE: Final = "mail"
LIMITS: Final = Limits(concurrency_limit=2 * GROUP)

Costs: TypeAlias = defaultdict[str, list[float]]
"""CPU seconds by what was done, each time that it was."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What stands in the tables. `keys`: how many, of a queue's; None: a key for each run; 0: no
    queue."""

    name: str
    keys: int | None = 0
    is_held: bool = False
    """The slot of the key is taken, and stays so."""
    has_ended: bool = False
    is_pruned: bool = False

    def key_of(self, number: int) -> str:
        return "" if self.keys == 0 else f"k{number % self.keys if self.keys else number}"


SHAPES: Final = (
    Shape("queued"),
    Shape("queued, 120 keys", keys=120),
    Shape("queued, a key each", keys=None),
    Shape("queued behind one key", keys=1, is_held=True),
    Shape("ended", has_ended=True),
    Shape("pruned", has_ended=True, is_pruned=True),
)


class Cost(NamedTuple):
    """CPU seconds, beside few runs and beside many."""

    shape: str
    name: str
    few: float
    many: float

    def __str__(self) -> str:
        few, many = self.few * 1_000, self.many * 1_000
        return (
            f"{self.shape:22}  {self.name:22}  {few:8.2f} ms  {many:8.2f} ms  {many / few:6.2f} x"
        )


class Bench:
    """A store with `runs` runs of this shape, and a worker that takes GROUP at a time."""

    def __init__(self, url: str, shape: Shape) -> None:
        self.url = url
        self.shape = shape
        self.store: Store = open_store(url)
        self.lease: Lease = join(self.store)
        self.numbers = count()
        self.middle = b""
        self.cpu = Cpu(url)

    def close(self) -> None:
        self.store.close()

    def trigger(self, how_many: int, *, is_free: bool = True) -> list[bytes]:
        """`is_free`: under keys of which no slot is held."""
        now, shape = self.store.now(), self.shape
        runs = [
            NewRun(new_id(now), ENVIRONMENT, TASK, b'{"user_id":"u1"}', created_at=now)
            for _ in range(how_many)
        ]
        for run in runs if shape.keys != 0 else []:
            run.queue, run.limits = QUEUE, LIMITS
            number = next(self.numbers)
            run.key = f"free{number}" if shape.is_held and is_free else shape.key_of(number)
        return [run_id for run_id, _ in self.store.trigger(runs)]

    def claim(self, limit: int = GROUP) -> Sequence[Claimed]:
        claim = Claim(limit, [TASK], "3.11")
        return self.store.commit(self.lease, [], claim, self.store.now()).claimed

    def end(self, claimed: Sequence[Claimed]) -> None:
        now = self.store.now()
        self.store.commit(self.lease, [one_step(one.run.id, now) for one in claimed], None, now)

    def fill(self, runs: int, costs: Costs) -> None:
        """What pruning cost is told."""
        shape, beside = self.shape, Database(self.url)
        (first,) = self.trigger(1, is_free=False)
        if shape.has_ended:
            self.end(self.claim(1))
        elif shape.is_held:
            self.claim(1)
            (first,) = self.trigger(1, is_free=False)
        self.middle = oldest(self.store.now() - runs // 2)
        copy_run(beside, first, [shape.key_of(next(self.numbers)) for _ in range(1, runs)])
        beside.settle()
        if shape.is_pruned:
            self.prune(costs)
        if shape.has_ended:
            self.trigger(FEW)
        for _ in range(runs // STIRS + 1 if shape.keys != 0 else 0):
            self.end(self.claim(1))  # what was stirred is looked at
        beside.settle()

    def prune(self, costs: Costs) -> None:
        following: RunFilter | None = RunFilter(ENVIRONMENT)
        while following is not None:
            with self.cpu.into(costs[f"look for {PRUNE_RUNS} to prune"]):
                ids, following = self.store.prunable(following, self.store.now())
            if ids:
                with self.cpu.into(costs[f"prune {PRUNE_RUNS}"]):
                    self.store.prune(ids)

    def round(self, costs: Costs) -> None:
        """CPU seconds of each, once more."""
        with self.cpu.into(costs["trigger"]):
            self.trigger(GROUP)
        with self.cpu.into(costs["claim"]):
            claimed = self.claim()
        with self.cpu.into(costs["group commit"]):
            self.end(claimed)
        with self.cpu.into(costs["page"]):
            newest = self.store.list_runs(RunFilter(ENVIRONMENT))
        with self.cpu.into(costs["page of the middle"]):
            self.store.list_runs(RunFilter(ENVIRONMENT, before=self.middle))
        with self.cpu.into(costs["page of queued"]):
            queued = self.store.list_runs(RunFilter(ENVIRONMENT, status=[Status.QUEUED]))
        assert len(claimed) == GROUP
        assert newest
        assert queued


class Cpu:
    """Seconds that this process and the server's processes for it compute."""

    def __init__(self, url: str) -> None:
        self._url = "" if url.startswith("sqlite") else url
        self._pids: list[int] = []

    @contextmanager
    def into(self, measured: list[float]) -> Generator[None]:
        if self._url and (len(measured) < 2):  # by then the store has all its connections
            self._pids = self._look()
        begun = self._now()
        yield
        measured.append(self._now() - begun)

    def _now(self) -> float:
        return time.process_time() + sum(map(computed_seconds, self._pids))

    def _look(self) -> list[int]:
        with psycopg.connect(self._url) as connection:
            rows = connection.execute(
                "SELECT pid FROM pg_stat_activity WHERE datname = current_database()"
                " AND application_name = 'wf'"
            ).fetchall()
        return [row[0] for row in rows]


def measure(urls: tuple[str, str], shape: Shape, runs: tuple[int, int], rounds: int) -> list[Cost]:
    """Beside few runs and beside many, in turns."""
    benches = [Bench(url, shape) for url in urls]
    try:
        costs = [defaultdict[str, list[float]](list) for _ in benches]
        for bench, number, cost in zip(benches, runs, costs, strict=True):
            bench.fill(number, cost)
        for number in range(-min(WARM, rounds), rounds):
            for bench, cost in zip(benches, costs, strict=True):
                bench.round(cost if number >= 0 else defaultdict(list))
        few, many = costs
        return [Cost(shape.name, name, median(few[name]), median(many[name])) for name in few]
    finally:
        for bench in benches:
            bench.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.backlog",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--runs", type=int, default=MANY)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--stores", default=",".join(STORES), help="sqlite, postgres or both")
    parser.add_argument("--only", default="", help="one of: " + "; ".join(s.name for s in SHAPES))
    given = parser.parse_args()
    use_a_disk()
    postgres_server.open_session()
    try:
        for store in given.stores.split(","):
            for shape in SHAPES:
                if given.only in ("", shape.name):
                    with two_databases(store) as urls:
                        for cost in measure(urls, shape, (FEW, given.runs), given.rounds):
                            print(f"{store:8}  {cost}", flush=True)
    finally:
        postgres_server.close_session()


@contextmanager
def two_databases(store: str) -> Generator[tuple[str, str]]:
    with (
        TemporaryDirectory(prefix="wf-backlog-") as few,
        TemporaryDirectory(prefix="wf-backlog-") as many,
        database(store, few) as few_url,
        database(store, many) as many_url,
    ):
        yield few_url, many_url


if __name__ == "__main__":
    main()
