"""The floor of the machine: what a bare loop does that keeps the one promise that all engines give,
that a step which has ended is on disk. No claims, no histories, no replays.

    python -m benchmarks.floor sqlite FILE B [--size usual]
    python -m benchmarks.floor postgres URL C [--size usual]

Steps are recorded by group commit: all that have ended are written in one transaction while the
next ones end. Default durability; values are JSON.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from typing import Final

import psycopg

from benchmarks.figures import Figure, part, spread
from benchmarks.sizes import BATCH, SIZES, Sizes

Row = tuple[str, int, str, str, float]
Write = Callable[[Sequence[Row]], Awaitable[None]]

GROUP: Final = 100
"""Runs at once, as in workload B."""
BLOCK: Final = b"y" * 8_192
TABLE: Final = "CREATE TABLE floor_steps (run text, seq int, name text, data text, at float8"
INSERT: Final = (
    "INSERT INTO floor_steps SELECT * FROM"
    " unnest(%b::text[], %b::int[], %b::text[], %b::text[], %b::float8[])"
)


class GroupCommit:
    """`put` answers when the row is on disk."""

    def __init__(self, write: Write) -> None:
        self._write = write
        self._waiting: list[tuple[Row, asyncio.Future[None]]] = []
        self._is_needed = asyncio.Event()

    async def run(self) -> None:
        while True:
            await self._is_needed.wait()
            self._is_needed.clear()
            group, self._waiting = self._waiting, []
            await self._write([row for row, _ in group])
            for _, future in group:
                future.set_result(None)

    def put(self, row: Row) -> asyncio.Future[None]:
        future = asyncio.get_running_loop().create_future()
        self._waiting.append((row, future))
        self._is_needed.set()
        return future


async def _step(number: int) -> dict[str, object]:
    return {"order": number, "ok": True}


async def steps(write: Write, runs: int, seconds: float) -> tuple[float, list[float]]:
    """So many runs, each with steps one after the other: steps in a second, and the ms of each."""
    commit = GroupCommit(write)
    flusher = asyncio.create_task(commit.run())
    took_ms: list[float] = []
    ends_at = time.perf_counter() + seconds

    async def one(run: int) -> None:
        number = 0
        while (begun := time.perf_counter()) < ends_at:
            data = json.dumps(await _step(number))
            await commit.put((f"run-{run:06d}", number, "step", data, begun))
            took_ms.append((time.perf_counter() - begun) * 1_000)
            number += 1

    begun = time.perf_counter()
    await asyncio.gather(*(one(run) for run in range(runs)))
    elapsed = time.perf_counter() - begun
    flusher.cancel()
    return len(took_ms) / elapsed, took_ms


async def measured(write: Write, workload: str, seconds: float) -> list[Figure]:
    """B: 100 runs at once. C: one. L: rows in batches."""
    if workload == "B":
        a_second, _ = await steps(write, GROUP, seconds)
        return [Figure("B", "steps", a_second, "/s")]
    if workload == "C":
        _, took_ms = await steps(write, 1, seconds)
        return [*spread("C", "step", took_ms), flush(seconds / 2)]
    begun, count = time.perf_counter(), 0
    while (at := time.perf_counter()) < begun + seconds:
        await write([("b", count + one, "step", "x" * 120, at) for one in range(BATCH)])
        count += BATCH
    return [Figure("L", "triggers in batches", count / (time.perf_counter() - begun), "/s")]


async def on_postgres(url: str, workload: str, seconds: float) -> list[Figure]:
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        connection.prepare_threshold = 0
        await connection.execute(f"{TABLE})".encode())

        async def write(rows: Sequence[Row]) -> None:
            await connection.execute(INSERT, [list(column) for column in zip(*rows, strict=True)])

        return await measured(write, workload, seconds)


async def on_sqlite(path: str, workload: str, seconds: float) -> list[Figure]:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA journal_mode = wal")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute(f"{TABLE})")

        async def write(rows: Sequence[Row]) -> None:
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO floor_steps VALUES (?, ?, ?, ?, ?)", rows)
            connection.execute("COMMIT")
            await asyncio.sleep(0)

        return await measured(write, workload, seconds)


def flush(seconds: float) -> Figure:
    """fdatasync of 8 KB, as a log writes them."""
    took_ms: list[float] = []
    with tempfile.TemporaryFile(buffering=0) as file:
        file.write(BLOCK * 128)
        os.fsync(file.fileno())
        ends_at = time.perf_counter() + seconds
        while time.perf_counter() < ends_at:
            os.pwrite(file.fileno(), BLOCK, len(took_ms) % 128 * len(BLOCK))
            begun = time.perf_counter()
            os.fdatasync(file.fileno())
            took_ms.append((time.perf_counter() - begun) * 1_000)
    return Figure("C", "flush of the disk, p50", part(took_ms, 0.5), "ms")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("store", choices=["sqlite", "postgres"])
    parser.add_argument("url")
    parser.add_argument("workload", choices=["B", "C", "L"])
    parser.add_argument("--size", choices=SIZES, default="usual")
    given = parser.parse_args()
    sizes: Sizes = SIZES[given.size]
    bare = on_sqlite if given.store == "sqlite" else on_postgres
    for figure in asyncio.run(bare(given.url, given.workload, sizes.seconds)):
        figure.tell()


if __name__ == "__main__":
    main()
