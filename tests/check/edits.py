"""A program with runs under way, and forty edits of it: twenty that would park or fail them, twenty
that are safe. An edit is a list of (old, new)."""

from __future__ import annotations

from typing import Final

PROGRAM: Final = """
import asyncio
import wf
from pydantic import BaseModel

class Order(BaseModel):
    id: int
    shop: str

@wf.step
async def reserve(order: Order) -> str:
    return f"place {order.id}"

@wf.step(retry=wf.Retry(max_attempts=3))
async def charge(order: Order, amount: int) -> int:
    return amount

@wf.step
async def notify(text: str) -> None:
    pass

@wf.task
async def pack(order: Order) -> str:
    return f"packed {order.id}"

@wf.task
async def weigh(order: Order) -> str:
    return f"{order.id} kg"

@wf.task
async def fulfil(order: Order) -> str:
    place = await reserve(order)
    total = 0
    for amount in range(3):
        total += await charge(order, amount)
    await wf.wait.for_("1ms")
    parcel = await pack.trigger_and_wait(order)
    await asyncio.gather(notify(parcel), notify(place))
    token = await wf.wait.create_token(str, timeout="7d")
    signed = await wf.wait.for_token(token)
    await notify(signed)
    await wf.wait.for_(days=1)
    return f"{parcel} {signed} {total}"
"""

Edit = list[tuple[str, str]]
FIRST: Final = "    place = await reserve(order)\n"
TIMER: Final = '    await wf.wait.for_("1ms")\n'
GATHER: Final = "    await asyncio.gather(notify(parcel), notify(place))\n"
AFTER: Final = "    await notify(signed)\n"
LOOP: Final = "    for amount in range(3):\n"
RESERVE: Final = "@wf.step\nasync def reserve"
PACKED: Final = "pack.trigger_and_wait(order)"
SHOP: Final = "    shop: str\n"
TASK: Final = "@wf.task\nasync def fulfil"


def before(line: str, *added: str) -> Edit:
    return [(line, "".join(f"    {one}\n" for one in added) + line)]


def after(line: str, *added: str) -> Edit:
    return [(line, line + "".join(f"    {one}\n" for one in added))]


UNSAFE: Final[dict[str, Edit]] = {
    "a step is added before what is recorded": before(FIRST, "await notify('new')"),
    "a recorded step is taken out": [(FIRST, "    place = 'none'\n")],
    "two steps change places": [(FIRST, ""), (TIMER, TIMER + FIRST)],
    "a step is renamed": [("async def reserve", "async def hold"), ("await reserve", "await hold")],
    "the id of a step is changed": [(RESERVE, RESERVE.replace("step", "step(id='hold')"))],
    "an argument is changed": [("charge(order, amount)", "charge(order, amount + 1)")],
    "a loop takes one more round": [("range(3)", "range(4)")],
    "a loop takes one round less": [("range(3)", "range(2)")],
    "a timer before what is recorded is taken out": [(TIMER, "")],
    "a timer is added before what is recorded": [(FIRST, TIMER + FIRST)],
    "another child is started": [(PACKED, PACKED.replace("pack", "weigh"))],
    "a child becomes a step": [(PACKED, "reserve(order)")],
    "the order in a gather is changed": [
        ("notify(parcel), notify(place)", "notify(place), notify(parcel)")
    ],
    "a message is awaited before the token": after(GATHER, "await wf.wait.for_message('go', str)"),
    "the payload of a child is changed": [
        (PACKED, "pack.trigger_and_wait(Order(id=order.id, shop='b'))")
    ],
    "the payload wants a field that recorded ones lack": [(SHOP, f"{SHOP}    zone: int\n")],
    "what steps are given gets a field with a default": [(SHOP, f"{SHOP}    zone: int = 0\n")],
    "a result of another type is expected": [
        ("amount: int) -> int:\n    return amount", "amount: int) -> Order:\n    return order"),
        ("total += await charge(order, amount)", "total += (await charge(order, amount)).id"),
    ],
    "the task is renamed": [("async def fulfil", "async def deliver")],
    "the body ends before what is recorded": after(FIRST, "return place"),
}

SAFE: Final[dict[str, Edit]] = {
    "nothing": [],
    "a comment": before(FIRST, "# where it lies"),
    "a variable is renamed": [("place", "shelf")],
    "a step is added after what is recorded": after(AFTER, "await notify('new')"),
    "a step after what is recorded is taken out": [(AFTER, "")],
    "a timer after what is recorded is changed": [("days=1", "days=2")],
    "what a step does is changed": [('f"place {order.id}"', 'f"shelf {order.id}"')],
    "a retry policy is changed": [("max_attempts=3", "max_attempts=9")],
    "a time-out is given to a step": [(RESERVE, RESERVE.replace("step", "step(timeout='9s')"))],
    "a step gets an optional parameter": [
        ("reserve(order: Order)", "reserve(order: Order, zone: int = 0)")
    ],
    "a function is renamed and keeps its id": [
        (RESERVE, "@wf.step(id='reserve')\nasync def hold"),
        ("await reserve", "await hold"),
    ],
    "a line is logged": after(FIRST, "wf.logger.info('placed')"),
    "metadata is set": after(FIRST, "wf.metadata.set('place', place)"),
    "a tag is added": after(FIRST, "wf.tags.add('placed')"),
    "chance is drawn from the run's own": after(FIRST, "wf.random().random()", "wf.uuid4()"),
    "the time is asked": after(FIRST, "begun = wf.now()"),
    "a step is added for runs that have not passed": before(
        FIRST, "if wf.patched('greet'):", "    await notify('hello')"
    ),
    "a part becomes a function": [
        (
            TASK,
            f"async def placed(order: Order) -> str:\n    return await reserve(order)\n\n{TASK}",
        ),
        ("place = await reserve(order)", "place = await placed(order)"),
    ],
    "a loop is written otherwise": [
        (LOOP, "    amount = -1\n    while amount < 2:\n        amount += 1\n")
    ],
    "another task is added": [
        (TASK, f"@wf.task\nasync def label(n: int) -> int:\n    return n\n\n{TASK}")
    ],
}


def edited(edit: Edit) -> str:
    text = PROGRAM
    for old, new in edit:
        assert old in text, old
        text = text.replace(old, new)
    return text
