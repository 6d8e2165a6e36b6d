"""One measured number, and how it travels from the process that measured it: a line of JSON.

Only the standard library: the programs that measure other engines use it, too, and those run in
environments without wf.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from typing import Final

MARK: Final = "figure "
"""What such a line begins with: what engines print by themselves is passed over."""


@dataclass(frozen=True, slots=True)
class Figure:
    """`name`: what it is, the same for all engines. `unit`: "/s", "ms", "s", "MB", "B", "%", "x".
    `is_paranoid`: every body was checked by a second one (as `wf run` does, and workers do not)."""

    workload: str
    name: str
    value: float
    unit: str
    is_paranoid: bool = False

    def tell(self) -> None:
        print(f"{MARK}{json.dumps(asdict(self))}", flush=True)


def told(lines: Iterable[str]) -> list[Figure]:
    """What a process told on its standard output."""
    return [Figure(**json.loads(line[len(MARK) :])) for line in lines if line.startswith(MARK)]


def part(values: Sequence[float], share: float) -> float:
    """The value below which `share` of them are."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def spread(workload: str, name: str, values_ms: Sequence[float]) -> list[Figure]:
    """p50 and p99 of durations."""
    return [
        Figure(workload, f"{name}, p50", part(values_ms, 0.5), "ms"),
        Figure(workload, f"{name}, p99", part(values_ms, 0.99), "ms"),
    ]


def rate(workload: str, name: str, count: int, work: Callable[[], object]) -> Figure:
    """How many in a second."""
    return Figure(workload, name, count / seconds(work), "/s")


def seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def until(condition: Callable[[], object], what: str, limit_s: float = 600, look_s: float = 0.02):
    """Wait for something that nobody tells of. Ends this process after `limit_s`."""
    ends_at = time.monotonic() + limit_s
    while not condition():
        if time.monotonic() > ends_at:
            sys.exit(f"not within {limit_s:.0f} s: {what}")
        time.sleep(look_s)
