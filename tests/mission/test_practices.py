"""S5, S79, S81, S84: what the guide advises, and what holds when it is followed."""

from __future__ import annotations

import asyncio
import json
import threading
from pathlib import Path

from pydantic import BaseModel

import wf
from tests.observing import until

AT_ONCE = 3


class Vendor:
    """Serves three callers at once, and tells a fourth to come back."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.inside = 0
        self.most = 0
        self.refused = 0
        self.served: list[int] = []

    async def serve(self, number: int, first_time: bool) -> int:
        if first_time and number % 4 == 0:
            self.refused += 1
            raise wf.RetryAfter(0.02, "429 Too Many Requests")
        self.inside += 1
        self.most = max(self.most, self.inside)
        await asyncio.sleep(0.001)
        self.inside -= 1
        self.served.append(number)
        return number


vendors: dict[str, Vendor] = {}


@wf.step
async def call(vendor: str, number: int) -> int:
    step = wf.current().step
    assert step is not None
    return await vendors[vendor].serve(number, step.attempt == 1)


@wf.task
async def gently(vendor: str, count: int) -> list[int]:
    room = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> int:
        async with room:
            return await call(vendor, number)

    return await asyncio.gather(*(one(number) for number in range(count)))


async def test_s5_a_vendor_that_limits_its_callers_is_survived(database: str) -> None:
    vendor = vendors[database] = Vendor()
    async with wf.Engine(database, [gently]):
        handle = await gently.options().trigger(database, 20)
        assert await handle.result() == list(range(20))
    assert sorted(vendor.served) == list(range(20))
    assert vendor.refused == 5
    assert vendor.most <= AT_ONCE


class Article(BaseModel):
    id: str
    title: str


@wf.step
def fetch(path: str, id: str) -> Article:
    return Article(id=id, title=json.loads(Path(path).read_text())[id])


@wf.task
async def announce(path: str, id: str) -> str:
    await wf.wait.for_token(await wf.wait.create_token())
    article = await fetch(path, id)
    return f"new: {article.title}"


async def test_s79_a_payload_of_ids_meets_the_source_as_it_is_when_it_is_read(
    database: str, tmp_path: Path
) -> None:
    source = tmp_path / "articles.json"
    source.write_text('{"a1": "Drafft"}')
    async with wf.Engine(database, [announce]):
        handle = await announce.options().trigger(str(source), "a1")
        client = wf.client()
        [token] = until(lambda: client.tokens.list(status="WAITING"))
        source.write_text('{"a1": "Draft"}')
        client.tokens.complete(token.id)
        assert await handle.result() == "new: Draft"
        payload = client.runs.retrieve(handle.id).payload
    assert payload == {"path": str(source), "id": "a1"}


@wf.task
async def leaf(number: int) -> int:
    return number


@wf.task
async def branch(number: int) -> int:
    return await leaf.trigger_and_wait(number) + 1


@wf.task
async def trunk(number: int) -> int:
    return await branch.trigger_and_wait(number) + 1


async def test_s81_a_chain_of_awaited_children_can_be_followed_from_end_to_end(
    database: str,
) -> None:
    async with wf.Engine(database, [trunk, branch, leaf]):
        handle = await trunk.trigger(1)
        assert await handle.result() == 3
        client = wf.client()
        [middle] = client.runs.list(parent=handle.id)
        [last] = client.runs.list(parent=middle.id)
        triggered = [
            event.name
            for event in client.runs.history(handle.id)
            if event.kind in ("CHILD_TRIGGERED", "CHILD_ENDED")
        ]
    assert (middle.task, last.task) == ("branch", "leaf")
    assert (middle.parent, last.parent, last.root) == (handle.id, middle.id, handle.id)
    assert triggered == ["branch", "COMPLETED"]
