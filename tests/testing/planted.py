"""Workflows with one bug each, and the same without it. `wf.testing.always` finds the ones, and has
nothing to say of the others."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any, NamedTuple

import wf
from wf.testing import Story, effect


def key() -> str:
    step = wf.current().step
    assert step is not None
    return step.idempotency_key


# --- steps, each with a vendor who knows keys, but for one ----------------------------------------


@wf.step
async def charge(cents: int) -> str:
    effect("charged", cents, key=key())
    return "charged"


@wf.step
async def charge_without_key(cents: int) -> str:
    effect("charged", cents)
    return "charged"


@wf.step
def refund() -> None:
    effect("refunded", key=key())


@wf.step
async def ship() -> str:
    effect("shipped", key=key())
    return "shipped"


@wf.step
def reserve() -> None:
    effect("reserved", key=key())


@wf.step
def release() -> None:
    effect("released", key=key())


@wf.step
async def tell(text: str) -> None:
    effect("told", text, key=key())


# --- what must hold -------------------------------------------------------------------------------


def charged_once(story: Story) -> None:
    assert len(story.effects("charged")) <= 1


def nothing(story: Story) -> None:
    """What holds of every workflow is enough."""


def released(story: Story) -> None:
    if story.ended:
        assert len(story.effects("reserved")) <= len(story.effects("released"))


def ends(story: Story) -> None:
    assert story.ended


def not_both(story: Story) -> None:
    assert not (story.effects("refunded") and story.effects("shipped"))


def paid_before_shipped(story: Story) -> None:
    whats = [one.what for one in story.effects_seen.all if one.what in ("charged", "shipped")]
    assert whats[:1] in ([], ["charged"])


def two_payments(story: Story) -> None:
    if story.effects("shipped"):
        messages = [row.data for row in story.history if row.kind == "MESSAGE_RECEIVED"]
        assert len(set(messages)) == 2


def refunded(story: Story) -> None:
    if story.ended and story.effects("charged"):
        assert story.effects("shipped") or story.effects("refunded")


# --- pairs ----------------------------------------------------------------------------------------


@wf.task
async def charges_outside() -> None:
    await wf.wait.for_(days=1)
    effect("charged", 5)
    await wf.wait.for_(days=1)


@wf.task
async def charges_in_a_step() -> None:
    await wf.wait.for_(days=1)
    await charge(5)
    await wf.wait.for_(days=1)


@wf.task
async def reads_the_clock() -> None:
    await tell(datetime.now(UTC).isoformat())  # wf: ignore[clock]


@wf.task
async def asks_for_the_time() -> None:
    await tell(wf.now().isoformat())


@wf.task
async def walks_a_set(names: list[str]) -> None:
    for name in set(names):
        await tell(name)


@wf.task
async def walks_a_list(names: list[str]) -> None:
    for name in sorted(set(names)):
        await tell(name)


@wf.task
async def retries_blindly(cents: int) -> None:
    await charge_without_key(cents)


@wf.task
async def retries_with_a_key(cents: int) -> None:
    await charge(cents)


async def pay_when(token: Any) -> None:
    if await wf.wait.for_token(token):
        await charge(5)


@wf.task
async def asks_two_and_pays_for_each() -> None:
    first = await wf.wait.create_token(bool, timeout="7d", tags=["ann"])
    second = await wf.wait.create_token(bool, timeout="7d", tags=["bob"])
    await asyncio.gather(pay_when(first), pay_when(second), return_exceptions=True)


@wf.task
async def asks_two_and_pays_once() -> None:
    first = await wf.wait.create_token(bool, timeout="7d", tags=["ann"])
    second = await wf.wait.create_token(bool, timeout="7d", tags=["bob"])
    with contextlib.suppress(wf.TokenTimedOut):
        if await wf.wait.for_token(first) or await wf.wait.for_token(second):
            await charge(5)


@wf.task
async def forgets_to_release() -> None:
    await reserve()
    await wf.wait.for_(days=1)
    await release()


@wf.task
async def releases_in_the_end() -> None:
    """Was the right one, until it was told that a cancel cuts the release, too, where that is under
    way."""
    try:
        await reserve()
        await wf.wait.for_(days=1)
    finally:
        await release()


async def surely(act: Callable[[], Awaitable[None]]) -> None:
    """A cancel reaches a run once: what it has cut is done anew."""
    try:
        await act()
    except asyncio.CancelledError:
        await act()
        raise


@wf.task
async def releases_surely() -> None:
    try:
        await reserve()
        await wf.wait.for_(days=1)
    finally:
        await surely(release)


@wf.task
async def waits_for_ever() -> None:
    await wf.wait.for_token(await wf.wait.create_token(bool))


@wf.task
async def waits_for_a_week() -> None:
    with contextlib.suppress(wf.TokenTimedOut):
        await wf.wait.for_token(await wf.wait.create_token(bool, timeout="7d"))


async def approved_or_late() -> tuple[asyncio.Task[bool], asyncio.Task[None]]:
    token = await wf.wait.create_token(bool)
    approval = asyncio.create_task(wf.wait.for_token(token))
    late = asyncio.create_task(wf.wait.for_(days=3))
    await asyncio.wait({approval, late}, return_when=asyncio.FIRST_COMPLETED)
    return approval, late


@wf.task
async def races_badly() -> None:
    approval, late = await approved_or_late()
    if late.done():
        await refund()
    if approval.done():
        await ship()


@wf.task
async def races_well() -> None:
    approval, _ = await approved_or_late()
    if approval.done():
        await ship()
    else:
        await refund()


# --- more ----------------------------------------------------------------------------------------


@wf.task
async def ships_meanwhile() -> None:
    """A step may be late, or fail for good."""
    await asyncio.gather(charge(5), ship())


@wf.task
async def ships_then() -> None:
    await charge(5)
    await ship()


@wf.task
async def counts_deliveries() -> None:
    """Twice the same message is one payment."""
    for _ in range(2):
        await wf.wait.for_message("paid", int, timeout="7d")
    await ship()


@wf.task
async def counts_payments() -> None:
    seen: set[int] = set()
    while len(seen) < 2:
        seen.add(await wf.wait.for_message("paid", int, timeout="7d"))
    if len(seen) == 2:
        await ship()


@wf.task
async def changes_the_vendor() -> None:
    """Time passes between the effect of a step and its result."""
    try:
        async with asyncio.timeout(10):
            await charge(5)
    except TimeoutError:
        await charge(6)


@wf.task
async def waits_for_the_vendor() -> None:
    await charge(5)


@wf.task
async def forgets_the_refund() -> None:
    """Its compensation is not reached where it is canceled meanwhile."""
    await charge(5)
    await wf.wait.for_(days=1)
    try:
        await ship()
    except wf.StepFailed:
        await refund()


@wf.task
async def refunds_always() -> None:
    is_shipped = False
    try:
        await charge(5)
        await wf.wait.for_(days=1)
        await ship()
        is_shipped = True
    finally:
        if not is_shipped:
            await surely(refund)


class Pair(NamedTuple):
    bug: Any
    right: Any
    holds: Callable[[Story], None]
    bad: tuple[str, ...] = ("lost", "taken", "fails", "canceled", "again")


UNFAILING = ("lost", "taken", "canceled", "again")
"""Where what makes good again fails for good, nothing helps."""

PAIRS: dict[str, Pair] = {
    "a charge outside of a step": Pair(charges_outside, charges_in_a_step, charged_once),
    "the clock in a body": Pair(reads_the_clock, asks_for_the_time, nothing),
    "the order of a set": Pair(walks_a_set, walks_a_list, nothing),
    "a retry without a key": Pair(retries_blindly, retries_with_a_key, charged_once),
    "two answers": Pair(asks_two_and_pays_for_each, asks_two_and_pays_once, charged_once),
    "a cancel after the reservation": Pair(
        forgets_to_release, releases_surely, released, UNFAILING
    ),
    "a cancel during the release": Pair(releases_in_the_end, releases_surely, released, UNFAILING),
    "a wait that nobody answers": Pair(waits_for_ever, waits_for_a_week, ends),
    "an approval at the time-out": Pair(races_badly, races_well, not_both),
    "shipped before paid": Pair(ships_meanwhile, ships_then, paid_before_shipped),
    "a message that comes twice": Pair(counts_deliveries, counts_payments, two_payments),
    "a time-out after the effect": Pair(changes_the_vendor, waits_for_the_vendor, charged_once),
    "no refund after a cancel": Pair(forgets_the_refund, refunds_always, refunded, UNFAILING),
}
