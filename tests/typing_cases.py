"""What a type checker infers of the public face. Checked by test_typing.py; nothing here is run.

Good lines say `assert_type`; lines that must not pass carry the rule that refuses them, and an
ignore that is not needed is an error.
"""
# pyright: strict, reportUnnecessaryTypeIgnoreComment=true, reportUnusedCoroutine=true
# pyright: reportUnusedFunction=false

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, assert_type

from pydantic import BaseModel

import wf


class User(BaseModel):
    user_id: str
    email: str


class Post(BaseModel):
    title: str


class Decision(BaseModel):
    approved: bool
    reason: str = ""


# --- onboarding with waits ----------------------------------------------------------------------


@wf.step(retry=wf.Retry(max_attempts=5, factor=1.8, min_delay="500ms", max_delay="30s"))
async def send_welcome_email(user: User) -> dict[str, str]:
    return {"id": user.email}


@wf.step
async def send_tips(user: User) -> None: ...


@wf.step(timeout=timedelta(seconds=3), at_most_once=True, tags=["billing"])
def charge(cents: int, currency: str = "EUR") -> float:
    return cents / 100


@wf.task
async def send_upgrade_offer(user: User) -> str:
    return user.email


@wf.task(id="onboarding")
async def onboarding(user: User) -> str:
    assert_type(await send_welcome_email(user), dict[str, str])
    assert_type(await wf.wait.for_(days=1), None)
    assert_type(await wf.wait.for_("1d12h"), None)
    assert_type(await send_tips.trigger(user), wf.RunHandle[None])
    assert_type(await wf.wait.until(datetime(2030, 1, 1, tzinfo=UTC)), None)
    assert_type(wf.now(), datetime)
    offer = await send_upgrade_offer.trigger_and_wait(user)
    assert_type(offer, str)
    handle = await send_upgrade_offer.trigger(user, tags=["user:123"], delay="30s")
    assert_type(handle, wf.RunHandle[str])
    assert_type(await handle.result(), str)
    assert_type(handle.id, str)
    assert_type(await send_upgrade_offer(user), str)
    return offer


# --- a human in the loop ------------------------------------------------------------------------


@wf.step
def publish(post: Post) -> str:
    return post.title


@wf.task
async def publish_post(post: Post) -> str | None:
    token = await wf.wait.create_token(Decision, timeout="7d", tags=["review"])
    assert_type(token, wf.Token[Decision])
    assert_type(token.id, str)
    decision = await wf.wait.for_token(token)
    assert_type(decision, Decision)
    assert_type(await wf.wait.for_token(token.id, Decision), Decision)
    anything = await wf.wait.create_token()
    assert_type(await wf.wait.for_token(anything), Any)
    return await publish(post) if decision.approved else None


# --- a generator --------------------------------------------------------------------------------


@wf.task
def onboarding_generator(user: User) -> wf.Gen[str]:
    receipt = yield from send_welcome_email(user)
    assert_type(receipt, dict[str, str])
    assert_type((yield from wf.wait.for_(days=1)), None)
    token = yield from wf.wait.create_token(Decision)
    assert_type((yield from wf.wait.for_token(token)), Decision)
    handle = yield from send_upgrade_offer.trigger(user)
    assert_type((yield from handle.result()), str)
    assert_type((yield from onboarding(user)), str)
    return receipt["id"]


@wf.task(id="with-options", retry=wf.Retry(max_attempts=2))
def generator_with_options(n: int) -> wf.Gen[int]:
    yield from wf.wait.for_(1)
    return n


# --- shapes of runnables ------------------------------------------------------------------------


@wf.step
async def one(user: str) -> int:
    return 1


@wf.step
def zero() -> int:
    return 1


@wf.step
def optional(n: int, dry: bool = False) -> str:
    return ""


@wf.step
def only_optional(n: int = 3) -> str:
    return ""


@wf.step
def two(n: int, tags: list[str]) -> str:
    return ""


def plain() -> int:
    return 1


async def coroutine() -> bytes:
    return b""


wrapped = wf.step(plain, id="plain")
wrapped_async = wf.step(coroutine, timeout="3s")


def declarations() -> None:
    one_: wf.Runnable[[str], int] = one
    assert_type(one_("x"), wf.Operation[int])
    assert_type(wrapped, wf.Runnable[[], int])
    assert_type(wrapped_async, wf.Runnable[[], bytes])
    tasks: list[wf.Runnable[[User], str]] = [onboarding, onboarding_generator]
    with_options: wf.Runnable[[int], int] = generator_with_options
    assert_type(one.id, str)
    assert_type(one("x"), wf.Operation[int])
    function: Callable[[str], Coroutine[Any, Any, int]] = one
    print(function, tasks, with_options)


async def calls(user: User) -> None:
    assert_type(await one.trigger("u", tags=["x"]), wf.RunHandle[int])
    assert_type(await zero.trigger(delay="3s"), wf.RunHandle[int])
    assert_type(await optional.trigger(1), wf.RunHandle[str])
    assert_type(await only_optional.trigger(), wf.RunHandle[str])
    assert_type(await only_optional.trigger(4), wf.RunHandle[str])
    assert_type(await two(1, ["a"]), str)
    assert_type(await two(n=1, tags=["a"]), str)
    assert_type(await charge(5), float)
    assert_type(await charge(5, currency="USD"), float)
    configured = two.options(tags=["a"], idempotency_key="k")
    assert_type(await configured.trigger(1, tags=["b"]), wf.RunHandle[str])
    assert_type(await configured.call(1, ["b"]), wf.RunHandle[str])
    assert_type(await configured(1, ["b"]), str)
    assert_type(await configured.trigger_and_wait(1, ["b"]), str)
    assert_type(await onboarding_generator(user), str)
    assert_type(await one(user="x"), int)


async def batches() -> None:
    batch = await one.batch_trigger(["a", wf.Item("b", tags=["x"])], tags=["y"])
    assert_type(batch, wf.BatchHandle[int])
    assert_type(await batch.results(), list[int])
    assert_type(await batch.results(return_exceptions=True), list[int | wf.RunError])
    assert_type(list(batch), list[wf.RunHandle[int]])
    assert_type(await one.batch_trigger_and_wait(iter(["a"])), list[int])
    kept = await optional.batch_trigger_and_wait([1], return_exceptions=True)
    assert_type(kept, list[str | wf.RunError])
    assert_type(await zero.batch_trigger_and_wait([None, None]), list[int])
    client = wf.Client("sqlite:///x")
    assert_type(client.batch_trigger(one, ["a"]).results(), list[int])


@wf.step
def in_a_step(user: User) -> str:
    handle = send_upgrade_offer.trigger(user).handle
    assert_type(handle, wf.RunHandle[str])
    assert_type(one.batch_trigger(["a"]).handle, wf.BatchHandle[int])
    return send_upgrade_offer.trigger(user).id


async def side_by_side(user: User) -> None:
    number, receipt = await asyncio.gather(one("a"), send_welcome_email(user))
    assert_type(number, int)
    assert_type(receipt, dict[str, str])
    task = asyncio.create_task(one("a"))
    assert_type(task, asyncio.Task[int])
    async with asyncio.TaskGroup() as group:
        assert_type(group.create_task(zero()), asyncio.Task[int])
    assert_type(await asyncio.wait_for(one("a"), 3), int)


# --- what must not pass -------------------------------------------------------------------------


async def mistakes(user: User) -> None:
    await one.trigger(3)  # pyright: ignore[reportArgumentType]
    await one(3)  # pyright: ignore[reportArgumentType]
    await one()  # pyright: ignore[reportCallIssue]
    await zero.trigger("x")  # pyright: ignore[reportCallIssue]
    await two.trigger(1)  # pyright: ignore[reportAttributeAccessIssue, reportUnknownMemberType]
    await two(1)  # pyright: ignore[reportCallIssue]
    await one.trigger("u", tag=["x"])  # pyright: ignore[reportCallIssue]
    await one.trigger("u", priority="high")  # pyright: ignore[reportArgumentType]
    await two.options(tags=["a"]).trigger("1", ["b"])  # pyright: ignore[reportArgumentType]
    await one.batch_trigger([3])  # pyright: ignore[reportArgumentType]
    await one.batch_trigger(["a"], idempotency_key="k")  # pyright: ignore[reportCallIssue]
    await wf.wait.until("tomorrow")  # pyright: ignore[reportArgumentType]
    await send_upgrade_offer(Post(title="x"))  # pyright: ignore[reportArgumentType]
    wf.step(retries=3)  # pyright: ignore[reportCallIssue]
    wf.task(timeout="3s")  # pyright: ignore[reportCallIssue]
    wf.task(plain)  # pyright: ignore[reportCallIssue, reportArgumentType]
