"""A generator as a task: a trial of two weeks, a reminder, and monthly charges until one fails.

    wf run examples/trial.py @examples/onboarding.json --skip-waits

`yield from` an operation is what `await` is in an `async` task, and as typed; nothing else differs.
"""

from __future__ import annotations

from pydantic import BaseModel

import wf

MONTHS = 3
PRICE_CENTS = 900


class User(BaseModel):
    user_id: str
    email: str


class Declined(Exception):
    """The card was declined: trying again at once changes nothing."""


@wf.step
async def send(user: User, template: str) -> str:
    return f"{template} to {user.email}"


@wf.step(retry=wf.Retry(max_attempts=4, min_delay="1h", max_delay="2d", give_up_on=(Declined,)))
async def charge(user: User, month: int, cents: int) -> str:
    """The key makes it one charge, however often a crash or a retry asks for it."""
    step = wf.current().step
    assert step is not None
    return f"charge-{step.idempotency_key[:8]}"


@wf.task
def trial(user: User) -> wf.Gen[list[str]]:
    yield from send(user, "trial-begins")
    yield from wf.wait.for_(days=12)
    yield from send(user, "trial-ends-soon")
    yield from wf.wait.for_(days=2)
    charges: list[str] = []
    try:
        for month in range(1, MONTHS + 1):
            charges.append((yield from charge(user, month, PRICE_CENTS)))
            yield from wf.wait.for_(days=30)
    except wf.StepFailed as failed:
        yield from send(user, "card-declined" if failed.matches(Declined) else "payment-trouble")
    return charges
