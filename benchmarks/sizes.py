"""How much of everything is measured. Only the standard library."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

BATCH: Final = 500
"""Runs in one trigger."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything."""

    runs: int = 10_000
    steps: int = 100
    """Of each of 100 runs (B)."""
    sequence: int = 1_000
    """Steps of one run (C)."""
    repeats: int = 200
    """Of what is measured one by one (D)."""
    children: int = 500
    sleepers: tuple[int, int] = (10_000, 50_000)
    idle_s: float = 10
    lags: int = 10
    due_at_once: int = 1_000
    recorded: int = 10_000
    """Steps of the run that is killed (I)."""
    finished: tuple[int, int] = (10_000, 50_000)
    queued: int = 50_000
    workers: tuple[int, ...] = (1, 2, 4)
    clients: int = 16
    single: int = 4_000
    """Runs triggered one by one (L)."""
    rows: int = 20_000
    """Of metadata and streams (K)."""
    seconds: float = 2
    """Of what is measured for a time: the floor."""


USUAL: Final = Sizes()
SMALL: Final = replace(
    USUAL,
    runs=2_000,
    sleepers=(2_000, 6_000),
    finished=(5_000, 15_000),
    queued=15_000,
    single=800,
    rows=5_000,
    seconds=1,
)
"""For a machine that is busy with something else."""
FULL: Final = replace(
    USUAL,
    sleepers=(10_000, 1_000_000),
    finished=(100_000, 5_000_000),
    queued=1_000_000,
    seconds=4,
)
"""As the issue of speed asks: the sleepers (F) and what is there already (J) take a quarter of an
hour."""
SHORT: Final = Sizes(
    runs=40,
    steps=1,
    sequence=5,
    repeats=2,
    children=5,
    sleepers=(10, 20),
    idle_s=0.1,
    lags=1,
    due_at_once=5,
    recorded=20,
    finished=(20, 40),
    queued=20,
    workers=(1,),
    clients=1,
    single=10,
    rows=50,
    seconds=0.02,
)
"""That they run, and nothing else."""
SIZES: Final = {"short": SHORT, "small": SMALL, "usual": USUAL, "full": FULL}
