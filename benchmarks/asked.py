"""What is asked of wf, in terms of what else was measured in the same run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

DURABLE: Final = ("dbos sqlite", "dbos postgres", "absurd postgres", "restate")
"""Engines whose steps are recorded."""

Key = tuple[str, str, str]
"""Subject, workload, name of the figure."""


@dataclass(frozen=True, slots=True)
class Medians:
    """Of all that was measured; `store`: of which subject something is asked."""

    values: Mapping[Key, float]
    store: str

    def floor(self, workload: str, name: str) -> float | None:
        return self.values.get((f"floor {self.store}", workload, name))

    def peer(self, workload: str, name: str, best: Callable[[list[float]], float]) -> float | None:
        """The best of the durable engines."""
        found = [
            value
            for subject in DURABLE
            if (value := self.values.get((subject, workload, name))) is not None
        ]
        return best(found) if found else None

    def of(self, subject: str, workload: str, name: str) -> float | None:
        return self.values.get((subject, workload, name))


Limit = Callable[[Medians], float | None]


@dataclass(frozen=True, slots=True)
class Asked:
    """`said`: where the limit comes from. `limit` answers None where that was not measured."""

    said: str
    limit: Limit
    is_more_better: bool


def _times(factor: float, value: float | None) -> float | None:
    return None if value is None else factor * value


def _fixed(value: float) -> Limit:
    return lambda _medians: value


def _runs(medians: Medians) -> float | None:
    return _times(5, medians.peer("A", "runs", max))


def _drained(medians: Medians) -> float | None:
    return _times(0.5, medians.of("pgqueuer postgres", "A", "runs, drained"))


def _steps(medians: Medians) -> float | None:
    found = [
        _times(4, medians.peer("B", "steps", max)),
        _times(0.25, medians.floor("B", "steps")),
    ]
    known = [one for one in found if one is not None]
    return max(known) if known else None


def _sequence(medians: Medians) -> float | None:
    floor = medians.floor("C", "step, p50")
    return None if floor is None else floor + 0.3


def _children(medians: Medians) -> float | None:
    return _times(0.5, medians.peer("E", "children", min))


def _memory(medians: Medians) -> float | None:
    few = medians.of(f"wf {medians.store}", "F", "memory of the worker, few")
    return None if few is None else min(100.0, 1.1 * few)


def _most(said: str, limit: float | Limit) -> Asked:
    return Asked(said, limit if callable(limit) else _fixed(limit), is_more_better=False)


def _least(said: str, limit: float | Limit) -> Asked:
    return Asked(said, limit if callable(limit) else _fixed(limit), is_more_better=True)


ASKED: Final[Mapping[tuple[str, str], Asked]] = {
    ("A", "runs"): _least("5 times the best durable peer", _runs),
    ("A", "runs, drained"): _least("half of pgqueuer", _drained),
    ("B", "steps"): _least("4 times the best peer, 1/4 of the floor", _steps),
    ("C", "step, p50"): _most("the floor + 0.3 ms", _sequence),
    ("D", "start, same process, p50"): _most("1.9 ms", 1.9),
    ("D", "start, other process, p50"): _most("1.9 ms", 1.9),
    ("D", "result, same process, p50"): _most("4.2 ms", 4.2),
    ("D", "result, other process, p50"): _most("4.2 ms", 4.2),
    ("E", "children"): _most("half of the best peer", _children),
    ("F", "put to sleep, few"): _least("5,000/s", 5_000),
    ("F", "put to sleep, many"): _least("5,000/s", 5_000),
    ("F", "memory of the worker, few"): _most("100 MB", 100),
    ("F", "memory of the worker, many"): _most("as with few (+10%), 100 MB", _memory),
    ("F", "idle CPU, few"): _most("2% of a core", 2),
    ("F", "idle CPU, many"): _most("2% of a core", 2),
    ("F", "late, one"): _most("10 ms", 10),
    ("F", "late, the last of many at once"): _most("1 s", 1_000),
    ("G", "new database"): _most("0.6 s", 0.6),
    ("G", "old database"): _most("0.4 s", 0.4),
    ("G", "memory"): _most("70 MB", 70),
    ("G", "wf --help"): _most("0.2 s", 0.2),
    ("H", "a step"): _most("155 B", 155),
    ("H", "a run of one step"): _most("600 B", 600),
    ("I", "go on"): _most("0.15 s", 0.15),
    ("K", "cost to A"): _most("10%", 10),
    ("L", "triggers, 16 clients"): _least("5,000/s", 5_000),
    ("L", "triggers in batches"): _least("40,000/s", 40_000),
}


def asked_of(workload: str, name: str) -> Asked | None:
    if workload == "J" and name.startswith("cost of"):
        return _most("flat within 1.5 times", 1.5)
    return ASKED.get((workload, name))
