"""How fast a body is built again from its history: facts replayed per second, in one process.

    python -m benchmarks.replay [FACTS] [--profile]

The body is the plainest one: steps with one int, one after the other.
"""

from __future__ import annotations

import argparse
import cProfile
import gc
import pstats
import sys
import time

from wf.engine.core.info import RunInfo, digest_of
from wf.engine.core.replay import replay
from wf.engine.core.runnable import step, task
from wf.history.events import Event, Kind
from wf.history.ids import derived_id

START_MS = 1_700_000_000_000
ROUNDS = 15
"""The best of so many: the machine is shared."""


@step
async def square(n: int) -> int:
    return n * n


@task
async def squares(count: int) -> int:
    total = 0
    for n in range(count):
        total += await square(n)
    return total


def history(count: int) -> tuple[RunInfo, list[Event]]:
    """A run of `squares` that has done all its steps but has not ended yet."""
    run = RunInfo(
        derived_id(START_MS, b"benchmark", 1, 1),
        squares.id,
        str(count + 1).encode(),
        created_at=START_MS,
    )
    minor = f"{sys.version_info.major}.{sys.version_info.minor}"
    events = [Event(1, Kind.STARTED, 0, START_MS, minor)]
    for n in range(count):
        digest = digest_of(str(n).encode())
        result = str(n * n).encode()
        at = START_MS + n
        events.append(Event(n + 2, Kind.STEP_FINISHED, n + 1, at, square.id, digest, 1, 1, result))
    return run, events


def replay_once(run: RunInfo, events: list[Event]) -> float:
    """CPU seconds for one replay."""
    gc.collect()
    begun = time.process_time()
    execution, pending = replay(squares, run, events)
    took = time.process_time() - begun
    assert len(pending) == 1
    assert execution.ordinal == len(events)
    execution.close()
    return took


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("facts", nargs="?", type=int, default=20_000)
    parser.add_argument("--profile", action="store_true", help="where the time goes")
    arguments = parser.parse_args()
    run, events = history(arguments.facts)
    best = min(replay_once(run, events) for _ in range(ROUNDS))
    sys.stdout.write(f"{arguments.facts / best:,.0f} replayed facts/s\n")
    if arguments.profile:
        profile = cProfile.Profile()
        profile.enable()
        replay_once(run, events)
        profile.disable()
        pstats.Stats(profile).sort_stats("tottime").print_stats(20)


if __name__ == "__main__":
    main()
