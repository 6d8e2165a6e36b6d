"""pgqueuer, a queue without durable steps, on Postgres: what batched claims can do."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from datetime import timedelta
from typing import Any

import asyncpg
from pgqueuer import PgQueuer
from pgqueuer.db import AsyncpgDriver
from pgqueuer.queries import Queries

from benchmarks.figures import Figure
from benchmarks.peers.common import asked
from benchmarks.sizes import BATCH

CLAIM = 50
"""Its own setting for one claim."""


async def main() -> None:
    ask = asked()
    count = max(BATCH, ask.sizes.runs)
    connection = await asyncpg.connect(ask.url)
    driver = AsyncpgDriver(connection)
    await Queries(driver).install()
    client = Queries(AsyncpgDriver(await asyncpg.connect(ask.url)))
    begun = time.perf_counter()
    for start in range(0, count, BATCH):
        payloads = [b"%d" % number for number in range(start, start + BATCH)]
        await client.enqueue(["charge"] * BATCH, payloads, [0] * BATCH)
    rate = count / (time.perf_counter() - begun)
    if ask.workload == "L":
        Figure("L", "triggers in batches", rate, "/s").tell()
        begun = time.perf_counter()
        for number in range(ask.sizes.single):
            await client.enqueue("charge", b"%d" % number)
        rate = ask.sizes.single / (time.perf_counter() - begun)
        Figure("L", "triggers, 1 client", rate, "/s").tell()
    else:
        begun = time.perf_counter()
        await drained(PgQueuer(driver), count)
        rate = count / (time.perf_counter() - begun)
        Figure("A", "runs, drained", rate, "/s").tell()
    sys.stdout.flush()
    os._exit(0)


async def drained(queuer: PgQueuer, count: int) -> None:
    ended = asyncio.Event()
    done = 0

    @queuer.entrypoint("charge")
    async def charge(job: Any) -> None:
        nonlocal done
        done += 1
        if done == count:
            ended.set()

    worker = asyncio.create_task(
        queuer.run(dequeue_timeout=timedelta(seconds=30), batch_size=CLAIM)
    )
    await ended.wait()
    worker.cancel()


if __name__ == "__main__":
    asyncio.run(main())
