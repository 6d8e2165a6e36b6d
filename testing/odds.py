"""How often things go wrong in a simulation."""

from __future__ import annotations

from dataclasses import dataclass, fields
from random import Random
from typing import Final


@dataclass(slots=True)
class Odds:
    """How often things go wrong, per call of the store or per move."""

    fail: float = 0.02
    lose_answer: float = 0.03
    lose_call: float = 0.02
    crash_before: float = 0.01
    crash_after: float = 0.01
    delay: float = 0.15
    stall: float = 0.01
    """While a call waits, time passes beyond the lease."""


def drawn_odds(random: Random) -> Odds:
    """Some seeds are mild, some are rough, and each in its own way."""
    usual = Odds()
    return Odds(
        **{
            each.name: getattr(usual, each.name) * random.choice([0, 0.5, 1, 1, 3])
            for each in fields(usual)
        }
    )


CALM: Final = Odds(0, 0, 0, 0, 0, 0, 0)
