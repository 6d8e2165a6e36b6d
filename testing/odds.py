"""How often things go wrong in a simulation."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, fields, replace
from random import Random
from typing import Final


@dataclass(slots=True)
class Odds:
    """How often things go wrong, per call of the store."""

    fail: float = 0.02
    lose_answer: float = 0.03
    lose_call: float = 0.02
    crash_before: float = 0.01
    crash_after: float = 0.01
    delay: float = 0.15
    stall: float = 0.01
    """While a call waits, time passes beyond the lease."""
    crash: float = 0.7
    """From here on per move, beside the 90 of ordinary ones: a process is lost between calls."""
    stand: float = 0.7
    """It stands still, maybe for longer than its lease."""
    jump: float = 0.7
    """Its clock does."""
    leave: float = 0.4
    cancel: float = 1


KINDS: Final[Mapping[str, tuple[str, ...]]] = {
    "lost": ("crash_before", "crash_after", "crash"),
    "taken": ("stall", "stand"),
    "again": ("fail", "lose_answer", "lose_call"),
    "jumps": ("jump",),
    "canceled": ("cancel",),
}
"""What people call it, and what does it."""


def drawn_odds(random: Random) -> Odds:
    """Some seeds are mild, some are rough, and each in its own way."""
    usual = Odds()
    return Odds(
        **{
            each.name: getattr(usual, each.name) * random.choice([0, 0.5, 1, 1, 3])
            for each in fields(usual)
        }
    )


def without(odds: Odds, kinds: Collection[str]) -> Odds:
    """As if nothing of these KINDS could be."""
    return replace(odds, **{name: 0.0 for kind in kinds for name in KINDS[kind]})


CALM: Final = Odds(**{each.name: 0 for each in fields(Odds)})
