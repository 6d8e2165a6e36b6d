"""One worker process, both stores: one-step runs/s, sequential steps/s over 100 runs, ms per step
of one run.

    python benchmarks/engine.py [--postgres URL] [--runs 5000]

Runs are triggered in batches and their ends awaited with a client, in the same process. Default
durability (SQLite FULL, Postgres synchronous_commit on), pydantic payloads, paranoid mode
off, as in `wf worker`. Without --postgres a server is started from the tests' wheel.
"""

from __future__ import annotations

import argparse
import gc
import sys
import tempfile
import time
from collections.abc import Generator, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel

import wf
from tests import postgres_server
from wf.cli.main import GARBAGE_THRESHOLDS
from wf.cli.working import SWITCH_SECONDS
from wf.engine.core.runs import new_run
from wf.engine.core.triggers import with_defaults
from wf.history.ids import new_id
from wf.history.model import Run


class Order(BaseModel):
    id: int
    shop: str


@wf.step
async def charge(order: Order) -> int:
    return order.id


@wf.task
async def one_step(order: Order) -> int:
    return await charge(order)


@wf.task
async def many_steps(count: int) -> int:
    total = 0
    for number in range(count):
        total += await charge(Order(id=number, shop="a"))
    return total


BATCH = 500
"""Runs in one trigger transaction."""


def trigger(
    client: wf.Client, task: wf.Runnable[..., int], payload: object, count: int
) -> list[Future[Run]]:
    """Runs in batches, and what `await handle.result()` awaits for each."""
    encoded = task.signature.encode_payload(payload)
    options = with_defaults(task.settings, {})
    ends: list[Future[Run]] = []
    for start in range(0, count, BATCH):
        now = client.store.now()
        runs = [
            new_run(new_id(now), task.id, encoded, options, environment="dev", now=now)
            for _ in range(min(BATCH, count - start))
        ]
        client.store.trigger(runs)
        ends += [client.end_of(run.id) for run in runs]
    return ends


def wait_for(ends: list[Future[Run]]) -> None:
    for end in ends:
        assert end.result().status is wf.Status.COMPLETED


def measure(url: str, runs: int) -> Iterator[tuple[str, float, str]]:
    engine = wf.Engine(url, [charge, one_step, many_steps])
    client = wf.Client(url)
    warm = trigger(client, one_step, Order(id=1, shop="a"), 200)
    engine.start_now()
    try:
        wait_for(warm)
        begun = time.perf_counter()
        wait_for(trigger(client, one_step, Order(id=1, shop="a"), runs))
        yield "one-step runs", runs / (time.perf_counter() - begun), "/s"
        begun = time.perf_counter()
        wait_for(trigger(client, many_steps, 100, 100))
        yield "steps, 100 runs x 100", 10_000 / (time.perf_counter() - begun), "/s"
        begun = time.perf_counter()
        wait_for(trigger(client, many_steps, 1_000, 1))
        yield "one run, sequential", time.perf_counter() - begun, "ms per step"
    finally:
        engine.stop_now()
        client.close()


@contextmanager
def databases(postgres: str | None) -> Generator[dict[str, str]]:
    with tempfile.TemporaryDirectory() as folder:
        sqlite = f"sqlite:///{Path(folder) / 'bench.db'}"
        if postgres:
            yield {"sqlite": sqlite, "postgres": postgres}
            return
        postgres_server.open_session()
        url = postgres_server.create_database()
        try:
            yield {"sqlite": sqlite, "postgres": url}
        finally:
            postgres_server.drop_database(url)
            postgres_server.close_session()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--postgres")
    parser.add_argument("--runs", type=int, default=5_000)
    given = parser.parse_args()
    sys.setswitchinterval(SWITCH_SECONDS)
    gc.freeze()
    gc.set_threshold(*GARBAGE_THRESHOLDS)
    with databases(given.postgres) as urls:
        for name, url in urls.items():
            for what, figure, unit in measure(url, given.runs):
                print(f"{name:>8}  {what:<24} {figure:>10,.2f} {unit}")


if __name__ == "__main__":
    main()
