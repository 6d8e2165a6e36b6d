"""A person in the loop: an answer is drafted, somebody decides, and only then it is sent.

    wf run examples/approval.py "Where is my order?"

It prints a token with the command that completes it; run that in another terminal:

    wf tokens complete token_… '{"approved": true, "note": "kind and short"}' --db .wf/wf.db

Nobody decides within a week: the answer is dropped.
"""

from __future__ import annotations

from pydantic import BaseModel

import wf


class Decision(BaseModel):
    approved: bool
    note: str = ""


@wf.step
async def draft_answer(question: str) -> str:
    """Where a language model or a colleague would write."""
    return f"You asked: {question!r}. We look into it and write to you today."


@wf.step
async def send(answer: str) -> str:
    return f"sent: {answer}"


@wf.task
async def approval(question: str) -> str:
    answer = await draft_answer(question)
    token = await wf.wait.create_token(Decision, timeout="7d", tags=["approval"])
    try:
        decision = await wf.wait.for_token(token)  # checked when it is handed in; typed here
    except wf.TokenTimedOut:
        return "nobody decided within a week"
    if not decision.approved:
        return f"not sent: {decision.note or 'no reason given'}"
    return await send(answer)
