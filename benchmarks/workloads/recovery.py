"""What a kill costs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

from benchmarks.bench import Bench
from benchmarks.figures import Figure, until
from benchmarks.tasks import MARKS, Count, long


def killed(bench: Bench) -> Iterator[Figure]:
    """A run of 10,000 recorded steps is killed: time to go on.

    Its worker is killed (-9) in the step after those. From the start of the next worker on the same
    machine, which does not wait for the lease of one that is known to be dead, until that step runs
    again: of a new process, and of a worker in a process that is there already. Between the two
    kills the run makes progress: who is lost twice without any is put off for a second."""
    for left in [*bench.folder.glob("first.*"), *bench.folder.glob("second.*")]:
        left.unlink()
    with bench.client() as client:
        with bench.worker() as worker:
            client.trigger(long, Count(count=bench.sizes.recorded))
            _wait_for(bench, "first", 1)
            worker.kill()
            worker.wait()
        begun = time.perf_counter()
        process = bench.start(
            ["worker", "benchmarks/tasks.py", "--db", bench.url], bench.folder / "second.log"
        )
        took = _wait_for(bench, "first", 2) - begun
        yield Figure("I", "go on, new process", took, "s")
        (bench.folder / "first.over").touch()
        _wait_for(bench, "second", 1)
        process.kill()
        process.wait()
        os.environ[MARKS] = str(bench.folder)
        begun = time.perf_counter()
        with bench.engine():
            took = _wait_for(bench, "second", 2) - begun
            yield Figure("I", "go on", took, "s")
            (bench.folder / "second.over").touch()
            until(lambda: client.runs.list(task=long.id, limit=1)[0].status.ended, "its end")


def _wait_for(bench: Bench, place: str, workers: int) -> float:
    """So many have come to this step. When the last one did: it says so itself, because looking
    again and again would hold up a worker in this process."""

    def times() -> list[float]:
        marks = bench.folder.glob(f"{place}.[0-9]*")
        return sorted(float(told) for mark in marks if (told := mark.read_text()))

    until(lambda: len(times()) >= workers, f"the step {place}")
    return times()[-1]
