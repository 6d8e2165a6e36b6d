"""A process that takes up a run with a long history, and says how much memory it came to need:
`python -m tests.engine.resumed DATABASE RUN`. Prints the output and the peak in MB."""

from __future__ import annotations

import resource
import sys

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


def main() -> None:
    database, run_id = sys.argv[1:]
    engine = wf.Engine(database, [squares], environment="dev")
    engine.start_now()
    try:
        with wf.Client(database, environment="dev") as client:
            for run in client.runs.subscribe(run_id):
                if run.status.ended:
                    print(run.output, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
    finally:
        engine.stop_now()


if __name__ == "__main__":
    main()
