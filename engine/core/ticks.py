"""`wf.ScheduleTick`: what a run of a schedule is given."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from wf.engine.core.cron import Cron, cron, zone_of
from wf.engine.core.durations import from_ms
from wf.history.ids import show
from wf.history.schedules import Schedule

UPCOMING: Final = 5


@dataclass(frozen=True, slots=True)
class ScheduleTick:
    """The payload of a run that a schedule started. Times are aware, in the schedule's zone."""

    timestamp: datetime
    """The slot: when it was to fire, not when it did."""
    last_timestamp: datetime | None = None
    """The slot that fired before; None at first."""
    timezone: str = "UTC"
    upcoming: tuple[datetime, ...] = ()
    """The next five slots."""
    schedule_id: str = ""
    external_id: str = ""

    def __post_init__(self) -> None:
        zone = zone_of(self.timezone)
        put = object.__setattr__
        put(self, "timestamp", self.timestamp.astimezone(zone))
        if self.last_timestamp is not None:
            put(self, "last_timestamp", self.last_timestamp.astimezone(zone))
        put(self, "upcoming", tuple(moment.astimezone(zone) for moment in self.upcoming))


def cron_of(schedule: Schedule) -> Cron:
    """Raises DeclarationError where this machine knows another zone database or croniter."""
    return cron(
        schedule.cron,
        schedule.timezone,
        nonexistent=schedule.nonexistent,
        ambiguous=schedule.ambiguous,
    )


def encode_tick(schedule: Schedule, at: int, last: int | None) -> bytes:
    """The payload for the slot `at`, as JSON; `last`: the slot before."""
    times = cron_of(schedule)
    tick = {
        "timestamp": _iso(at, times),
        "last_timestamp": _iso(last, times) if last is not None else None,
        "timezone": times.timezone,
        "upcoming": [_iso(one, times) for one in times.upcoming(at, UPCOMING)],
        "schedule_id": show("schedule", schedule.id),
        "external_id": schedule.external_id,
    }
    return json.dumps(tick).encode()


def _iso(at: int, times: Cron) -> str:
    return from_ms(at).astimezone(zone_of(times.timezone)).isoformat()
