"""DBOS Transact, on Postgres or SQLite: everything in one process, runs started directly (its queue
is slower at all of this)."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from itertools import pairwise
from typing import Any

from dbos import DBOS, SetWorkflowID

from benchmarks.figures import Figure, part, spread
from benchmarks.machine import memory_mb
from benchmarks.peers.common import (
    SETTLE_S,
    Asked,
    asked,
    cold_start,
    idle_cpu,
    killed,
    tell_peak,
)

AT_ONCE = 100
RUNS_OF_STEPS = 100


@DBOS.step()
async def charge(order: int) -> dict[str, Any]:
    return {"order": order, "ok": True}


@DBOS.step()
async def charge_now(order: int) -> float:
    return time.perf_counter()


@DBOS.workflow()
async def one_step(order: int) -> dict[str, Any]:
    return await charge(order)


@DBOS.workflow()
async def many_steps(count: int) -> int:
    return sum([(await charge(number))["ok"] for number in range(count)])


@DBOS.workflow()
async def one_step_now(order: int) -> float:
    return await charge_now(order)


@DBOS.workflow()
async def many_steps_now(count: int) -> list[float]:
    return [await charge_now(number) for number in range(count)]


@DBOS.workflow()
async def many_children(count: int) -> int:
    handles = [await DBOS.start_workflow_async(one_step, number) for number in range(count)]
    return sum([(await handle.get_result())["ok"] for handle in handles])


@DBOS.workflow()
async def sleeper(seconds: float) -> float:
    await DBOS.sleep_async(seconds)
    return time.time()


@DBOS.workflow()
async def long(count: int) -> None:
    for number in range(count):
        await charge(number)
    print("CONTINUED", flush=True)
    await DBOS.sleep_async(3_600)


async def started(workflow: Any, arguments: list[Any], *, wait: bool = True) -> float:
    """So many runs with bounded concurrency; seconds."""
    free = asyncio.Semaphore(AT_ONCE)

    async def one(argument: Any) -> None:
        async with free:
            handle = await DBOS.start_workflow_async(workflow, argument)
            if wait:
                await handle.get_result()

    begun = time.perf_counter()
    await asyncio.gather(*map(one, arguments))
    return time.perf_counter() - begun


async def runs(ask: Asked) -> None:
    took = await started(one_step, list(range(ask.runs)))
    Figure("A", "runs", ask.runs / took, "/s").tell()


async def steps(ask: Asked) -> float:
    each = max(1, ask.sizes.steps // 2)
    begun = time.perf_counter()
    handles = [await DBOS.start_workflow_async(many_steps, each) for _ in range(RUNS_OF_STEPS)]
    for handle in handles:
        await handle.get_result()
    return RUNS_OF_STEPS * each / (time.perf_counter() - begun)


async def disk(ask: Asked) -> None:
    """The second time counts, as for wf."""
    await started(one_step, list(range(ask.runs)))
    before = ask.disk_bytes()
    await started(one_step, list(range(ask.runs)))
    Figure("H", "a run of one step", (ask.disk_bytes() - before) / ask.runs, "B").tell()
    each = max(1, ask.sizes.steps // 2)
    await steps(ask)
    before = ask.disk_bytes()
    await steps(ask)
    Figure("H", "a step", (ask.disk_bytes() - before) / (RUNS_OF_STEPS * each), "B").tell()


async def sequence(ask: Asked) -> None:
    handle = await DBOS.start_workflow_async(many_steps_now, ask.sizes.sequence)
    began = await handle.get_result()
    for figure in spread("C", "step", [(b - a) * 1_000 for a, b in pairwise(began)]):
        figure.tell()


async def one_run(ask: Asked) -> None:
    starts: list[float] = []
    ends: list[float] = []
    for number in range(-5, ask.sizes.repeats):
        begun = time.perf_counter()
        began = await (await DBOS.start_workflow_async(one_step_now, number)).get_result()
        if number >= 0:
            starts.append((began - begun) * 1_000)
            ends.append((time.perf_counter() - begun) * 1_000)
    told = spread("D", "start, same process", starts) + spread("D", "result, same process", ends)
    for figure in told:
        figure.tell()


async def sleepers(ask: Asked) -> None:
    table = "operation_outputs" if ask.is_sqlite else "dbos.operation_outputs"
    begun = time.perf_counter()
    await started(sleeper, [3_600] * ask.sleepers, wait=False)
    while ask.query(f"SELECT count(*) FROM {table}") < ask.sleepers:  # a constant
        await asyncio.sleep(0.2)
    rate = ask.sleepers / (time.perf_counter() - begun)
    Figure("F", "put to sleep, few", rate, "/s").tell()
    await asyncio.sleep(SETTLE_S)
    Figure("F", "memory of the worker, few", memory_mb(peak=False), "MB").tell()
    pids = [os.getpid(), ask.server_pid()]
    (await asyncio.to_thread(idle_cpu, pids, ask.sizes.idle_s)).tell()
    lates: list[float] = []
    for _ in range(ask.sizes.lags):
        begun = time.time()
        woken = await (await DBOS.start_workflow_async(sleeper, 2)).get_result()
        lates.append((woken - begun - 2) * 1_000)
    Figure("F", "late, one", part(lates, 0.5), "ms").tell()


async def triggers(ask: Asked) -> None:
    await DBOS.register_queue_async("waiting", worker_concurrency=0)
    free = asyncio.Semaphore(AT_ONCE)

    async def one(order: int) -> None:
        async with free:
            await DBOS.enqueue_workflow_async("waiting", one_step, order)

    begun = time.perf_counter()
    await asyncio.gather(*map(one, range(ask.runs)))
    rate = ask.runs / (time.perf_counter() - begun)
    Figure("L", "triggers, 1 client", rate, "/s").tell()


async def main(ask: Asked) -> None:
    DBOS(
        config={
            "name": "bench",
            "system_database_url": ask.url.replace("postgresql://", "postgresql+psycopg://"),
            "log_level": "ERROR",
            "run_admin_server": False,
            "application_version": "1",
            "executor_id": "local",
        }
    )
    DBOS.launch()
    match ask.role or ask.workload:
        case "A":
            await runs(ask)
        case "B":
            Figure("B", "steps", await steps(ask), "/s").tell()
        case "C":
            await sequence(ask)
        case "D":
            await one_run(ask)
        case "E":
            begun = time.perf_counter()
            handle = await DBOS.start_workflow_async(many_children, ask.sizes.children)
            await handle.get_result()
            Figure("E", "children", time.perf_counter() - begun, "s").tell()
        case "F":
            await sleepers(ask)
        case "H":
            await disk(ask)
        case "L":
            await triggers(ask)
        case "hello":
            await (await DBOS.start_workflow_async(one_step, 1)).get_result()
            tell_peak()
        case "first":
            with SetWorkflowID("long"):
                await DBOS.start_workflow_async(long, ask.sizes.recorded)
            await asyncio.sleep(3_600)
        case _:
            await asyncio.sleep(3_600)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    ask = asked()
    if ask.workload == "I" and not ask.role:
        for figure in killed(ask):
            figure.tell()
    elif ask.workload == "G" and not ask.role:
        for name in ("new database", "old database"):
            for figure in cold_start(ask.again("hello"), name):
                figure.tell()
    else:
        asyncio.run(main(ask))
