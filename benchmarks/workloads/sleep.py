"""Runs that wait."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from datetime import timedelta

import wf
from benchmarks.bench import Bench, finish, rest, trigger
from benchmarks.figures import Figure, part, until
from benchmarks.machine import cpu_seconds, family_cpu_seconds, memory_mb
from benchmarks.tasks import Sleep, sleeper

LONG = Sleep(seconds=30 * 24 * 3_600)
SETTLE_S = 2.0
"""After the last one fell asleep, before idle CPU is measured."""
AHEAD_S = 5.0
"""So long before their time those that are due at once are triggered."""


def sleepers(bench: Bench) -> Iterator[Figure]:
    """Runs asleep: how many fall asleep in a second, what they cost, how late they wake.

    One `wf worker`. Memory is the worker's, of two numbers of sleepers; idle CPU is the worker's
    and the database's together; lateness is from the moment waited for to the start of the step
    after it."""
    few, many = bench.sizes.sleepers
    with bench.client() as client, bench.worker() as worker:
        yield from _put_to_sleep(bench, client, worker, few, 0, "few")
        yield from _put_to_sleep(bench, client, worker, many, few, "many")
        lates = [
            client.trigger(sleeper, Sleep(seconds=0.02 if bench.is_short else 2)).result()
            for _ in range(bench.sizes.lags)
        ]
        yield Figure("F", "late, one", part(lates, 0.5), "ms")
        ahead_s = 0.2 if bench.is_short else AHEAD_S
        moment = client.now() + timedelta(seconds=ahead_s)
        together = finish(client, sleeper, [Sleep(until=moment)] * bench.sizes.due_at_once)
        yield Figure("F", "late, the last of many at once", max(together), "ms")


def _put_to_sleep(
    bench: Bench,
    client: wf.Client,
    worker: subprocess.Popen[bytes],
    count: int,
    there: int,
    which: str,
) -> Iterator[Figure]:
    begun = time.perf_counter()
    trigger(client, sleeper, [LONG] * (count - there))
    until(lambda: _all_asleep(client), f"{count} runs asleep")
    took = time.perf_counter() - begun
    yield Figure("F", f"put to sleep, {which}", (count - there) / took, "/s")
    rest(0 if bench.is_short else SETTLE_S)
    yield Figure("F", f"memory of the worker, {which}", memory_mb(worker.pid, peak=False), "MB")
    server = bench.server_pid
    before = _spent(worker, server)
    rest(bench.sizes.idle_s)
    spent = _spent(worker, server) - before
    yield Figure("F", f"idle CPU, {which}", 100 * spent / bench.sizes.idle_s, "%")


def _all_asleep(client: wf.Client) -> bool:
    return not any(
        client.runs.list(status=status, task=sleeper.id, limit=1)
        for status in (wf.Status.QUEUED, wf.Status.EXECUTING)
    )


def _spent(worker: subprocess.Popen[bytes], server: int | None) -> float:
    return cpu_seconds(worker.pid) + (family_cpu_seconds(server) if server else 0.0)
