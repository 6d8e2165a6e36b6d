"""Where a workload is measured: one empty database, worker processes on it, a client."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, Final

import psycopg

import wf
from benchmarks import tasks
from benchmarks.machine import parent_of
from benchmarks.sizes import BATCH, SHORT, Sizes
from wf import Engine

ROOT: Final = Path(__file__).resolve().parents[1]
STOP_S: Final = 30
WARM: Final = 200
SHORT_WARM: Final = 20


class Bench:
    """`url`: an empty database, `folder`: for files. `is_short`: only that it runs is asked."""

    def __init__(self, url: str, sizes: Sizes, folder: Path) -> None:
        self.url = url
        self.sizes = sizes
        self.folder = folder
        self.is_short = sizes is SHORT
        self.is_sqlite = url.startswith("sqlite")
        self._shared: tuple[subprocess.Popen[bytes], ExitStack] | None = None

    @contextmanager
    def client(self) -> Generator[wf.Client]:
        client = wf.Client(self.url)
        try:
            yield client
        finally:
            client.close()

    @contextmanager
    def engine(self) -> Generator[Engine]:
        """A worker in this process, at work."""
        engine = Engine(self.url, [tasks])
        engine.start_now()
        try:
            yield engine
        finally:
            engine.stop_now()

    @contextmanager
    def worker(self, processes: int = 1, warm: int = WARM) -> Generator[subprocess.Popen[bytes]]:
        """`wf worker --processes N`, at work after so many runs of each. In the short form all
        workloads share one: most of its time would be starts."""
        if not self.is_short:
            with self._worker(processes, warm) as process:
                yield process
            return
        if self._shared is None or self._shared[0].poll() is not None:
            self.close()
            stack = ExitStack()
            self._shared = stack.enter_context(self._worker(1, SHORT_WARM)), stack
        yield self._shared[0]

    def close(self) -> None:
        if self._shared is not None:
            self._shared[1].close()
            self._shared = None

    @contextmanager
    def _worker(self, processes: int, warm: int) -> Generator[subprocess.Popen[bytes]]:
        log = self.folder / "worker.log"
        arguments = ["worker", str(ROOT / "benchmarks/tasks.py"), "--processes", str(processes)]
        process = self.start([*arguments, "--db", self.url], log)
        try:
            with self.client() as client:
                finish(client, tasks.one_step, orders(warm * processes))
            yield process
        except BaseException:
            print(log.read_text()[-4_000:], file=sys.stderr)
            raise
        finally:
            process.terminate()
            process.wait(STOP_S)

    def start(self, arguments: Sequence[str], log: Path) -> subprocess.Popen[bytes]:
        """The command `wf` in a process of its own."""
        with log.open("ab") as file:
            return subprocess.Popen(
                [sys.executable, "-m", "wf.cli", *arguments],
                cwd=ROOT,
                env={**os.environ, tasks.MARKS: str(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
            )

    @property
    def disk_bytes(self) -> int:
        """What the database takes, without Postgres' log. Of a SQLite file that nobody uses now."""
        if self.is_sqlite:
            path = self.url.removeprefix("sqlite:///")
            files = [Path(path + end) for end in ("", "-wal")]
            return sum(file.stat().st_size for file in files if file.exists())
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("CHECKPOINT")
            found = connection.execute("SELECT pg_database_size(current_database())").fetchone()
            assert found
            return int(found[0])

    @property
    def server_pid(self) -> int | None:
        """The Postgres server's; None: there is none."""
        if self.is_sqlite:
            return None
        with psycopg.connect(self.url) as connection:
            return parent_of(connection.info.backend_pid)


def orders(count: int) -> list[tasks.Order]:
    return [tasks.Order(id=number) for number in range(count)]


def batches(payloads: Sequence[Any]) -> Iterator[Sequence[Any]]:
    for start in range(0, len(payloads), BATCH):
        yield payloads[start : start + BATCH]


def trigger(
    client: wf.Client, task: wf.Runnable[..., Any], payloads: Sequence[Any]
) -> list[wf.Batch[Any]]:
    """In batches of BATCH; what `results` waits for."""
    return [client.batch_trigger(task, batch) for batch in batches(payloads)]


def results(triggered: Iterable[wf.Batch[Any]]) -> list[Any]:
    return [end for batch in triggered for end in batch.results()]


def finish(client: wf.Client, task: wf.Runnable[..., Any], payloads: Sequence[Any]) -> list[Any]:
    """Trigger in batches, and wait for all ends; the outputs."""
    return results(trigger(client, task, payloads))


def rest(seconds: float) -> None:
    """So long nothing is asked for."""
    time.sleep(seconds)
