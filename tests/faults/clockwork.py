"""Tasks by the clock, and what must be true of their slots."""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from itertools import takewhile

import wf
from wf.engine.core.ticks import cron_of
from wf.history.ids import show
from wf.history.schedules import MAX_SKIPS, Schedule
from wf.history.store import Store, query_of
from wf.testing.ledger import note


@wf.step
async def knock(minute: int) -> int:
    note()
    return minute


@wf.schedules.task(cron="*/6 * * * *", overlap="cancel_previous")
@wf.schedules.task(cron="*/5 * * * *", overlap="queue", catch_up="all")
@wf.schedules.task(cron="*/4 * * * *", catch_up="none")
async def knocks(tick: wf.ScheduleTick) -> int:
    """At times it takes longer than to the next slot."""
    minute = await knock(tick.timestamp.minute)
    await wf.wait.for_(timedelta(seconds=370 if 4 <= minute % 12 < 8 else 0))
    return minute


def slot_breaches(store: Store, environment: str) -> list[str]:
    """Each slot of each schedule has fired once, or is told of as skipped, or waits."""
    return [
        f"{show('schedule', schedule.id)}: {what}"
        for schedule in store.list_schedules(environment)
        for what in _breaches(store, schedule)
    ]


def _breaches(store: Store, schedule: Schedule) -> list[str]:
    told = Counter(_fired(store, schedule))
    told.update(schedule.queued)
    times = cron_of(schedule).after(schedule.created_at)
    slots = list(takewhile(lambda slot: slot < schedule.next_at, times))
    for skip in schedule.skipped:
        told.update(slot for slot in slots if skip.first <= slot <= skip.last)
    found = [f"the slot {at} was told {count} times" for at, count in told.items() if count > 1]
    if len(schedule.skipped) < MAX_SKIPS:
        found += [f"the slot {at} is lost" for at in slots if at not in told]
    return found + [f"there is no slot {at}" for at in sorted(set(told) - set(slots))]


def _fired(store: Store, schedule: Schedule) -> list[int]:
    sql = "SELECT id FROM runs WHERE schedule_id = ?"
    ids = [bytes(row[0]) for row in query_of(store)(sql, [schedule.id])]
    payloads = [run.payload for run in store.get_runs(ids).values()]
    ticks = [knocks.signature.decode_call(payload)[0][0] for payload in payloads]
    return [round(tick.timestamp.timestamp() * 1_000) for tick in ticks]
