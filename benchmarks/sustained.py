"""Runs of one step without end, while those that are over are removed: is it as quick after ten
minutes as it was at first, and does what it leaves behind stay within bounds?

    python -m benchmarks.sustained [--minutes 10] [--keep 30] [--store postgres]

A client keeps a few thousand runs under way with one `wf worker`; another removes what ended more
than `--keep` seconds ago. A line for each half minute: what was done, and what stands in the
database.
"""

from __future__ import annotations

import argparse
import threading
import time
from collections import deque
from collections.abc import Generator
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Self

import psycopg

import wf
from benchmarks.bench import Bench, orders, results
from benchmarks.machine import cpu_seconds, family_cpu_seconds, use_a_disk
from benchmarks.sizes import BATCH, USUAL
from benchmarks.subjects import STORES, database
from benchmarks.tasks import one_step
from tests import postgres_server

AHEAD: Final = 6
"""Batches under way."""
WINDOW_S: Final = 30.0
PRUNE_EVERY_S: Final = 3.0
_LIVE_AND_DEAD: Final = """SELECT sum(n_live_tup)::bigint, sum(n_dead_tup)::bigint
FROM pg_stat_user_tables"""


@dataclass(frozen=True, slots=True)
class Window:
    """`runs` and `removed`: in a second; `cpu_us`: of worker and server, for a run; `state`: of the
    database."""

    at_s: float
    runs: float
    removed: float
    cpu_us: float
    state: str

    def __str__(self) -> str:
        return (
            f"{self.at_s:5.0f} s  {self.runs:6,.0f} runs/s  {self.removed:6,.0f} removed/s  "
            f"{self.cpu_us:4.0f} us of CPU a run  {self.state}"
        )


class Retention:
    """A thread that removes old runs, with a client of its own."""

    def __init__(self, url: str, keep_s: float) -> None:
        self._client = wf.Client(url)
        self._keep = timedelta(seconds=keep_s)
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._work, name="retention")
        self.removed = 0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()
        self._client.close()

    def _work(self) -> None:
        while not self._is_over.wait(PRUNE_EVERY_S):
            self.removed += self._client.prune(self._keep).runs


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.sustained",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--keep", type=float, default=30, help="seconds")
    parser.add_argument("--store", choices=STORES, default="postgres")
    given = parser.parse_args()
    use_a_disk()
    postgres_server.open_session()
    try:
        with (
            TemporaryDirectory(prefix="wf-sustained-") as folder,
            database(given.store, folder) as url,
            closing(Bench(url, USUAL, Path(folder))) as bench,
        ):
            for window in go_on(bench, given.minutes * 60, given.keep):
                print(window, flush=True)
    finally:
        postgres_server.close_session()


def go_on(
    bench: Bench, seconds: float, keep_s: float, window_s: float = WINDOW_S
) -> Generator[Window]:
    under_way: deque[wf.Batch[Any]] = deque()
    with (
        bench.client() as client,
        bench.worker() as worker,
        Retention(bench.url, keep_s) as retention,
    ):
        begun = since = time.monotonic()
        done, removed, cpu_s = 0, 0, _cpu_seconds(bench, worker.pid)
        while since < begun + seconds:
            while len(under_way) < AHEAD:
                under_way.append(client.batch_trigger(one_step, orders(BATCH)))
            done += len(results([under_way.popleft()]))
            now = time.monotonic()
            if now - since < window_s:
                continue
            took, gone, spent_s = now - since, retention.removed, _cpu_seconds(bench, worker.pid)
            cost_us = 1e6 * (spent_s - cpu_s) / done
            yield Window(now - begun, done / took, (gone - removed) / took, cost_us, _state(bench))
            since, done, removed, cpu_s = now, 0, gone, spent_s
        results(under_way)


def _cpu_seconds(bench: Bench, worker: int) -> float:
    server = bench.server_pid
    return cpu_seconds(worker) + (family_cpu_seconds(server) if server else 0.0)


def _state(bench: Bench) -> str:
    if bench.is_sqlite:
        return f"{bench.disk_bytes / 1e6:,.0f} MB"
    with psycopg.connect(bench.url, autocommit=True) as connection:
        row = connection.execute(_LIVE_AND_DEAD).fetchone()
        size = connection.execute("SELECT pg_database_size(current_database())").fetchone()
    assert row
    assert size
    return f"{size[0] / 1e6:,.0f} MB, {row[0]:,} rows, {row[1]:,} dead"


if __name__ == "__main__":
    main()
