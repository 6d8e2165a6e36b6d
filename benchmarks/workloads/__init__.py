"""What is measured, by letter: each a function from a Bench to figures. Its docstring says what it
measures; its first line is the title. Each runs in a process of its own:

    python -m benchmarks.workloads A sqlite:////var/tmp/bench.db [--size usual] [--folder FOLDER]
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from benchmarks.bench import Bench
from benchmarks.figures import Figure
from benchmarks.workloads import cold, growth, latency, notes, recovery, sleep, throughput

Workload = Callable[[Bench], Iterator[Figure]]

WORKLOADS: Final[Mapping[str, Workload]] = {
    "A": throughput.one_step_runs,
    "B": throughput.many_runs_of_steps,
    "C": latency.one_sequence,
    "D": latency.one_run,
    "E": throughput.children,
    "F": sleep.sleepers,
    "G": cold.starts,
    "H": growth.disk,
    "I": recovery.killed,
    "J": growth.scaling,
    "K": notes.live_writes,
    "L": throughput.triggers,
}


def title_of(letter: str) -> str:
    return (WORKLOADS[letter].__doc__ or "").partition("\n")[0].rstrip(".:")
