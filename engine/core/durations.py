"""Durations: a `timedelta`, a string ("1d12h", "500ms") or a number of seconds.

Milliseconds inside.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Final

from wf.history.errors import DeclarationError

type_doc = "a timedelta, a number of seconds, or a string such as '500ms', '30s', '1d12h'"
Duration = timedelta | str | int | float

_UNITS: Final = {
    "ms": 1,
    "s": 1_000,
    "m": 60_000,
    "h": 3_600_000,
    "d": 86_400_000,
    "w": 604_800_000,
}
_PART: Final = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")
MAX_DURATION_MS: Final = 100 * 365 * 86_400_000
"""A century: more is a mistake in the unit."""


def milliseconds(value: Duration, what: str = "duration") -> int:
    """Whole milliseconds, rounded. Raises DeclarationError for anything else, or negative."""
    match value:
        case bool():
            raise DeclarationError(f"{what}={value!r}: give {type_doc}")
        case timedelta():
            amount = value / timedelta(milliseconds=1)
        case int() | float():
            amount = value * 1_000
        case str():
            parts = _PART.findall(value)
            if not parts or "".join(number + unit for number, unit in parts) != value.strip():
                raise DeclarationError(f"{what}={value!r}: give {type_doc}")
            amount = sum(float(number) * _UNITS[unit] for number, unit in parts)
        case _:
            raise DeclarationError(f"{what}={value!r}: give {type_doc}")
    if not 0 <= amount <= MAX_DURATION_MS:
        raise DeclarationError(f"{what}={value!r}: give a duration between 0 and 100 years")
    return round(amount)


def show_duration(ms: int) -> str:
    """For people: the two largest units, "1d 12h", "350ms"."""
    if ms < 1_000:
        return f"{ms}ms"
    if ms < 60_000:
        return f"{ms / 1_000:.1f}s".replace(".0s", "s")
    ms = round(ms / 1_000) * 1_000
    parts: list[str] = []
    for unit in ("w", "d", "h", "m", "s"):
        amount, ms = divmod(ms, _UNITS[unit])
        if amount:
            parts.append(f"{amount}{unit}")
        if len(parts) == 2:
            break
    return " ".join(parts)


def to_ms(moment: datetime, what: str = "datetime") -> int:
    """Milliseconds since the epoch.

    Naive datetimes are refused: they mean another moment on another machine.
    """
    if moment.tzinfo is None:
        raise DeclarationError(
            f"{what}={moment!r} has no timezone: add tzinfo, for instance datetime.now(UTC)"
        )
    return -((_EPOCH - moment) // timedelta(milliseconds=1))


def from_ms(ms: int) -> datetime:
    """The aware UTC datetime of so many milliseconds since the epoch."""
    return _EPOCH + timedelta(milliseconds=ms)


_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
