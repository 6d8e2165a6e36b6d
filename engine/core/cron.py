"""When a cron expression fires: pure time, no clock.

croniter parses, and enumerates *naive local* times; the zone is applied here, by two named
policies. `nonexistent`: a local time that a zone skips (clocks go forward) fires once, right after
the gap ("shift_forward"), or not at all ("skip"). `ambiguous`: a local time that happens twice
(clocks go back) fires the first time ("earlier"), the second ("later"), or each time ("both").
"""

from __future__ import annotations

import heapq
from collections.abc import Generator, Iterator
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from itertools import islice
from typing import Any, Final, get_args
from zoneinfo import ZoneInfo

from msgspec import Struct

from wf.engine.core.durations import from_ms, to_ms
from wf.history.errors import DeclarationError
from wf.history.schedules import Ambiguous, Nonexistent

_SECOND: Final = timedelta(seconds=1)
_SOME_TIME: Final = datetime(2024, 1, 1)  # noqa: DTZ001 - local to no zone
_SHORTHANDS: Final = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_FIELDS: Final = "minute hour day-of-month month day-of-week"
_YEARS_BETWEEN: Final = 50
"""croniter looks so far ahead: an expression that never matches (30 February) is refused."""


class Cron(Struct, frozen=True):
    """A checked expression in a zone. Times are milliseconds since the epoch."""

    expression: str
    timezone: str = "UTC"
    nonexistent: Nonexistent = "shift_forward"
    ambiguous: Ambiguous = "earlier"

    def after(self, at: int) -> Generator[int]:
        """The instants at which it fires later than `at`, in order, without end."""
        last = at
        for instant in self._instants(at):
            if instant > last:
                last = instant
                yield instant

    def next(self, at: int) -> int:
        """The first of them."""
        return next(self.after(at))

    def upcoming(self, at: int, count: int) -> list[int]:
        """The first `count` of them."""
        return list(islice(self.after(at), count))

    def _instants(self, at: int) -> Iterator[int]:
        """In order, with repeats, beginning at `at` or somewhat earlier."""
        zone = zone_of(self.timezone)
        waiting: list[int] = []
        for naive in _naive_times(self.expression, _naive_start(from_ms(at), zone)):
            found = self._of(naive, zone)
            bound = to_ms(naive.replace(tzinfo=zone))
            while waiting and waiting[0] < bound:
                yield heapq.heappop(waiting)
            for instant in found:
                heapq.heappush(waiting, instant)

    def _of(self, naive: datetime, zone: ZoneInfo) -> tuple[int, ...]:
        """The instants at which this local time fires."""
        first, second = naive.replace(tzinfo=zone, fold=0), naive.replace(tzinfo=zone, fold=1)
        before, after = _offset(first), _offset(second)
        if before == after:
            return (to_ms(first),)
        if before < after:
            gap_end = _change_between(second.astimezone(UTC), first.astimezone(UTC), zone)
            return (to_ms(gap_end),) if self.nonexistent == "shift_forward" else ()
        match self.ambiguous:
            case "earlier":
                return (to_ms(first),)
            case "later":
                return (to_ms(second),)
            case "both":
                return (to_ms(first), to_ms(second))

    def note(self, instant: int) -> str:
        """What is odd about the local day of that instant; "" on most days."""
        zone = zone_of(self.timezone)
        local = from_ms(instant).astimezone(zone)
        start = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).astimezone(UTC)
        naive_end = local.replace(tzinfo=None, fold=0, hour=0, minute=0, second=0, microsecond=0)
        end = (naive_end + timedelta(days=1)).replace(tzinfo=zone, fold=1).astimezone(UTC)
        before, after = _offset(start.astimezone(zone)), _offset((end - _SECOND).astimezone(zone))
        if before == after:
            return ""
        change = _change_between(start, end, zone)
        old = change.astimezone(_fixed(before))
        new = change.astimezone(_fixed(after))
        if before < after:
            return f"gap: {old:%H:%M} to {new:%H:%M} does not exist on this day"
        return f"overlap: {new:%H:%M} to {old:%H:%M} happens twice on this day"


def cron(
    expression: str,
    timezone: str = "UTC",
    *,
    nonexistent: Nonexistent = "shift_forward",
    ambiguous: Ambiguous = "earlier",
) -> Cron:
    """Checked. Raises DeclarationError, which says what to write."""
    given: Any = expression
    if not isinstance(given, str):
        raise DeclarationError(
            f"cron={given!r}: give a string of five fields, {_FIELDS}: '0 9 * * *'"
        )
    text = " ".join(_SHORTHANDS.get(expression.strip().lower(), expression).split())
    if len(text.split()) != 5 or not _is_valid(text):
        raise DeclarationError(
            f"cron={expression!r}: give five fields, {_FIELDS}; '0 9 * * 1-5' is 9:00 on weekdays"
        )
    check_choice("nonexistent", nonexistent, Nonexistent)
    check_choice("ambiguous", ambiguous, Ambiguous)
    zone_of(timezone)
    return Cron(text, timezone, nonexistent, ambiguous)


def check_choice(name: str, value: object, choices: Any) -> None:
    """Raises DeclarationError for what is none of a Literal's."""
    known = get_args(choices)
    if value not in known:
        raise DeclarationError(f"{name}={value!r}: give one of {', '.join(known)}")


@lru_cache(maxsize=1_000)
def zone_of(name: str) -> ZoneInfo:
    """Raises DeclarationError for what is no zone of the IANA database."""
    try:
        return ZoneInfo(name)
    except Exception:
        near = _near(name)
        hint = f" (did you mean {near}?)" if near else ""
        raise DeclarationError(
            f"timezone={name!r}: give a name of the IANA database such as 'Europe/Berlin'{hint}"
        ) from None


def _near(name: Any) -> str:
    from difflib import get_close_matches
    from zoneinfo import available_timezones

    zones = {zone.casefold(): zone for zone in available_timezones()}
    last = {zone.casefold().rpartition("/")[2]: zone for zone in sorted(zones.values())}
    wanted = str(name).casefold().replace(" ", "_")
    for known in (last, zones):
        close = get_close_matches(wanted, known, 1, 0.8)
        if close:
            return known[close[0]]
    return ""


def _is_valid(text: str) -> bool:
    """What croniter takes; words that it draws by chance (`H`, `R`) are none of ours."""
    try:
        next(_naive_times(text, _SOME_TIME))
    except Exception:  # ValueError, KeyError and others, by the mistake
        return False
    return True


def _naive_times(expression: str, start: datetime) -> Iterator[datetime]:
    """From `start`, inclusive."""
    from croniter import croniter  # pyright: ignore[reportMissingTypeStubs]

    times = croniter(expression, start - _SECOND, max_years_between_matches=_YEARS_BETWEEN)
    while True:
        yield times.get_next(datetime)


def _naive_start(moment: datetime, zone: ZoneInfo) -> datetime:
    """The earliest local time that may still fire after this moment."""
    local = moment.astimezone(zone)
    naive = local.replace(tzinfo=None, fold=0)
    twice = _offset(local.replace(fold=0)) - _offset(local.replace(fold=1))
    return (naive - max(twice, timedelta())).replace(microsecond=0)


def _offset(moment: datetime) -> timedelta:
    offset = moment.utcoffset()
    assert offset is not None
    return offset


def _change_between(start: datetime, end: datetime, zone: ZoneInfo) -> datetime:
    """The second, in UTC, at which the zone's offset is no longer that of `start`."""
    before = _offset(start.astimezone(zone))
    while end - start > _SECOND:
        middle = start + (end - start) // 2
        middle = middle.replace(microsecond=0)
        if middle == start:
            break
        if _offset(middle.astimezone(zone)) == before:
            start = middle
        else:
            end = middle
    return end


def _fixed(offset: timedelta) -> timezone:
    return timezone(offset)
