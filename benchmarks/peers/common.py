"""What the programs for other engines share. Only the standard library, and psycopg where there is
a Postgres."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

from benchmarks.figures import Figure, seconds
from benchmarks.machine import family_cpu_seconds, memory_mb, parent_of
from benchmarks.sizes import SIZES, Sizes

SLOW: Final = 4
"""Peers do so many times fewer runs than wf, which takes them as long."""
FEWER_SLEEPERS: Final = 5
SETTLE_S: Final = 2


@dataclass
class Asked:
    workload: str
    url: str
    sizes: Sizes
    folder: Path
    role: str

    @property
    def is_sqlite(self) -> bool:
        return self.url.startswith("sqlite")

    @property
    def runs(self) -> int:
        return max(10, self.sizes.runs // SLOW)

    @property
    def sleepers(self) -> int:
        return max(5, self.sizes.sleepers[0] // FEWER_SLEEPERS)

    def again(self, role: str) -> list[str]:
        """This program as another process: a worker that will be killed, a second one."""
        spec = sys.modules["__main__"].__spec__
        assert spec
        return [sys.executable, "-m", spec.name, *sys.argv[1:], "--role", role]

    def query(self, statement: str) -> Any:
        """One value."""
        if self.is_sqlite:
            import sqlite3

            connection: Any = sqlite3.connect(self.url.removeprefix("sqlite:///"), timeout=30)
            try:
                return connection.execute(statement).fetchone()[0]
            finally:
                connection.close()
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            return connection.execute(statement).fetchone()[0]

    def disk_bytes(self) -> int:
        if self.is_sqlite:
            path = self.url.removeprefix("sqlite:///")
            files = [Path(path + end) for end in ("", "-wal", "-journal")]
            return sum(file.stat().st_size for file in files if file.exists())
        import psycopg

        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
        return int(self.query("SELECT pg_database_size(current_database())"))

    def server_pid(self) -> int | None:
        return None if self.is_sqlite else parent_of(int(self.query("SELECT pg_backend_pid()")))


def asked() -> Asked:
    parser = argparse.ArgumentParser()
    parser.add_argument("workload")
    parser.add_argument("--url", required=True)
    parser.add_argument("--size", required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--role", default="")
    given = parser.parse_args()
    return Asked(given.workload, given.url, SIZES[given.size], given.folder, given.role)


def idle_cpu(pids: Sequence[int | None], idle_s: float) -> Figure:
    """Of processes and all below them, while nothing goes on. In this process's time: it waits."""
    before = sum(family_cpu_seconds(pid) for pid in pids if pid)
    time.sleep(idle_s)
    spent = sum(family_cpu_seconds(pid) for pid in pids if pid) - before
    return Figure("F", "idle CPU, few", 100 * spent / idle_s, "%")


def cold_start(command: Sequence[str], name: str) -> Iterator[Figure]:
    """A program that prints the peak of its memory at its end."""
    said: list[str] = []
    took = seconds(lambda: said.append(subprocess.check_output(command, text=True)))
    found = re.search(r"^peak (\S+)$", said[0], re.MULTILINE)
    assert found
    yield Figure("G", name, took, "s")
    yield Figure("G", "memory", float(found[1]), "MB")


def tell_peak() -> None:
    print(f"peak {memory_mb():.1f}", flush=True)


@contextmanager
def process(command: Sequence[str], **options: Any) -> Generator[subprocess.Popen[str]]:
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, **options)
    try:
        yield started
    finally:
        started.kill()
        started.wait()


def wait_for_line(stream: IO[str] | None, word: str) -> None:
    assert stream
    for line in stream:
        if line.startswith(word):
            return
    raise SystemExit(f"the process ended before it said {word!r}")


def killed(ask: Asked, lease_s: float = 0) -> Iterator[Figure]:
    """A first process works to its CONTINUED, is killed, and a second one goes on. `lease_s`: after
    which the engine takes over; it is waited for outside of what is measured."""
    with process(ask.again("first")) as first:
        wait_for_line(first.stdout, "CONTINUED")
        time.sleep(SETTLE_S)
    time.sleep(lease_s)
    begun = time.perf_counter()
    with process(ask.again("second")) as second:
        wait_for_line(second.stdout, "CONTINUED")
        yield Figure("I", "go on, new process", time.perf_counter() - begun, "s")
