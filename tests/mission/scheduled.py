"""What the tests of schedules run by the clock."""

from __future__ import annotations

from pydantic import BaseModel

import wf


@wf.step
async def gather(day: str) -> str:
    return f"news of {day}"


@wf.schedules.task(cron="0 9 * * *", timezone="America/New_York", tags=["digest"])
async def daily_digest(tick: wf.ScheduleTick) -> str:
    return await gather(f"{tick.timestamp:%Y-%m-%d %H:%M}")


@wf.schedules.task(cron="0 18 * * 5")
@wf.schedules.task(cron="0 6 * * 1")
async def weekly(tick: wf.ScheduleTick) -> wf.ScheduleTick:
    return tick


@wf.task
async def report(tick: wf.ScheduleTick) -> str:
    return f"report for {tick.external_id}"


class Review(BaseModel):
    approved: bool


@wf.schedules.task(cron="0 2 * * *")
async def nightly_agent(tick: wf.ScheduleTick) -> str:
    """A nightly job that is an agent: it streams, and pauses for a person."""
    stream = wf.stream("thoughts")
    stream.append(await gather(f"{tick.timestamp:%Y-%m-%d}"))
    token = await wf.wait.create_token(Review)
    wf.metadata.set("token", token.id)
    review = await wf.wait.for_token(token)
    stream.append("published" if review.approved else "dropped")
    return "published" if review.approved else "dropped"
