"""What grows: the disk, and the cost with what is there already."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import wf
from benchmarks.bench import Bench, finish, orders, results, trigger
from benchmarks.figures import Figure, rate
from benchmarks.filled import Database, copy_run
from benchmarks.tasks import Count, Order, limited, many_steps, one_step
from benchmarks.workloads.throughput import RUNS_OF_STEPS, triggers_of_many
from wf.history.ids import parse


def disk(bench: Bench) -> Iterator[Figure]:
    """Bytes on disk that a run of one step, and each step of a long one, add to a database in use.

    What is measured is done twice, and the second time counts: rows of runs under way, and old
    versions of others, take room that the next runs use again. With indexes, without the log of
    Postgres; measured when worker and client are gone. The worker warms up with one run: those runs
    would be counted, too."""
    runs = orders(bench.sizes.runs)
    yield Figure("H", "a run of one step", _added(bench, one_step, runs) / len(runs), "B")
    count = Count(count=bench.sizes.steps)
    steps = RUNS_OF_STEPS * count.count
    yield Figure("H", "a step", _added(bench, many_steps, [count] * RUNS_OF_STEPS) / steps, "B")


def _added(bench: Bench, task: wf.Runnable[..., Any], payloads: Sequence[Any]) -> int:
    """Bytes of these runs, where as many have been before."""
    before = 0
    for _ in range(2):
        before = bench.disk_bytes
        with bench.client() as client, bench.worker(warm=1):
            finish(client, task, payloads)
    return bench.disk_bytes - before


def scaling(bench: Bench) -> Iterator[Figure]:
    """More processes, and more that is there already.

    First what a run and a trigger cost with many finished runs, and then with many that wait in a
    paused queue for a task that the worker knows (copies of one that it ran): multiples of their
    cost in a database with few.
    Then, on Postgres, runs of one step with 1, 2, 4 worker processes, and triggers of 1 to 16
    clients."""
    yield from _filling(bench)
    if bench.is_sqlite:
        return
    payloads = orders(bench.sizes.runs)
    with bench.client() as client:
        for processes in bench.sizes.workers:
            with bench.worker(processes):
                name = f"runs, {processes} worker{'s' if processes > 1 else ''}"
                yield rate("J", name, len(payloads), lambda: finish(client, one_step, payloads))
    for clients in sorted({1, min(4, bench.sizes.clients), bench.sizes.clients}):
        yield from triggers_of_many(bench, clients, "J")


def _filling(bench: Bench) -> Iterator[Figure]:
    with bench.client() as client, bench.worker():
        finish(client, limited, orders(1))
        ended = client.trigger(one_step, Order(id=0))
        ended.result()
        few = _costs(bench, client)
        there = 0
        for count in bench.sizes.finished:
            _copy(bench, ended.id, count - there)
            there = count
            yield from _times(bench, client, few, f"{count:,} finished")
        client.queues.pause("limited")
        _copy(bench, client.trigger(limited, Order(id=0)).id, bench.sizes.queued)
        yield from _times(bench, client, few, f"{bench.sizes.queued:,} queued")


def _copy(bench: Bench, run: str, count: int) -> None:
    """So many runs like this one, beside it: millions take minutes, where a worker's take hours."""
    beside = Database(bench.url)
    copy_run(beside, parse("run", run), [""] * count)
    beside.settle()


def _times(
    bench: Bench, client: wf.Client, first: tuple[float, float], what: str
) -> Iterator[Figure]:
    run, made = _costs(bench, client)
    yield Figure("J", f"cost of a run, {what}", run / first[0], "x")
    yield Figure("J", f"cost of a trigger, {what}", made / first[1], "x")


def _costs(bench: Bench, client: wf.Client) -> tuple[float, float]:
    """Seconds: of a run from trigger to end, and of a trigger alone, in batches. The best of three:
    what else the machine does only adds."""
    payloads = orders(min(2_000, bench.sizes.runs))
    runs: list[float] = []
    made: list[float] = []
    for _ in range(1 if bench.is_short else 3):
        begun = time.perf_counter()
        triggered = trigger(client, one_step, payloads)
        made.append(time.perf_counter() - begun)
        results(triggered)
        runs.append(time.perf_counter() - begun)
    return min(runs) / len(payloads), min(made) / len(payloads)
