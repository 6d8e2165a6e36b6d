"""A process that takes up a run with a long history, and says how much memory it came to need:
`python -m tests.engine.resumed DATABASE RUN`. Prints the output and the peak in MB."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import wf


@wf.step
async def square(n: int) -> int:
    return n * n


@wf.task
async def squares(count: int) -> int:
    total = 0
    for n in range(count):
        total += await square(n)
    return total


def peak_mb() -> int:
    """The most memory that this process held at once, in MB. Not `ru_maxrss`: Linux carries that
    over from the process that started this one."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert found
    return int(found[1]) // 1024


def main() -> None:
    database, run_id = sys.argv[1:]
    engine = wf.Engine(database, [squares], environment="dev")
    engine.start_now()
    try:
        with wf.Client(database, environment="dev") as client:
            for run in client.runs.subscribe(run_id):
                if run.status.ended:
                    print(run.output, peak_mb())
    finally:
        engine.stop_now()


if __name__ == "__main__":
    main()
