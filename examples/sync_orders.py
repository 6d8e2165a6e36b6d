"""Orders of many shops, brought to one vendor: no shop holds up another, the vendor is not flooded,
and no order arrives twice.

    wf run examples/sync_orders.py '["berlin", "rome", "oslo"]'

Each shop has a queue of its own, made where its run is triggered. Runs of one shop share a
concurrency key, so that its orders arrive one batch after the other. Calls to the vendor go through
one queue: two at a time, fifty in ten seconds. A call that fails is tried again under the same
idempotency key, by which the vendor knows it.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from pydantic import BaseModel

import wf

LEDGER = Path(tempfile.gettempdir()) / "wf_sync_orders_vendor.jsonl"
"""What the vendor (here, a file) has taken."""


class Order(BaseModel):
    shop: str
    number: int


@wf.step
async def open_orders(shop: str) -> list[Order]:
    """What the shop's own API would answer."""
    return [Order(shop=shop, number=number) for number in range(1, 4)]


@wf.step(
    queue=wf.Queue("vendor", concurrency_limit=2, rate_limit=wf.Rate(50, per="10s")),
    retry=wf.Retry(max_attempts=4, min_delay="200ms"),
)
async def send_to_vendor(order: Order) -> str:
    """The first call for order 2 is taken, but its answer is lost."""
    step = wf.current().step
    assert step is not None
    if step.idempotency_key not in taken():
        with LEDGER.open("a", encoding="utf-8") as ledger:
            ledger.write(json.dumps({"key": step.idempotency_key, "order": order.number}) + "\n")
    if order.number == 2 and step.attempt == 1:
        raise ConnectionError("the vendor's answer was lost")
    return f"{order.shop} {order.number}"


def taken() -> list[str]:
    """The idempotency keys that the vendor knows."""
    if not LEDGER.exists():
        return []
    return [json.loads(line)["key"] for line in LEDGER.read_text(encoding="utf-8").splitlines()]


@wf.task
async def sync_shop(shop: str) -> list[str]:
    return [await send_to_vendor(order) for order in await open_orders(shop)]


@wf.task
async def sync_orders(shops: list[str]) -> list[str]:
    handles = [
        await sync_shop.trigger(
            shop,
            queue=wf.Queue(f"shop-{shop}", concurrency_limit=2),
            concurrency_key=shop,
            idempotency_key=f"sync-{shop}",
            scope="run",
        )
        for shop in shops
    ]
    return [line for handle in handles for line in await handle.result()]
