"""A person in the loop: a post is drafted, an editor decides, and only then it is published.

    wf run examples/publish_post.py "Why we moved to Postgres"

It prints a token with the command that completes it; run that in another terminal:

    wf tokens complete token_… '{"approved": true, "comment": "good"}' --db .wf/wf.db

An editor who asks for changes gets a new draft, three times at most. Nobody decides within a week:
the post is dropped. Meanwhile it is a few rows in a table; the process may end.
"""

from __future__ import annotations

from pydantic import BaseModel

import wf

MAX_DRAFTS = 3


class Decision(BaseModel):
    approved: bool
    comment: str = ""


class Post(BaseModel):
    url: str
    drafts: int


@wf.step
async def write_draft(topic: str, comments: list[str]) -> str:
    """Where a language model or a colleague would write."""
    return "\n".join([f"# {topic}", *(f"(now with: {comment})" for comment in comments)])


@wf.step
async def publish(draft: str) -> str:
    title = draft.splitlines()[0].removeprefix("# ")
    return f"https://blog.example.com/{title.lower().replace(' ', '-')}"


@wf.task
async def publish_post(topic: str) -> Post | None:
    comments: list[str] = []
    while len(comments) < MAX_DRAFTS:
        draft = await write_draft(topic, comments)
        token = await wf.wait.create_token(Decision, timeout="7d", tags=["editor"])
        wf.logger.info("draft %d waits for the editor: %s", len(comments) + 1, token.id)
        try:
            decision = await wf.wait.for_token(token)  # checked when it is handed in; typed here
        except wf.TokenTimedOut:
            wf.logger.warning("nobody decided within a week: %r is dropped", topic)
            return None
        if decision.approved:
            return Post(url=await publish(draft), drafts=len(comments) + 1)
        comments.append(decision.comment or "no reason given")
    return None
