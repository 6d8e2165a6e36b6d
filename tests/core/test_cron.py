"""When a cron expression fires, held against an oracle that steps through the minutes.

The oracle knows nothing of gaps and overlaps: it walks over every minute of UTC, looks at the
zone's clock, and asks whether the five fields match.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from functools import cache
from itertools import pairwise
from typing import Any
from zoneinfo import ZoneInfo, available_timezones

import pytest

import wf
from wf.engine.core.cron import Cron, cron
from wf.engine.core.durations import from_ms, to_ms

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)
EXPRESSIONS = [
    *("* * * * *", "*/15 * * * *", "0 * * * *", "30 2 * * *", "0 2 * * *", "0,30 0-3 * * *"),
    *("5 1 * * 0", "15 3 * * 1-5", "59 23 * * *", "0 0 1 * *", "45 */2 28-31 * *", "30 1 * 3,10 *"),
]
POLICIES = [
    (nonexistent, ambiguous)
    for nonexistent in ("shift_forward", "skip")
    for ambiguous in ("earlier", "later", "both")
]


# --- the oracle -----------------------------------------------------------------------------------


def numbers(field: str, low: int, high: int) -> set[int]:
    found: set[int] = set()
    for part in field.split(","):
        span, _, every = part.partition("/")
        first, _, last = ("", "", "") if span == "*" else span.partition("-")
        start = int(first) if first else low
        end = int(last) if last else (high if span == "*" or every else start)
        found |= set(range(start, end + 1, int(every or 1)))
    return found


@cache
def fields(expression: str) -> tuple[frozenset[int], ...]:
    limits = ((0, 59), (0, 23), (1, 31), (1, 12), (0, 6))
    parts = expression.split()
    return tuple(
        frozenset(numbers(part, *limit)) for part, limit in zip(parts, limits, strict=True)
    )


def matches(expression: str, local: datetime) -> bool:
    minute, hour, day, month, weekday = fields(expression)
    _, _, days, _, weekdays = expression.split()
    by_day, by_weekday = local.day in day, local.isoweekday() % 7 in weekday
    both = days != "*" and weekdays != "*"
    on_day = by_day or by_weekday if both else by_day and by_weekday
    return local.minute in minute and local.hour in hour and local.month in month and on_day


Minutes = list[tuple[datetime, datetime]]
"""Each minute of UTC beside what the zone's clock shows."""


def minutes(zone: ZoneInfo, start: datetime, end: datetime) -> Minutes:
    found: Minutes = []
    while start < end:
        found.append((start, start.astimezone(zone).replace(tzinfo=None, fold=0)))
        start += MINUTE
    return found


def oracle(expression: str, walked: Minutes, nonexistent: str, ambiguous: str) -> list[datetime]:
    """What fires in these minutes: seen[local] lists the moments at which the clock showed it."""
    seen: dict[datetime, list[datetime]] = {}
    for moment, local in walked:
        seen.setdefault(local, []).append(moment)
    fired: set[datetime] = set()
    for local, moments in seen.items():
        if matches(expression, local):
            fired |= set({"earlier": moments[:1], "later": moments[-1:]}.get(ambiguous, moments))
    if nonexistent == "shift_forward":
        for (_, before), (moment, after) in pairwise(walked):
            missing = before + MINUTE
            while missing < after:
                if matches(expression, missing):
                    fired.add(moment)
                missing += MINUTE
    return sorted(fired)


# --- every zone -----------------------------------------------------------------------------------


def changes_of(zone: ZoneInfo) -> Iterable[datetime]:
    """The moments, to the minute, at which its offset changes in 2020-2035."""
    at, end = datetime(2020, 1, 1, tzinfo=UTC), datetime(2036, 1, 1, tzinfo=UTC)
    offset = at.astimezone(zone).utcoffset()
    while at < end:
        before, offset = offset, (at + DAY).astimezone(zone).utcoffset()
        if before != offset:
            low, high = at, at + DAY
            while high - low > MINUTE:
                middle = low + (high - low) // 2
                middle = middle.replace(second=0, microsecond=0)
                if middle.astimezone(zone).utcoffset() == before:
                    low = middle
                else:
                    high = middle
            yield high
        at += DAY


Change = tuple[timedelta | None, timedelta | None, datetime]


@cache
def changes() -> list[tuple[str, datetime]]:
    """Of those that look alike, to the clock on the wall and the calendar, one of each."""
    found: dict[Change, tuple[str, datetime]] = {}
    for name in sorted(available_timezones()):
        zone = ZoneInfo(name)
        for at in changes_of(zone):
            before, after = (at - MINUTE).astimezone(zone), at.astimezone(zone)
            look = (before.utcoffset(), after.utcoffset(), at)
            found.setdefault(look, (name, at))
    return sorted(found.values())


def fires(times: Cron, start: datetime, end: datetime) -> list[datetime]:
    found: list[datetime] = []
    for at in times.after(to_ms(start) - 1):
        if at >= to_ms(end):
            return found
        found.append(from_ms(at))
    raise AssertionError


@pytest.mark.parametrize("part", range(2))
def test_every_change_of_every_zone_is_as_the_oracle_says(part: int) -> None:
    known = changes()
    assert len(known) > 300, "there are that many changes"
    for number, (name, at) in enumerate(known[part::2]):
        zone = ZoneInfo(name)
        start, end = at - timedelta(hours=3), at + timedelta(hours=4)
        # the overlap's first pass may lie before the window: what is compared lies inside
        inner, until = at - timedelta(hours=1, minutes=30), at + timedelta(hours=2, minutes=30)
        walked = minutes(zone, start, end)
        for place, (nonexistent, ambiguous) in enumerate(POLICIES[number % 2 :: 2]):
            expression = EXPRESSIONS[(5 * number + place) % len(EXPRESSIONS)]
            times = cron(expression, name, nonexistent=nonexistent, ambiguous=ambiguous)  # type: ignore[arg-type]
            wanted = [
                moment
                for moment in oracle(expression, walked, nonexistent, ambiguous)
                if inner <= moment < until
            ]
            assert fires(times, inner, until) == wanted, (name, at, times)


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_every_expression_over_the_days_around_a_change(expression: str) -> None:
    for name, day in [
        ("Europe/Berlin", datetime(2025, 3, 30, tzinfo=UTC)),
        ("Europe/Berlin", datetime(2025, 10, 26, tzinfo=UTC)),
        ("Australia/Lord_Howe", datetime(2025, 4, 5, tzinfo=UTC)),
        ("America/Havana", datetime(2025, 11, 2, tzinfo=UTC)),
        ("Asia/Tokyo", datetime(2025, 5, 31, tzinfo=UTC)),
    ]:
        start, end = day - DAY, day + 2 * DAY
        walked = minutes(ZoneInfo(name), start - DAY, end + DAY)
        for nonexistent, ambiguous in POLICIES:
            times = cron(expression, name, nonexistent=nonexistent, ambiguous=ambiguous)  # type: ignore[arg-type]
            wanted = oracle(expression, walked, nonexistent, ambiguous)
            assert fires(times, start, end) == [at for at in wanted if start <= at < end]


def test_a_daily_job_fires_once_on_every_local_day() -> None:
    for name, at in changes():
        zone = ZoneInfo(name)
        noon = at.astimezone(zone).replace(hour=12, minute=0, fold=0, tzinfo=None)
        start, end = ((noon + days * DAY).replace(tzinfo=zone) for days in (-2, 2))
        for expression in ("30 2 * * *", "15 0 * * *", "0 3 * * *"):
            days = [
                moment.astimezone(zone).date()
                for moment in fires(cron(expression, name), start, end)
            ]
            assert len(days) == len(set(days)), (name, at, expression)
            assert len(days) == 4, (name, at, expression)


# --- words ----------------------------------------------------------------------------------------


def test_the_days_of_a_gap_and_an_overlap_are_marked() -> None:
    times = cron("30 2 * * *", "Europe/Berlin")
    march = times.upcoming(to_ms(datetime(2025, 3, 29, tzinfo=UTC)), 3)
    assert [times.note(at) for at in march] == [
        *("", "gap: 02:00 to 03:00 does not exist on this day", ""),
    ]
    october = times.upcoming(to_ms(datetime(2025, 10, 25, tzinfo=UTC)), 3)
    assert [times.note(at) for at in october] == [
        *("", "overlap: 02:00 to 03:00 happens twice on this day", ""),
    ]


@pytest.mark.parametrize(
    "expression",
    [
        "",
        "* * * *",
        "* * * * * *",
        "61 * * * *",
        "0 25 * * *",
        "0 0 30 2 *",
        "H * * * *",
        "nine",
        9,
    ],
)
def test_a_bad_expression_is_told_in_one_line(expression: Any) -> None:
    with pytest.raises(wf.DeclarationError, match=r"^cron=.*give .*five fields.*$") as refused:
        cron(expression)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("zone", "hint"), [("Berlin", "Europe/Berlin"), ("europe/berlin", "Europe/Berlin"), ("", "")]
)
def test_a_bad_zone_is_told_in_one_line(zone: str, hint: str) -> None:
    with pytest.raises(wf.DeclarationError, match=f"^timezone=.*IANA.*{hint}.*$"):
        cron("0 9 * * *", zone)


def test_shorthands_are_what_they_say() -> None:
    assert cron("@daily").expression == "0 0 * * *"
    assert cron(" 0  9 * * 1-5 ").expression == "0 9 * * 1-5"
