"""Batches: many children by one operation."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from tests.core.stage import Answer, Script, Stage, play
from wf.engine.core.batches import Item, members_of
from wf.engine.core.decisions import TriggerBatch
from wf.engine.core.operation import Gen
from wf.engine.core.runnable import step, task
from wf.engine.core.waits import wait
from wf.history.ends import End, ends_of, page
from wf.history.errors import DeclarationError, PayloadError, RunCanceled, RunFailed
from wf.history.events import Kind, Status
from wf.history.ids import derived_id, made_at, member_ids


@task(tags=["declared"])
async def double(n: int) -> int:
    return n * 2


@step
async def note(what: str) -> str:
    return what


def doubled(task: str, n: int) -> Answer:
    return Answer(n * 2, after_ms=n)


def thirteen_fails(task: str, n: int) -> Answer:
    if n == 13:
        return Answer(status="FAILED", error=ValueError("thirteen"), after_ms=n)
    return Answer(n * 2, after_ms=n)


def test_results_come_in_the_order_of_the_items_whatever_ended_first() -> None:
    @task
    async def body() -> list[int]:
        return await double.batch_trigger_and_wait([30, 10, 20])

    stage = play(body, script=Script(child=doubled))
    assert stage.output == [60, 20, 40]
    assert stage.kinds == [
        *(Kind.STARTED, Kind.BATCH_TRIGGERED),
        *[Kind.BATCH_ENDED] * 3,
    ]


def test_ends_of_one_moment_are_one_row() -> None:
    @task
    async def body() -> int:
        return sum(await double.batch_trigger_and_wait(range(500)))

    stage = play(body, script=Script(child=lambda task, n: Answer(n * 2)))
    assert stage.output == sum(range(500)) * 2
    assert stage.kinds == [Kind.STARTED, Kind.BATCH_TRIGGERED, Kind.BATCH_ENDED]


def test_any_iterable_is_taken_and_an_empty_one_waits_for_nothing() -> None:
    def numbers() -> Iterator[int]:
        yield from (1, 2)

    @task
    async def body() -> list[int]:
        nothing = await double.batch_trigger_and_wait([])
        empty = await double.batch_trigger([])
        assert (nothing, list(empty), await empty.results()) == ([], [], [])
        return await double.batch_trigger_and_wait(n for n in numbers())

    assert play(body, script=Script(child=doubled)).output == [2, 4]


def test_a_generator_task_yields_batches() -> None:
    @task
    def body() -> Gen[int]:
        batch = yield from double.batch_trigger([1, 2])
        first = yield from batch.results()
        second = yield from double.batch_trigger_and_wait([3])
        return sum(first) + sum(second)

    assert play(body, script=Script(child=doubled)).output == 12


def test_a_batch_that_is_triggered_does_not_hold_the_body() -> None:
    @task
    async def body() -> list[object]:
        batch = await double.batch_trigger([5, 6])
        before = await note("before")
        last = await batch[1].result()
        return [before, last, *await batch.results(), len(batch), batch.id[:6]]

    stage = play(body, script=Script(child=doubled))
    assert stage.output == ["before", 12, 10, 12, 2, "batch_"]


def test_the_first_failure_is_raised_at_once_and_the_others_go_on() -> None:
    @task
    async def body() -> list[str]:
        told: list[str] = []
        try:
            await double.batch_trigger_and_wait([20, 13, 1])
        except RunFailed as error:
            told += [error.type, error.message]
        await wait.for_(milliseconds=100)
        return told

    stage = play(body, script=Script(child=thirteen_fails))
    assert stage.output == ["ValueError", "thirteen"]
    [trigger] = [ds for ds in stage.decisions[0] if isinstance(ds, TriggerBatch)]
    others = member_ids(trigger.batch_id, [0])
    assert stage.canceled_runs == others, "which had not ended when the run did"
    assert stage.decisions[2] == [], "when it failed, nothing was canceled"


def test_errors_stand_in_the_list_where_that_is_asked_for() -> None:
    @task
    async def body() -> list[str]:
        batch = await double.batch_trigger([20, 13])
        first = await batch.results(return_exceptions=True)
        second = await double.batch_trigger_and_wait([13, 1], return_exceptions=True)
        return [type(one).__name__ for one in [*first, *second]]

    stage = play(body, script=Script(child=thirteen_fails))
    assert stage.output == ["int", "RunFailed", "RunFailed", "int"]
    assert stage.canceled_runs == []


def test_a_run_that_is_canceled_cancels_what_it_awaits() -> None:
    @task
    async def body() -> list[int]:
        return await double.batch_trigger_and_wait([5, 60, 70])

    stage = play(body, script=Script(child=doubled, cancel_at=20))
    assert stage.end is not None
    assert stage.end.status == Status.CANCELED
    assert len(stage.canceled_runs) == 2


def test_a_timeout_gives_a_batch_up_and_cancels_its_runs() -> None:
    @task
    async def body() -> str:
        try:
            async with asyncio.timeout(0.01):
                await double.batch_trigger_and_wait([5, 60])
        except TimeoutError:
            return "late"
        return "in time"

    stage = play(body, script=Script(child=doubled))
    assert stage.output == "late"
    assert len(stage.canceled_runs) == 1


def test_runs_that_somebody_else_started_are_left_alone() -> None:
    @task
    async def body() -> list[int]:
        items = [Item(60, idempotency_key="a"), 70]
        return await double.batch_trigger_and_wait(items)

    stage = play(body, script=Script(child=doubled, cached=1, cancel_at=20))
    assert len(stage.canceled_runs) == 1


def test_keys_of_items_are_settled_by_one_fact() -> None:
    @task
    async def body() -> list[bool]:
        batch = await double.batch_trigger(
            [Item(1, idempotency_key="a"), 2, Item(3, idempotency_key="b")]
        )
        return [handle.is_cached for handle in batch]

    cached = play(body, script=Script(child=doubled, cached=1))
    assert cached.output == [True, False, True]
    assert cached.kinds.count(Kind.BATCH_STARTED) == 1
    assert play(body, script=Script(child=doubled)).output == [False] * 3


def test_a_bad_item_is_named_and_nothing_is_decided() -> None:
    @task
    async def body() -> str:
        try:
            await double.batch_trigger([1, "two", 3])  # type: ignore[list-item]
        except PayloadError as error:
            return str(error)
        return "?"

    stage = play(body)
    assert "item 1 of the batch" in stage.output
    assert Kind.BATCH_TRIGGERED not in stage.kinds


def test_options_are_for_all_items_and_those_of_an_item_win() -> None:
    @task
    async def body() -> None:
        await double.batch_trigger([1, Item(2, tags=["own"], priority=3)], tags=["all"])

    stage = play(body)
    [batch] = [one for one in stage.decisions[0] if isinstance(one, TriggerBatch)]
    options = [options for _, options in batch.members]
    assert options == [
        {"tags": ["declared", "all"]},
        {"tags": ["declared", "own"], "priority": 3},
    ]


def test_one_key_for_all_items_is_refused() -> None:
    with pytest.raises(DeclarationError, match="give each its own"):
        members_of(lambda value: b"1", [1], {"idempotency_key": "k"})


def test_another_item_is_a_mismatch() -> None:
    wanted = [[1, 2]]

    @task
    async def body() -> list[int]:
        return await double.batch_trigger_and_wait(wanted[0])

    stage = Stage(body, script=Script(child=doubled), paranoid=False).start()
    wanted[0] = [1, 3]
    with pytest.raises(Exception, match="argument changed"):
        stage.cut(len(stage.events))
    stage.close()


def test_a_caught_failure_may_be_followed_by_a_canceled_run() -> None:
    @task
    async def body() -> str:
        try:
            await double.batch_trigger_and_wait([13, 90])
        except RunFailed:
            await wait.for_(seconds=10)
        return "never"

    stage = play(body, script=Script(child=thirteen_fails, cancel_at=50))
    assert stage.end is not None
    assert stage.end.status == Status.CANCELED
    assert len(stage.canceled_runs) == 1


def test_two_batches_beside_each_other() -> None:
    @task
    async def body() -> list[object]:
        found = await asyncio.gather(
            double.batch_trigger_and_wait([3, 1]),
            double.batch_trigger_and_wait([13, 2]),
            return_exceptions=True,
        )
        return [found[0], type(found[1]).__name__]

    stage = play(body, script=Script(child=thirteen_fails))
    assert stage.output == [[6, 2], "RunFailed"]


def test_a_canceled_member_raises_by_its_status() -> None:
    @task
    async def body() -> str:
        try:
            await double.batch_trigger_and_wait([1])
        except RunCanceled as error:
            return error.run_id[:4]
        return "?"

    script = Script(child=lambda task, n: Answer(status="CANCELED", error=ValueError("x")))
    assert play(body, script=script).output == "run_"


def test_members_sort_by_place_and_are_as_old_as_their_batch() -> None:
    batch = derived_id(1_700_000_000_000, b"r" * 16, 1, 1)
    ids = member_ids(batch, (0, 1, 2, 4_095, 4_096, 70_000, 99_999))
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {made_at(one) for one in ids} == {1_700_000_000_000}
    other = derived_id(1_700_000_000_000, b"s" * 16, 1, 1)
    assert member_ids(other, [0]) != ids[:1]


def test_a_page_gives_back_the_bytes_that_it_was_made_of() -> None:
    ends = [End(0, "COMPLETED", b'{"a":"\\n"}'), End(7, "CANCELED", None), End(3, "FAILED", b"")]
    assert list(ends_of(page(ends))) == ends
