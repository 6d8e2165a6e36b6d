"""A batch with keys: everybody on the list is welcomed once, however often the list is sent.

    wf run examples/welcome_batch.py '["ada@example.com", "grace@example.com", "ada@example.com"]'

The batch is one transaction: all of its runs exist, or none. Two items with one key are one run.
"""

from __future__ import annotations

import wf


@wf.step
async def send(email: str) -> str:
    return f"welcome, {email}"


@wf.task
async def welcome(email: str) -> str:
    return await send(email)


@wf.task
async def welcome_batch(emails: list[str]) -> list[str]:
    items = [wf.Item(email, idempotency_key=f"welcome/{email}") for email in emails]
    return await welcome.batch_trigger_and_wait(items)
