"""A new user's first weeks: a welcome at once, tips after a day, an offer after a week.

    wf run examples/onboarding.py @examples/onboarding.json --skip-waits
    wf run examples/onboarding.py -- --user-id u1 --email ada@example.com

Without `--skip-waits` it takes eight days, of which it computes for some milliseconds. Kill it as
often as you like: `--resume` goes on, and no mail is sent twice.

Nothing here needs a network: `deliver` stands for the call of a mail provider.
"""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

import wf


class User(BaseModel):
    user_id: str
    email: str


class Receipt(BaseModel):
    message_id: str
    to: str


def deliver(to: str, template: str, key: str) -> Receipt:
    """A mail provider. It takes a key, and sends one mail however often it is asked."""
    return Receipt(message_id=f"{template}-{key[:8]}", to=to)


@wf.step(retry=wf.Retry(max_attempts=5, factor=1.8, min_delay="500ms", max_delay="30s"))
async def send_welcome_email(user: User) -> Receipt:
    return deliver(user.email, "welcome", _key())


@wf.step
async def send_email(user: User, template: str) -> Receipt:
    return deliver(user.email, template, _key())


def _key() -> str:
    """The same for every attempt of this call, after a crash, too."""
    step = wf.current().step
    assert step is not None
    return step.idempotency_key


@wf.task
async def send_tips(user: User) -> int:
    """Three tips, an hour apart."""
    for number in (1, 2, 3):
        await send_email(user, f"tip-{number}")
        await wf.wait.for_(hours=1)
    return 3


@wf.task
async def send_upgrade_offer(user: User) -> str:
    receipt = await send_email(user, "upgrade-offer")
    return receipt.message_id


@wf.task
async def onboarding(user: User) -> str:
    joined = wf.now()
    await send_welcome_email(user)  # a step: runs once, is tried again where it fails
    await wf.wait.for_(days=1)  # a row in a table, not a process
    await send_tips.trigger(user)  # a child run; this one goes on at once
    await wf.wait.until(joined + timedelta(days=8))
    offer = await send_upgrade_offer.trigger_and_wait(user)  # a child run; this one sleeps
    wf.logger.info("%s was made the offer %s", user.email, offer)
    return offer
