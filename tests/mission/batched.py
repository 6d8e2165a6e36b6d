"""Tasks of the batches' tests."""

from __future__ import annotations

import wf


@wf.task
async def welcome(user: str) -> str:
    if user == "nobody":
        raise ValueError("nobody is not welcome")
    return f"welcome {user}"


@wf.task
async def double(n: int) -> int:
    return 2 * n


@wf.task
async def sleeps(days: int) -> int:
    await wf.wait.for_(days=days)
    return days


@wf.task
async def doubles_all(count: int) -> int:
    found = await double.batch_trigger_and_wait(range(count))
    assert found == [2 * n for n in range(count)]
    return len(found)


@wf.task
async def welcomes(users: list[str]) -> list[str]:
    batch = await welcome.batch_trigger(
        [wf.Item(user, idempotency_key=f"welcome-{user}", tags=[user]) for user in users]
    )
    return [*await batch.results(), *(handle.id for handle in batch)]


@wf.task
async def asks_all(users: list[str]) -> list[str]:
    ends = await welcome.batch_trigger_and_wait(users, return_exceptions=True)
    return [end if isinstance(end, str) else type(end).__name__ for end in ends]


@wf.task
async def asks_until_one_fails(users: list[str]) -> str:
    try:
        await welcome.batch_trigger_and_wait(users)
    except wf.RunFailed as error:
        return error.message
    return "all welcome"


@wf.task
def adds_up(numbers: list[int]) -> wf.Gen[int]:
    return sum((yield from double.batch_trigger_and_wait(numbers)))


@wf.task
async def waits_for_sleepers(days: list[int]) -> list[int]:
    return await sleeps.batch_trigger_and_wait(days)
