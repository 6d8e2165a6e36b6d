"""Absurd, on Postgres: workers with a connection each, in one process."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

from absurd_sdk import AsyncAbsurd

from benchmarks.figures import Figure, part, spread
from benchmarks.machine import memory_mb
from benchmarks.peers.common import SETTLE_S, Asked, asked, idle_cpu, killed

WORKERS = 8
CONCURRENCY = 10
CONNECTIONS = 4
"""Of what triggers."""
POLL_S = 0.25
"""Its default; in an idle system it is asked more often."""
QUICK_POLL_S = 0.01
LEASE_S = 5
RUNS_OF_STEPS = 100


def install(url: str) -> None:
    command = Path(sys.executable).with_name("absurdctl")
    for words in (["init"], ["create-queue", "default"], ["create-queue", "children"]):
        subprocess.run([command, words[0], "-d", url, *words[1:]], check=True, capture_output=True)


async def charge(order: int) -> dict[str, Any]:
    return {"order": order, "ok": True}


async def charge_now() -> float:
    return time.perf_counter()


def application(url: str, queue: str = "default") -> Any:
    app: Any = AsyncAbsurd(url, queue_name=queue)

    @app.register_task("one-step", queue=queue)
    async def one_step(order: int, context: Any) -> Any:
        return await context.step("charge", lambda: charge(order))

    @app.register_task("many-steps", queue=queue)
    async def many_steps(count: int, context: Any) -> int:
        for number in range(count):
            await context.step("charge", lambda number=number: charge(number))
        return count

    @app.register_task("one-step-now", queue=queue)
    async def one_step_now(order: int, context: Any) -> float:
        return await context.step("charge-now", charge_now)

    @app.register_task("many-steps-now", queue=queue)
    async def many_steps_now(count: int, context: Any) -> list[float]:
        return [await context.step("charge-now", charge_now) for _ in range(count)]

    @app.register_task("sleeper", queue=queue)
    async def sleeper(seconds: float, context: Any) -> float:
        await context.sleep_for("sleep", seconds)
        return time.time()

    @app.register_task("many-children", queue=queue)
    async def many_children(count: int, context: Any) -> int:
        children: Any = AsyncAbsurd(url, queue_name="children")

        async def spawned(number: int) -> str:
            found = await children.spawn("one-step", number, queue="children")
            return str(found["task_id"])

        ids = [
            await context.step("spawn", lambda number=number: spawned(number))
            for number in range(count)
        ]
        total = 0
        for one in ids:
            end = await context.await_task_result(one, queue_name="children")
            total += end.result["ok"]
        await children.close()
        return total

    @app.register_task("long", queue=queue)
    async def long(count: int, context: Any) -> None:
        for number in range(count):
            await context.step("charge", lambda number=number: charge(number))
        print("CONTINUED", flush=True)
        await asyncio.sleep(3_600)

    return app


class Drive:
    def __init__(self, ask: Asked) -> None:
        self.ask = ask
        self.url = ask.url
        self.control = application(ask.url)
        self.workers: list[asyncio.Task[None]] = []

    def work(
        self,
        count: int = WORKERS,
        concurrency: int = CONCURRENCY,
        queue: str = "default",
        poll_s: float = POLL_S,
        lease_s: int = 120,
    ) -> None:
        for _ in range(count):
            app = application(self.url, queue)
            worker = app.start_worker(
                concurrency=concurrency, poll_interval=poll_s, claim_timeout=lease_s
            )
            self.workers.append(asyncio.create_task(worker))

    async def spawn(self, count: int, task: str, payload: Callable[[int], Any]) -> float:
        """Over some connections; seconds."""
        clients = [application(self.url) for _ in range(CONNECTIONS)]
        numbers = iter(range(count))

        async def one(client: Any) -> None:
            for number in numbers:
                await client.spawn(task, payload(number))

        begun = time.perf_counter()
        await asyncio.gather(*map(one, clients))
        took = time.perf_counter() - begun
        for client in clients:
            await client.close()
        return took

    async def until(self, count: int, state: str = "completed") -> None:
        table = f"SELECT count(*) FROM absurd.t_default WHERE state = '{state}'"
        while await asyncio.to_thread(self.ask.query, table) < count:
            await asyncio.sleep(0.1)

    async def end(self, task: str, payload: Any) -> Any:
        spawned = await self.control.spawn(task, payload)
        return (await self.control.await_task_result(spawned["task_id"])).result

    async def runs(self, done: int = 0) -> float:
        begun = time.perf_counter()
        await self.spawn(self.ask.runs, "one-step", lambda number: number)
        await self.until(done + self.ask.runs)
        return self.ask.runs / (time.perf_counter() - begun)

    async def steps(self, done: int = 0) -> float:
        begun = time.perf_counter()
        await self.spawn(RUNS_OF_STEPS, "many-steps", lambda _: self.ask.sizes.steps)
        await self.until(done + RUNS_OF_STEPS)
        return RUNS_OF_STEPS * self.ask.sizes.steps / (time.perf_counter() - begun)

    async def disk(self) -> None:
        """The second time counts, as for wf."""
        runs = self.ask.runs
        await self.runs()
        before = self.ask.disk_bytes()
        await self.runs(runs)
        Figure("H", "a run of one step", (self.ask.disk_bytes() - before) / runs, "B").tell()
        await self.steps(2 * runs)
        before = self.ask.disk_bytes()
        await self.steps(2 * runs + RUNS_OF_STEPS)
        grown = self.ask.disk_bytes() - before
        Figure("H", "a step", grown / (RUNS_OF_STEPS * self.ask.sizes.steps), "B").tell()

    async def one_run(self) -> None:
        starts: list[float] = []
        ends: list[float] = []
        for number in range(-5, self.ask.sizes.repeats):
            begun = time.perf_counter()
            began = await self.end("one-step-now", number)
            if number >= 0:
                starts.append((began - begun) * 1_000)
                ends.append((time.perf_counter() - begun) * 1_000)
            await asyncio.sleep(0.013)
        for name, found in (("start", starts), ("result", ends)):
            for figure in spread("D", f"{name}, same process", found):
                figure.tell()

    async def sleepers(self) -> None:
        count = self.ask.sleepers
        begun = time.perf_counter()
        await self.spawn(count, "sleeper", lambda _: 3_600)
        await self.until(count, "sleeping")
        rate = count / (time.perf_counter() - begun)
        Figure("F", "put to sleep, few", rate, "/s").tell()
        await asyncio.sleep(SETTLE_S)
        Figure("F", "memory of the worker, few", memory_mb(peak=False), "MB").tell()
        pids = [os.getpid(), self.ask.server_pid()]
        (await asyncio.to_thread(idle_cpu, pids, self.ask.sizes.idle_s)).tell()
        lates: list[float] = []
        for _ in range(self.ask.sizes.lags):
            begun = time.time()
            lates.append((await self.end("sleeper", 2) - begun - 2) * 1_000)
        Figure("F", "late, one", part(lates, 0.5), "ms").tell()


async def main(ask: Asked) -> None:
    if ask.role != "second":
        install(ask.url)
    drive = Drive(ask)
    match ask.role or ask.workload:
        case "A":
            drive.work()
            Figure("A", "runs", await drive.runs(), "/s").tell()
        case "B":
            drive.work()
            Figure("B", "steps", await drive.steps(), "/s").tell()
        case "C":
            drive.work(1, 1)
            began = await drive.end("many-steps-now", ask.sizes.sequence)
            for figure in spread("C", "step", [(b - a) * 1_000 for a, b in pairwise(began)]):
                figure.tell()
        case "D":
            drive.work(1, poll_s=QUICK_POLL_S)
            await drive.one_run()
        case "E":
            drive.work(1, 1)
            drive.work(queue="children")
            begun = time.perf_counter()
            await drive.end("many-children", ask.sizes.children)
            Figure("E", "children", time.perf_counter() - begun, "s").tell()
        case "F":
            drive.work()
            await drive.sleepers()
        case "H":
            drive.work()
            await drive.disk()
        case "L":
            took = await drive.spawn(ask.runs, "one-step", lambda number: number)
            Figure("L", "triggers, 1 client", ask.runs / took, "/s").tell()
        case role:
            if role == "first":
                await drive.control.spawn("long", ask.sizes.recorded)
            drive.work(1, 1, lease_s=LEASE_S)
            await asyncio.sleep(3_600)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    ask = asked()
    if ask.workload == "I" and not ask.role:
        for figure in killed(ask, LEASE_S + 1):
            figure.tell()
    else:
        asyncio.run(main(ask))
