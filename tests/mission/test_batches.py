"""F. Batches: S33, S34."""

from __future__ import annotations

from collections import Counter

import pytest

import wf
from tests.mission import batched
from tests.observing import ended, until


async def test_s33_a_batch_of_ten_thousand_makes_one_run_for_each_item(database: str) -> None:
    count = 10_000
    async with wf.AsyncClient(database) as client:
        batch = await client.batch_trigger(batched.double, range(count))
        assert len({handle.id for handle in batch}) == count
        first = await client.runs.list(batch=batch.id, limit=1_000)
        assert {run.batch for run in first} == {batch.id}
        assert [run.payload for run in first] == list(range(count - 1, count - 1_001, -1))


async def test_s33_a_parent_of_ten_thousand_gets_their_outputs_in_order(database: str) -> None:
    async with wf.Engine(database, [batched]):
        handle = await batched.doubles_all.trigger(10_000)
        assert await handle.result() == 10_000
        assert await batched.adds_up([1, 2, 3]) == 12
        history = wf.client().runs.history(handle.id)
        timeline = wf.client().runs.timeline(handle.id)
    kinds = Counter(event.kind for event in history)
    assert kinds["BATCH_TRIGGERED"] == 1
    assert sum(kinds.values()) < 20, "its history does not grow with the items"
    assert len(timeline.lanes) < 20, "and neither does its picture"
    [batch] = [lane for lane in timeline.lanes if lane.kind == "batch"]
    assert "10,000 ended" in str(timeline)
    assert "10,000 ended" in timeline.to_svg()
    assert timeline.to_json()["lanes"][1]["tally"]["completed"] == 10_000 == batch.count * 10_000


async def test_s33_a_bad_item_is_named_and_no_run_exists(database: str) -> None:
    async with wf.Engine(database, [batched]):
        with pytest.raises(wf.PayloadError, match="item 2 of the batch: payload of double"):
            await batched.double.batch_trigger([0, 1, "two", 3])  # type: ignore[list-item]
        with pytest.raises(wf.PayloadError, match="item 1 of the batch"):
            wf.client().batch_trigger(batched.double, [0, "one"])  # type: ignore[list-item]
        assert wf.client().runs.list() == []


async def test_s33_failures_are_raised_or_kept(database: str) -> None:
    users = ["ann", "nobody", "bob"]
    async with wf.Engine(database, [batched]):
        assert await batched.asks_all(users) == ["welcome ann", "RunFailed", "welcome bob"]
        assert await batched.asks_until_one_fails(users) == "nobody is not welcome"
        assert await batched.asks_until_one_fails(["ann"]) == "all welcome"


async def test_a_picture_shows_those_of_a_batch_first_that_failed(database: str) -> None:
    async with wf.Engine(database, [batched]):
        handle = await batched.asks_all.trigger([*(f"user-{n}" for n in range(9)), "nobody"])
        await handle.result()
        seen = wf.client().runs.timeline(handle.id)
    members = [lane for lane in seen.lanes if lane.kind == "run" and lane.title == "welcome"]
    assert [lane.spans[-1].outcome for lane in members] == ["failed", "ok", "ok", "ok", "ok"]
    assert "10 ended, 1 failed" in str(seen)
    assert "ValueError: nobody is not welcome" in str(seen)


async def test_s34_the_key_of_an_item_is_honoured(database: str) -> None:
    async with wf.Engine(database, [batched]):
        found = await batched.welcomes(["ann", "bob", "ann"])
        assert found[:3] == ["welcome ann", "welcome bob", "welcome ann"]
        assert found[3] == found[5] != found[4]
        again = await batched.welcomes(["bob", "cid"])
        assert again[2] == found[4]
        client = wf.client()
        assert len(client.runs.list(task="welcome")) == 3
        assert [run.payload for run in client.runs.list(tag="ann")] == ["ann"]


def test_s34_a_client_batches_with_options_of_each_item(database: str) -> None:
    with wf.Client(database) as client:
        one = client.batch_trigger(
            batched.welcome, ["ann", wf.Item("bob", idempotency_key="b", priority=5)], tags=["all"]
        )
        two = client.batch_trigger("welcome", [wf.Item("bob", idempotency_key="b"), "nobody"])
        assert two[0].id == one[1].id
        assert [handle.is_cached for handle in two] == [True, False]
        assert {run.priority for run in client.runs.list(tag="all")} == {0, 5}
        engine = wf.Engine(database, [batched])
        engine.start_now()
        try:
            assert one.results("60s") == ["welcome ann", "welcome bob"]
            first, second = two.results("60s", return_exceptions=True)
            assert first == "welcome bob"
            assert isinstance(second, wf.RunFailed)
            with pytest.raises(wf.RunFailed, match="not welcome"):
                two.results()
        finally:
            engine.stop_now()


async def test_a_canceled_run_cancels_the_batch_that_it_awaits(database: str) -> None:
    async with wf.Engine(database, [batched]):
        client = wf.client()
        handle = await batched.waits_for_sleepers.trigger([1, 2, 3])
        until(lambda: len(client.runs.list(task="sleeps", status="WAITING")) == 3)
        client.runs.cancel(handle.id)
        assert ended(client, handle.id).status is wf.Status.CANCELED
        until(lambda: len(client.runs.list(task="sleeps", status="CANCELED")) == 3)
