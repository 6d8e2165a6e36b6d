"""How long one thing takes where nothing else is going on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import pairwise

import wf
from benchmarks.bench import Bench, rest
from benchmarks.figures import Figure, spread
from benchmarks.tasks import Count, Order, many_steps_now, one_step_now

PAUSE_S = 0.013
"""Between two runs: the system is idle again. No multiple of anything."""
WARM = 5


def one_sequence(bench: Bench) -> Iterator[Figure]:
    """One run of 1,000 steps, one after the other: ms per step.

    From the beginning of one step to the beginning of the next, with one `wf worker`."""
    with bench.client() as client, bench.worker():
        began = client.trigger(many_steps_now, Count(count=bench.sizes.sequence)).result()
    yield from spread("C", "step", [(after - before) * 1_000 for before, after in pairwise(began)])


def one_run(bench: Bench) -> Iterator[Figure]:
    """From the trigger to the start of the run's step and to its result, in an idle system.

    With the worker in the client's own process, and with a `wf worker` beside it."""
    with bench.client() as client:
        with bench.engine():
            yield from _asked(client, bench.sizes.repeats, "same process")
        with bench.worker():
            yield from _asked(client, bench.sizes.repeats, "other process")


def _asked(client: wf.Client, repeats: int, where: str) -> Iterator[Figure]:
    starts_ms: list[float] = []
    results_ms: list[float] = []
    for number in range(-WARM, repeats):
        rest(PAUSE_S)
        begun = time.perf_counter()
        began = client.trigger(one_step_now, Order(id=number)).result()
        ended = time.perf_counter()
        if number >= 0:
            starts_ms.append((began - begun) * 1_000)
            results_ms.append((ended - begun) * 1_000)
    yield from spread("D", f"start, {where}", starts_ms)
    yield from spread("D", f"result, {where}", results_ms)
