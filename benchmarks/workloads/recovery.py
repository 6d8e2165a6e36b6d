"""What a kill costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, until
from benchmarks.tasks import MARKS, Count, long

LOOK_S = 0.002


def killed(bench: Bench) -> Iterator[Figure]:
    """A run of 10,000 recorded steps is killed: time to go on.

    Its worker is killed (-9) in the step after those. From the start of the next worker on the same
    machine, which does not wait for the lease of one that is known to be dead, until that step runs
    again: of a worker in a process that is there already, and of a new process."""
    with bench.client() as client:
        with bench.worker() as worker:
            client.trigger(long, Count(count=bench.sizes.recorded))
            _wait_for_arrivals(bench, 1)
            worker.kill()
            worker.wait()
        process = bench.start(
            ["worker", "benchmarks/tasks.py", "--db", bench.url], bench.folder / "second.log"
        )
        begun = time.perf_counter()
        _wait_for_arrivals(bench, 2)
        yield Figure("I", "go on, new process", time.perf_counter() - begun, "s")
        process.kill()
        process.wait()
        os.environ[MARKS] = str(bench.folder)
        begun = time.perf_counter()
        with bench.engine():
            _wait_for_arrivals(bench, 3)
            yield Figure("I", "go on", time.perf_counter() - begun, "s")
            for run in client.runs.list(task=long.id, limit=1):
                client.runs.cancel(run.id)
            until(lambda: client.runs.list(task=long.id, limit=1)[0].status.ended, "canceled")


def _wait_for_arrivals(bench: Bench, count: int) -> None:
    def are_there() -> bool:
        found = [path for path in bench.folder.glob("arrived.*") if path.suffix != ".new"]
        return len(found) >= count

    until(are_there, "the step after those that are recorded", look_s=LOOK_S)
