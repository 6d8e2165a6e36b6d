"""Tasks that others send messages, as a user would write them."""

from __future__ import annotations

from pydantic import BaseModel

import wf


class Change(BaseModel):
    cents: int


class Account(BaseModel):
    cents: int = 0
    changes: int = 0
    until: int = 0


@wf.task
async def review(post: str) -> str:
    """Waits for an editor, a day at most."""
    try:
        verdict = await wf.wait.for_message("verdict", str, timeout="1d")
    except wf.MessageTimedOut:
        verdict = "nobody looked"
    return f"{post}: {verdict}"


@wf.task
async def account(state: Account) -> Account:
    """One message a life: the next one is read by a run with an empty history."""
    change = await wf.wait.for_message("change", Change)
    state.cents += change.cents
    state.changes += 1
    if state.changes == state.until:
        return state
    return await wf.restart(state)


@wf.step
def ask(run_id: str) -> str:
    """A step sends by a client of its own."""
    wf.client().runs.send(run_id, "verdict", "asked for")
    return run_id


@wf.task
async def editor(run_id: str) -> str:
    return await ask(run_id)
