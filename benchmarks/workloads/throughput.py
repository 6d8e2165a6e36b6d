"""How many in a second: runs, steps, children, triggers."""

from __future__ import annotations

import multiprocessing
from collections.abc import Iterator
from multiprocessing.synchronize import Barrier
from typing import Any

import wf
from benchmarks.bench import Bench, finish, orders, trigger
from benchmarks.figures import Figure, rate, seconds, until
from benchmarks.tasks import Count, Order, limited, many_children, many_steps, one_step

RUNS_OF_STEPS = 100
"""Of workload B."""


def one_step_runs(bench: Bench) -> Iterator[Figure]:
    """Runs of one step, triggered in batches of 500, to the end.

    From the first trigger until the client has all outputs, with one `wf worker` beside it. Again
    through a queue that has a limit. Then with a worker in the client's own process, the way other
    engines are driven. And as queues are measured: with all runs there before the `wf worker`
    starts, from the first one's start to the last one's end, as the database has them; nobody
    waits for outputs."""
    payloads = orders(bench.sizes.runs)
    with bench.client() as client:
        with bench.worker():
            yield rate("A", "runs", len(payloads), lambda: finish(client, one_step, payloads))
            yield rate(
                "A",
                "runs, limited queue",
                len(payloads),
                lambda: finish(client, limited, payloads),
            )
        with bench.engine():
            finish(client, one_step, payloads[:200])
            yield rate(
                "A", "runs, one process", len(payloads), lambda: finish(client, one_step, payloads)
            )
        waiting = trigger(client, one_step, payloads)
        with bench.worker():
            until(lambda: _all_ended(client), "all runs to end")
        yield Figure("A", "runs, drained", len(payloads) / _took_s(client, waiting), "/s")


def _all_ended(client: wf.Client) -> bool:
    live = (wf.Status.QUEUED, wf.Status.EXECUTING)
    return not any(client.runs.list(status=status, limit=1) for status in live)


def _took_s(client: wf.Client, waiting: list[wf.Batch[Any]]) -> float:
    """From the first start to the last end. Runs begin, and mostly end, as they were triggered."""
    first = client.runs.retrieve(waiting[0][0].id)
    last = [client.runs.retrieve(handle.id).ended_at for handle in waiting[-1]]
    ended = max(at for at in last if at)
    assert first.started_at
    return (ended - first.started_at).total_seconds()


def many_runs_of_steps(bench: Bench) -> Iterator[Figure]:
    """100 runs of 100 steps, one after the other, at once.

    From the trigger of all runs in one batch until the client has all outputs, with one `wf worker`
    beside it."""
    count = Count(count=bench.sizes.steps)
    with bench.client() as client, bench.worker():
        yield rate(
            "B",
            "steps",
            RUNS_OF_STEPS * count.count,
            lambda: finish(client, many_steps, [count] * RUNS_OF_STEPS),
        )


def children(bench: Bench) -> Iterator[Figure]:
    """A run that awaits 500 children of one step each.

    From the trigger until the client has the output, with one `wf worker` beside it."""
    count = Count(count=bench.sizes.children)
    with bench.client() as client, bench.worker():
        took = seconds(lambda: client.trigger(many_children, count).result())
        yield Figure("E", "children", took, "s")


def triggers(bench: Bench) -> Iterator[Figure]:
    """Triggers alone: one by one and in batches of 500.

    No worker. One by one: from one client, then from 16 processes at once."""
    payloads = orders(bench.sizes.runs)
    single = orders(max(1, bench.sizes.single // 4))
    with bench.client() as client:
        trigger(client, one_step, payloads[:500])
        yield rate(
            "L", "triggers in batches", len(payloads), lambda: trigger(client, one_step, payloads)
        )
        yield rate("L", "triggers, 1 client", len(single), lambda: _one_by_one(client, single))
    yield from triggers_of_many(bench, bench.sizes.clients, "L")


def triggers_of_many(bench: Bench, clients: int, workload: str) -> Iterator[Figure]:
    """Processes that trigger one run after the other, at once."""
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(clients + 1)
    each = max(1, bench.sizes.single // clients)
    processes = [
        spawn.Process(target=_trigger_with_others, args=(bench.url, each, barrier))
        for _ in range(clients)
    ]
    for process in processes:
        process.start()
    barrier.wait()
    took = seconds(barrier.wait)
    for process in processes:
        process.join()
    plural = "s" if clients > 1 else ""
    yield Figure(workload, f"triggers, {clients} client{plural}", each * clients / took, "/s")


def _trigger_with_others(url: str, count: int, barrier: Barrier) -> None:
    with wf.Client(url) as client:
        _one_by_one(client, orders(1))
        barrier.wait()
        _one_by_one(client, orders(count))
        barrier.wait()


def _one_by_one(client: wf.Client, payloads: list[Order]) -> None:
    for payload in payloads:
        client.trigger(one_step, payload)
