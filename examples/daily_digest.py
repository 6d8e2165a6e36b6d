"""Every morning at nine, Berlin time, whatever the clocks do: a digest of the day before.

    wf worker examples/daily_digest.py --db .wf/wf.db         it fires as long as a worker runs
    wf schedules list --db .wf/wf.db                          when it fires next
    wf run examples/daily_digest.py '{"timestamp": "2025-06-02T09:00+02:00"}'   one run by hand

A worker that was down at nine makes up for it, within a day. A digest that is still under way when
the next one is due makes that one skip.
"""

from __future__ import annotations

from datetime import date, timedelta

import wf


@wf.step
async def count_orders(day: date) -> int:
    return day.day % 7 + 2


@wf.step
async def send_digest(text: str) -> str:
    print(text)
    return text


@wf.schedules.task(cron="0 9 * * *", timezone="Europe/Berlin")
async def daily_digest(tick: wf.ScheduleTick) -> str:
    yesterday = tick.timestamp.date() - timedelta(days=1)
    orders = await count_orders(yesterday)
    return await send_digest(f"digest of {yesterday:%A}: {orders} orders")
