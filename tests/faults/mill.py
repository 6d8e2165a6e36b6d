"""Seeds by the thousand, on all cores, and what they found: `make simulate SEEDS=100000`.

`python -m tests.faults.mill FIRST COUNT` prints every seed that fails; with `--traces` the hash of
each trace instead.
"""

from __future__ import annotations

import logging
import os
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Final

from tests.codecs import key_ring
from tests.faults.clockwork import slot_breaches
from tests.faults.invariants import store_breaches
from tests.faults.plans import REGISTRY
from tests.faults.scenario import Plans
from wf.history.ids import show
from wf.history.store import Store, query_of
from wf.testing.mail import misread
from wf.testing.simulation import ENVIRONMENT, Report, Simulation

CHUNK: Final = 20
"""Seeds that a process takes at a time."""
SHOW_EACH: Final = 1_000
SHOWN: Final = 4
"""Breaches of one seed that are printed: the first ones lead to the others."""


def one_seed(seed: int) -> Report:
    """Run a seed, every third one under a codec; an error of the engine's own is a breach."""
    codec = None if seed % 3 else key_ring()
    simulation = Simulation(seed, Plans(), _wrong, codec=codec, operated=True)
    try:
        return simulation.run()
    except Exception:
        simulation.report.breaches.append(traceback.format_exc(limit=-12))
        return simulation.report


def _wrong(store: Store) -> Iterator[str]:
    yield from store_breaches(store, REGISTRY)
    yield from slot_breaches(store, ENVIRONMENT)
    for (run_id,) in query_of(store)("SELECT id FROM runs ORDER BY id", ()):
        for what in misread(store.history(run_id)):
            yield f"{show('run', run_id)}: {what}"


def some_seeds(seeds: range) -> list[Report]:
    logging.disable(logging.CRITICAL)
    return [one_seed(seed) for seed in seeds]


def main(first: int, count: int, *, traces: bool = False) -> int:
    """Grind them; answers how many failed."""
    began = time.monotonic()
    faults: Counter[str] = Counter()
    statuses: Counter[str] = Counter()
    failed = done = moves = 0
    chunks = [
        range(start, min(start + CHUNK, first + count))
        for start in range(first, first + count, CHUNK)
    ]
    with ProcessPoolExecutor(os.cpu_count()) as pool:
        for reports in pool.map(some_seeds, chunks):
            for report in reports:
                done += 1
                moves += report.moves
                faults += report.faults
                statuses += report.statuses
                if traces:
                    print(report.seed, report.trace)
                if report.breaches:
                    failed += 1
                    shown = "\n  ".join(report.breaches[:SHOWN])
                    print(f"seed {report.seed}:\n  {shown}", flush=True)
            if not traces and done % SHOW_EACH == 0:
                print(f"{done} seeds, {failed} failed", flush=True)
    if not traces:
        seconds = time.monotonic() - began
        print(f"{done} seeds, {failed} failed; {moves} moves; {done / seconds:.1f} seeds/s")
        print(f"faults: {dict(faults)}\nruns: {dict(statuses)}")
    return failed


if __name__ == "__main__":
    words = [word for word in sys.argv[1:] if word != "--traces"]
    sys.exit(min(1, main(int(words[0]), int(words[1]), traces="--traces" in sys.argv)))
